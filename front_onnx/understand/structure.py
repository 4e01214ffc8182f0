"""What a model is made of: its chains of blocks and its named dims, which of them can be resized, and why not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from front_onnx.read.graph import Edge, Graph, attribute
from front_onnx.understand.alike import tie_values
from front_onnx.understand.analysis import Analysis, understand
from front_onnx.understand.atoms import Atom, Axis, AxisRole, size_of
from front_onnx.understand.blocks import Chain, find_chains
from front_onnx.understand.chosen import chosen_chains
from front_onnx.understand.constants.held import hold_axes
from front_onnx.understand.constants.kinds import Kind
from front_onnx.understand.constants.scalars import share_meanings
from front_onnx.understand.flowing import flowing_atoms
from front_onnx.understand.holds import Hold, Why
from front_onnx.understand.looped import find_looped
from front_onnx.understand.names import unused
from front_onnx.understand.ports import free_inputs
from front_onnx.understand.residual import chosen_residuals, found_residual
from front_onnx.understand.rules import Shape
from front_onnx.understand.segments import Flow
from front_onnx.understand.wording import reason

__all__ = ["Dim", "Structure", "find_structure"]

_LINEAR_ENDS = frozenset(
    (
        "Add Sub Mul Div Identity Reshape Flatten Transpose Squeeze Unsqueeze Cast Softmax LogSoftmax "
        "Sigmoid Slice Gather Split Concat ReduceMean "
    ).split()
)

_KINDS = ("residual", "heads", "kv_heads", "repeat", "head_dim", "groups", "inner", "depth", "fixed")


@dataclass(eq=False)
class Dim:
    """One size of a model, shared by everything that depends on it.

    Attributes:
        name: how users say it.
        kind: residual, heads, kv_heads, repeat (query heads per key/value head), head_dim, inner, groups, depth or
            fixed.
        atom: the size in the algebra.
        chain: the chain whose width it follows.
        hold: why it stays as it is unless it is set by name; the one that is told.
        frozen: why it cannot change at all; the one that is told.
        edges: the node inputs that read a weight with this dim.
        times: how many equal atoms it is made of (the two halves of a rotary head).
    """

    name: str
    kind: str
    atom: Atom
    chain: int | None = None
    hold: Hold | None = None
    frozen: Hold | None = None
    edges: list[Edge] = field(default_factory=list)
    times: int = 1

    @property
    def size(self) -> int:
        """Size in the source model."""
        return self.atom.size * self.times

    @property
    def named(self) -> bool:
        """False for what an architecture computes and nobody chooses: kernels, parts of image sides."""
        return self.frozen is not None or not (
            self.kind == "depth"
            or AxisRole.KERNEL in self.atom.roles
            or (self.kind == "fixed" and self.hold is not None and self.hold.why.computed)
        )


@dataclass(eq=False)
class Structure:
    """An analysed model with its chains and dims.

    Attributes:
        residuals: the residual axis of each chain, or None where no single axis is one.
        loose: the residual axis of a model without chains, if one was named.
    """

    analysis: Analysis
    chains: list[Chain]
    residuals: list[Axis | None]
    dims: list[Dim]
    loose: Axis | None = None

    @property
    def graph(self) -> Graph:
        """The graph that was analysed."""
        return self.analysis.graph

    def residual_of(self, chain: int | None) -> Axis | None:
        """The residual axis of a chain, or of a model without chains."""
        return self.loose if chain is None else self.residuals[chain]

    @cached_property
    def by_atom(self) -> dict[Atom, Dim]:
        """The dim of an atom."""
        return {dim.atom: dim for dim in self.dims}

    @cached_property
    def depths(self) -> dict[Atom, int]:
        """The sizes that are depths: those of the axes along which the layers of a chain are stacked."""
        chains = enumerate(self.chains)
        return {self.analysis.algebra.expand(c.loop.axis)[0]: number for number, c in chains if c.loop is not None}

    @cached_property
    def flow(self) -> Flow:
        """The data flow of the graph."""
        return Flow(self.analysis)

    @cached_property
    def chain_of(self) -> dict[int, int]:
        """The chain that each node of a unit or a lead belongs to."""
        found: dict[int, int] = {}
        for number, chain in enumerate(self.chains):
            for unit in (*chain.units, chain.lead):
                for node in self.flow.private(unit) if unit else ():
                    found[node] = number
        return found

    def reason(self, hold: Hold | None) -> str | None:
        """Why a size stays, in words."""
        return None if hold is None else reason(self.graph, hold)

    def place(self, dim: Dim) -> tuple[tuple[int, str], int]:
        """Where a dim is met first, in the order of data and not in that of the file."""
        return min((self.analysis.telling.place(edge.node), edge.slot) for edge in dim.edges)

    def first_node(self, dim: Dim) -> int:
        """The node nearest to the inputs that reads a weight with a dim."""
        return self.analysis.telling.first_node(edge.node for edge in dim.edges)

    @cached_property
    def in_order(self) -> list[Dim]:
        """The dims as they are gone through for refusals: by kind, then in the order of data."""
        return sorted(self.dims, key=lambda dim: (_KINDS.index(dim.kind), dim.chain or 0, self.place(dim)))

    def describe(self, axis: Iterable[Atom]) -> str:
        """An axis in words: `heads 12 x head_dim 64`."""
        words = []
        for atom in self.analysis.algebra.expand(axis):
            if atom.parts is None:
                dim = self.by_atom.get(atom)
                words.append(f"{dim.name} {atom.size}" if dim else str(atom.size))
            else:
                words.append("(" + " + ".join(self.describe(part) for part in atom.parts) + ")")
        return " x ".join(words) or "1"


def find_structure(
    graph: Graph,
    blocks: Sequence[str] = (),
    residuals: Sequence[str] = (),
    treat: Mapping[str, Kind] | None = None,
) -> Structure:
    """Analyse a graph: axes, chains of blocks, named dims.

    Args:
        graph: the graph.
        blocks: repeated units by hand, `NODE..NODE` each: their chains instead of those that are found.
        residuals: residual widths by hand, `TENSOR` or `TENSOR:AXIS` each: instead of what is found for their chains.
        treat: what constants are, by patterns of names: instead of what is found.

    Raises:
        RequestError: what is named by hand is not there, or is no unit or width.
    """
    analysis = understand(graph, treat)
    chains = chosen_chains(analysis, blocks) if blocks else find_chains(analysis)
    chains = _in_order(Flow(analysis), [*chains, *find_looped(analysis)])
    tie_values(analysis, chains)
    share_meanings(analysis, (place for chain in chains for place in chain.places.values()))
    analysis.algebra.settle()
    flow = Flow(analysis)
    free_inputs(flow, chains)
    found = [found_residual(analysis, chain) for chain in chains]
    widths, loose = chosen_residuals(analysis, chains, residuals, found)
    hold_axes(analysis, [axis for axis in (*widths, loose) if axis is not None])
    structure = Structure(analysis, chains, widths, [], loose)
    structure.dims = _Namer(structure).dims()
    return structure


def _in_order(flow: Flow, chains: list[Chain]) -> list[Chain]:
    """Chains in the order data takes, an encoder before its decoder; those that do not meet in the file's order."""
    ends = [chain.units[-1][-1].nodes[-1] for chain in chains]
    behind = [len(flow.behind(chain.end).intersection(ends)) for chain in chains]
    order = sorted(range(len(chains)), key=lambda i: (behind[i], chains[i].units[0][0].nodes[-1]))
    return [chains[i] for i in order]


class _Namer:
    """Sorts the atoms of all parameters into kinds and gives them names."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.analysis = structure.analysis
        self.algebra = structure.analysis.algebra
        self.edges: dict[Atom, list[Edge]] = defaultdict(list)
        self.partners: dict[Atom, set[Atom]] = defaultdict(set)
        self.outer: dict[Atom, set[Atom]] = defaultdict(set)  # the partners before an atom in a product
        self.uneven: set[Atom] = set()  # segments beside others of another size
        self.wholes: dict[Atom, set[int]] = defaultdict(set)  # sizes of the axes that an atom is a part of
        self.times: dict[Atom, int] = {}
        for edge, fact in self.analysis.uses.items():
            for axis in fact.axes or () if fact.value is None else ():
                self._note(axis, edge)
        for edge, axes in self._filled():
            for axis in axes:
                self._note(axis, edge)
        self.flowing = flowing_atoms(self.analysis)
        self.outside = {
            atom
            for name in self.analysis.graph.outputs
            if name in self.analysis.facts
            for axis in self.analysis.facts[name].axes or ()
            for atom in self.algebra.free_atoms(axis)
        }

    def _filled(self) -> Iterator[tuple[Edge, Shape]]:
        """Weights that the graph makes of one value and a written shape: (where the shape is read, axes)."""
        for index, node in enumerate(self.analysis.graph.nodes):
            fact = self.analysis.facts.get(node.output[0]) if node.op_type == "ConstantOfShape" else None
            if fact is not None and fact.constant and Edge(index, 0) in self.analysis.uses:
                yield Edge(index, 0), fact.axes or ()

    def _note(self, axis: Axis, edge: Edge, outer: tuple[Atom, ...] = (), whole: int | None = None) -> None:
        atoms = self.algebra.expand(axis)
        whole = size_of(axis) if whole is None else whole
        for place, atom in enumerate(atoms):
            others = (*outer, *(a for a in atoms if a is not atom))
            if atom.parts is not None:
                for part in atom.parts:
                    self._note(part, edge, others, whole)
                segments = list(self.algebra.segments(atom))
                if len(set(map(size_of, segments))) > 1:
                    self.uneven.update(a for segment in segments for a in segment)
                self._note_halves(atom)
            else:
                self.edges[atom].append(edge)
                self.wholes[atom].add(whole)
                self.partners[atom].update(others)
                self.outer[atom].update((*outer, *atoms[:place]))

    def _note_halves(self, atom: Atom) -> None:
        parts = [self.algebra.expand(part) for part in atom.parts or ()]
        if len(set(parts)) == 1 and len(parts[0]) == 1:
            self.times[parts[0][0]] = len(parts)

    def dims(self) -> list[Dim]:
        """All dims: residual widths first, then what follows them, then what is fixed."""
        residual: dict[Atom, int | None] = dict.fromkeys(self.algebra.free_atoms(self.structure.loose or ()))
        for number, axis in reversed(list(enumerate(self.structure.residuals))):
            residual |= dict.fromkeys(self.algebra.free_atoms(axis or ()), number)
        residual = {atom: number for atom, number in residual.items() if not atom.fixed}  # a norm's groups stay
        found = []
        for atom in self.edges:
            kind, hold = self._kind(atom, residual)
            chain = residual.get(atom, self._chain(atom))
            times = self.times.get(atom, 1) if kind == "head_dim" else 1
            found.append(Dim("", kind, atom, chain, hold, self._told(atom, True), self.edges[atom], times))
        found.sort(key=lambda d: (_KINDS.index(d.kind), d.chain or 0, min(d.edges)))
        self._name(found)
        return found

    def _told(self, atom: Atom, freezes: bool) -> Hold | None:
        """Of what freezes an atom, or of what fixes it, the hold that is told."""
        holds = (hold for hold in atom.holds if (hold.why.freezes if freezes else hold.why.fixes))
        return self.analysis.telling.first(holds)

    def _kind(self, atom: Atom, residual: Container[Atom]) -> tuple[str, Hold | None]:
        roles = atom.roles
        if atom in self.structure.depths:
            return "depth", Hold(Why.DEPTH)
        if AxisRole.KERNEL in roles:
            return "fixed", self._told(atom, False)
        if atom.frozen and not atom.fixed:
            return "inner", self._told(atom, True)
        if atom.fixed and atom not in residual:
            return "fixed", self._told(atom, False)
        beside_heads = any(AxisRole.BATCH in p.roles for p in self.partners[atom])
        if AxisRole.REPEAT in roles and beside_heads:
            return "repeat", Hold(Why.QUERY_GROUP)
        if AxisRole.BATCH in roles and self._counts_heads_of_a_group(atom):
            return "repeat", Hold(Why.QUERY_GROUP)
        if AxisRole.BATCH in roles:
            repeated = any(AxisRole.REPEAT in p.roles for p in self.partners[atom])
            return ("kv_heads" if repeated else "heads"), None
        if beside_heads or (AxisRole.HEAD in roles and atom not in residual):
            return "head_dim", Hold(Why.HEAD_SIZE)
        if AxisRole.GROUPS in roles:
            return "groups", Hold(Why.CONV_GROUPS)
        if atom in residual:
            return "residual", None
        why = self._why_unscaled(atom)
        return ("inner", None) if why is None else ("fixed", Hold(why))

    def _why_unscaled(self, atom: Atom) -> Why | None:
        """Why a size that is neither held nor special does not follow the width; None if it does."""
        if atom not in self.flowing and not self._makes_up_the_width(atom):
            return Why.NO_FLOW
        contracted = AxisRole.CONTRACTED in atom.roles
        if not contracted and AxisRole.INNER not in atom.roles:
            if atom not in self.outside:
                return Why.NO_CONTRACTION
            if self._ends_linearly(atom) or not self._as_wide_as_its_chain(atom):
                return Why.OUTPUT
        elif not contracted and self.analysis.contractions.keys().isdisjoint(self.edges[atom]):
            return Why.NO_CONTRACTION  # learned tokens: only attention sums over them
        elif not contracted and self._scaled_beside_another(atom):
            return Why.NO_CONTRACTION  # the state of a scan
        return None

    def _scaled_beside_another(self, atom: Atom) -> bool:
        """True if a weight that nothing sums over has this size on one of several axes."""
        for edge in set(self.edges[atom]) - self.analysis.contractions.keys():
            wide = [axis for axis in self.analysis.uses[edge].axes or () if size_of(axis) > 1]
            if len(wide) > 1:
                return True
        return False

    def _counts_heads_of_a_group(self, atom: Atom) -> bool:
        """True if heads are a product of this atom and another, and the other one is what grows with the width.

        That is the one which weights have without this one (keys), or in a fused weight the one before it, if this one
        is a segment beside others: a group's queries beside its key and its value.
        """
        edges = set(self.edges[atom])
        return any(
            AxisRole.BATCH in other.roles
            and not (other.fixed or other.frozen)
            and (
                not edges.issuperset(self.edges[other])
                or (other in self.outer[atom] and atom in self.uneven and edges == set(self.edges[other]))
            )
            for other in self.partners[atom]
        )

    def _ends_linearly(self, atom: Atom) -> bool:
        """True if nothing but a last linear operator makes an output with this size: classes, or a vocabulary.

        A size behind a nonlinearity (a pooler's tanh) is a feature and follows the width.
        """
        graph, facts = self.analysis.graph, self.analysis.facts
        waiting = [n for n in graph.outputs if n in facts and self._has(n, atom)]
        while waiting:
            index = graph.producer.get(waiting.pop())
            if index is None:
                continue
            node = graph.nodes[index]
            if attribute(node, "activation", None):  # fused into the operator that makes the size
                return False
            inputs = [n for n in node.input if n in facts and not facts[n].constant and self._has(n, atom)]
            if inputs and node.op_type not in _LINEAR_ENDS:
                return False
            waiting += inputs
        return True

    def _as_wide_as_its_chain(self, atom: Atom) -> bool:
        """A feature behind a nonlinearity is as wide as the residual; squashed logits are not."""
        residual = self.structure.residual_of(self._chain(atom))
        return residual is not None and size_of(residual) == atom.size

    def _makes_up_the_width(self, atom: Atom) -> bool:
        """True if this is, alone or with others (sines beside cosines), an axis as wide as the residual."""
        residual = self.structure.residual_of(self._chain(atom))
        return residual is not None and size_of(residual) in self.wholes[atom]

    def _has(self, name: str, atom: Atom) -> bool:
        axes = self.analysis.facts[name].axes or ()
        return any(atom in self.algebra.free_atoms(axis) for axis in axes)

    def _chain(self, atom: Atom) -> int | None:
        """The chain a dim belongs to: that of its weights, else the next in the graph, else the last."""
        chains = self.structure.chains
        inside = [self.structure.chain_of[e.node] for e in self.edges[atom] if e.node in self.structure.chain_of]
        if inside:
            return min(inside)
        first = min(self.edges[atom]).node
        for number, chain in enumerate(chains):
            if chain.units[0][0].nodes[0] > first:
                return number
        return len(chains) - 1 if chains else None

    def _name(self, dims: list[Dim]) -> None:
        several = len(self.structure.chains) > 1
        taken: set[str] = set()
        plain = {"residual": "hidden", "repeat": "queries_per_kv_head"}
        for dim in dims:
            inside = any(edge.node in self.structure.chain_of for edge in dim.edges)
            stem = plain.get(dim.kind, dim.kind)
            if dim.kind == "head_dim" and AxisRole.INNER not in dim.atom.roles:
                stem = "v_head_dim"
            if dim.kind == "depth":
                stem = "depth"
            elif dim.kind == "fixed" or (dim.kind == "inner" and not inside):
                stem = self._outside_name(dim)
            elif dim.kind == "inner":
                stem = "ffn"
            if several and dim.chain is not None and dim.kind != "fixed" and inside:
                stem = f"{stem}.{dim.chain + 1}"
            dim.name = unused(stem, taken)
            taken.add(dim.name)

    def _outside_name(self, dim: Dim) -> str:
        why = dim.hold.why if dim.hold is not None else None
        if dim.atom.symbol is not None:
            return dim.atom.symbol
        if dim.hold is not None and why is Why.INPUT_AXIS:
            return f"{dim.hold.tensor}.{dim.hold.axis}"
        if AxisRole.KERNEL in dim.atom.roles:
            return "kernel"
        if dim.atom in self.outside and dim.kind == "fixed" and AxisRole.VOCABULARY not in dim.atom.roles:
            return "classes" if why is Why.OUTPUT else "output"
        if AxisRole.VOCABULARY in dim.atom.roles:
            return self._table_name(dim)
        return self._parameter_name(self._first(dim.edges)) or ("buffer" if dim.kind == "fixed" else dim.kind)

    def _first(self, edges: Iterable[Edge]) -> Edge:
        """The reading nearest to the inputs."""
        return min(edges, key=lambda edge: (self.analysis.telling.place(edge.node), edge.slot))

    def _parameter_name(self, edge: Edge) -> str | None:
        """The last telling part of a weight's name; None for names that an exporter made up."""
        graph = self.analysis.graph
        name = graph.constant_name(graph.nodes[edge.node].input[edge.slot])
        if name not in graph.initializers or ":" in name or name.startswith("val_"):
            return None
        plain = [p for p in name.split(".") if p not in ("weight", "bias") and not p.isdigit()]
        return plain[-1] if plain else None

    def _table_name(self, dim: Dim) -> str:
        """The largest table indexed by inputs is the vocabulary; the others go by their weights' names."""
        tables = [d for d in self.edges if AxisRole.VOCABULARY in d.roles]
        if dim.atom.size == max(t.size for t in tables):
            return "vocabulary"
        name = (
            self._parameter_name(self._first([e for e in dim.edges if e in self.analysis.tables] or dim.edges))
            or "table"
        )
        return "positions" if "pos" in name or name == "wpe" else name
