"""Naming dims: the sizes of all parameters by kind, and what users call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import cached_property

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.size import Axis, AxisRole, SizeVar, size_of
from front_onnx.blocks.sharing import chains_sharing
from front_onnx.constants.flowing import flowing_variables
from front_onnx.dims.parts import MIDDLE, STEM, is_stem, part_of
from front_onnx.dims.slots import slot_variables
from front_onnx.dims.structure import KINDS, Dim, Structure
from front_onnx.operators import Shape
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.read.names import unused

__all__ = ["name_dims"]

# What may stand between the classes, or the vocabulary, and the output.
_ENDS = Trait.MOVES | Trait.JOINS | Trait.ARITHMETIC | Trait.SHARES | Trait.REDUCES


def name_dims(structure: Structure) -> list[Dim]:
    """Sort the sizes of all parameters into kinds, and give them names."""
    return _Naming(structure).dims()


class _Naming:
    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self.analysis = structure.analysis
        self.algebra = structure.analysis.algebra
        self.edges: dict[SizeVar, list[Edge]] = defaultdict(list)
        self.partners: dict[SizeVar, set[SizeVar]] = defaultdict(set)
        self.outer: dict[SizeVar, set[SizeVar]] = defaultdict(set)  # the partners before a size variable in a product
        self.uneven: set[SizeVar] = set()  # segments beside others of another size
        self.wholes: dict[SizeVar, set[int]] = defaultdict(set)  # sizes of the axes that a size variable is a part of
        self.times: dict[SizeVar, int] = {}
        for edge, fact in self.analysis.uses.items():
            for axis in fact.axes or () if fact.value is None else ():
                self._note(axis, edge)
        for edge, axes in self._filled():
            for axis in axes:
                self._note(axis, edge)
        self.flowing = flowing_variables(self.analysis, structure.constants.uses.fed)
        self.slots = slot_variables(self.analysis)
        self.outside = {
            var
            for name in self.analysis.graph.outputs
            if name in self.analysis.facts
            for axis in self.analysis.facts[name].axes or ()
            for var in self.algebra.free_variables(axis)
        }

        self.handed = {
            var
            for chain in structure.chains
            for name in {*chain.ends} - {chain.end}
            for axis in self.analysis.facts[name].axes or ()
            for var in self.algebra.free_variables(axis)
        }

    def _filled(self) -> Iterator[tuple[Edge, Shape]]:
        """Weights that the graph makes of one value and a written shape: (where the shape is read, axes)."""
        for index, node in enumerate(self.analysis.graph.nodes):
            fact = self.analysis.facts.get(node.output[0]) if record_of(node).has(Trait.MEASURES) else None
            if fact is not None and fact.constant and Edge(index, 0) in self.analysis.uses:
                yield Edge(index, 0), fact.axes or ()

    def _note(self, axis: Axis, edge: Edge, outer: tuple[SizeVar, ...] = (), whole: int | None = None) -> None:
        variables = self.algebra.expand(axis)
        whole = size_of(axis) if whole is None else whole
        for place, var in enumerate(variables):
            others = (*outer, *(a for a in variables if a is not var))
            if var.parts is not None:
                for part in var.parts:
                    self._note(part, edge, others, whole)
                segments = list(self.algebra.segments(var))
                if len(set(map(size_of, segments))) > 1:
                    self.uneven.update(a for segment in segments for a in segment)
                self._note_halves(var)
            else:
                self.edges[var].append(edge)
                self.wholes[var].add(whole)
                self.partners[var].update(others)
                self.outer[var].update((*outer, *variables[:place]))

    def _note_halves(self, var: SizeVar) -> None:
        parts = [self.algebra.expand(part) for part in var.parts or ()]
        if len(set(parts)) == 1 and len(parts[0]) == 1:
            self.times[parts[0][0]] = len(parts)

    def dims(self) -> list[Dim]:
        """All dims: residual widths first, then what follows them, then what is fixed."""
        residual: dict[SizeVar, int | None] = dict.fromkeys(self.algebra.free_variables(self.structure.loose or ()))
        for number, axis in reversed(list(enumerate(self.structure.residuals))):
            residual |= dict.fromkeys(self.algebra.free_variables(axis or ()), number)
        residual = {var: number for var, number in residual.items() if not var.fixed}  # a norm's groups stay
        found = []
        for var in self.edges:
            kind, hold = self._kind(var, residual)
            chain = residual.get(var, self._chain(var))
            times = self.times.get(var, 1) if kind == "head_dim" else 1
            found.append(Dim("", kind, var, chain, hold, self._told(var, True), self.edges[var], times))
        found.sort(key=lambda d: (KINDS.index(d.kind), d.chain or 0, min(d.edges)))
        self._name(found)
        return found

    def _told(self, var: SizeVar, freezes: bool) -> Hold | None:
        """Of what freezes a size variable, or of what fixes it, the hold that is told."""
        holds = (hold for hold in var.holds if (hold.why.freezes if freezes else hold.why.fixes))
        return self.analysis.telling.first(holds)

    def _kind(self, var: SizeVar, residual: Container[SizeVar]) -> tuple[str, Hold | None]:
        roles = var.roles
        if var in self.structure.depths:
            return "depth", Hold(Why.DEPTH)
        if AxisRole.KERNEL in roles:
            return "fixed", self._told(var, False)
        if var.frozen and not var.fixed:
            return "inner", self._told(var, True)
        if var.fixed and var not in residual:
            return "fixed", self._told(var, False)
        if (var in self.slots or self._counts_tokens(var)) and var not in residual:
            return "fixed", Hold(Why.SLOTS)
        beside_heads = any(AxisRole.BATCH in p.roles for p in self.partners[var])
        if AxisRole.REPEAT in roles and beside_heads:
            return "repeat", Hold(Why.QUERY_GROUP)
        if AxisRole.BATCH in roles and self._counts_heads_of_a_group(var):
            return "repeat", Hold(Why.QUERY_GROUP)
        if AxisRole.BATCH in roles:
            repeated = any(AxisRole.REPEAT in p.roles for p in self.partners[var])
            return ("kv_heads" if repeated else "heads"), None
        if beside_heads or (AxisRole.HEAD in roles and var not in residual):
            return "head_dim", Hold(Why.HEAD_SIZE)
        if AxisRole.GROUPS in roles:
            return "groups", Hold(Why.CONV_GROUPS)
        if var in residual:
            return "residual", None
        why = self._why_unscaled(var)
        return ("inner", None) if why is None else ("fixed", Hold(why))

    def _counts_tokens(self, var: SizeVar) -> bool:
        """True for how many entries a learned array has that flow as data: no weight makes the size, and those that sum
        over it do so over the entries and their features as one."""
        analysis = self.analysis
        learned = flattened = False
        for edge in self.edges[var]:
            axes = (
                [self.algebra.expand(axis) for axis in analysis.uses[edge].axes or ()] if edge in analysis.uses else []
            )
            held = [at for at, axis in enumerate(axes) if var in self.algebra.free_variables(axis)]
            if edge in analysis.contractions:
                if held != [analysis.contractions[edge]] or len(axes[held[0]]) < 2:
                    return False
                flattened = True
            elif sum(size_of(axis) > 1 for axis in axes) > 1 and edge not in analysis.tables:
                read_as_weight = analysis.graph.read_by(edge) in self.structure.constants.uses.strong
                learned = learned or (self.structure.constants[edge].is_resampled and not read_as_weight)
        return learned and flattened

    def _why_unscaled(self, var: SizeVar) -> Why | None:
        """Why a size that is neither held nor special does not follow the width; None if it does."""
        if var not in self.flowing and not self._makes_up_the_width(var):
            return Why.NO_FLOW
        contracted = AxisRole.CONTRACTED in var.roles
        if var in self.handed & self.outside and not self._as_wide_as_its_chain(var):
            return Why.OUTPUT  # boxes beside the queries that refine them
        if contracted and self._fed_back(var):
            return Why.OUTPUT
        if not contracted and AxisRole.INNER not in var.roles:
            if var not in self.outside:
                return Why.NO_CONTRACTION
            if self._ends_linearly(var) or not self._as_wide_as_its_chain(var):
                return Why.OUTPUT
        elif not contracted and self.analysis.contractions.keys().isdisjoint(self.edges[var]):
            return Why.NO_CONTRACTION  # learned tokens: only attention sums over them
        elif not contracted and self._scaled_beside_another(var):
            return Why.NO_CONTRACTION  # the state of a scan
        return None

    def _scaled_beside_another(self, var: SizeVar) -> bool:
        """True if a weight that nothing sums over has this size on one of several axes."""
        for edge in set(self.edges[var]) - self.analysis.contractions.keys():
            wide = [axis for axis in self.analysis.uses[edge].axes or () if size_of(axis) > 1]
            if len(wide) > 1:
                return True
        return False

    def _counts_heads_of_a_group(self, var: SizeVar) -> bool:
        """True if heads are a product of this size variable and another, which is what grows with the width.

        That is the one which weights have without this one (keys), or in a fused weight the one before it, if this one
        is a segment beside others: a group's queries beside its key and its value.
        """
        edges = set(self.edges[var])
        return any(
            AxisRole.BATCH in other.roles
            and not (other.fixed or other.frozen)
            and (
                not edges.issuperset(self.edges[other])
                or (other in self.outer[var] and var in self.uneven and edges == set(self.edges[other]))
            )
            for other in self.partners[var]
        )

    def _ends_linearly(self, var: SizeVar) -> bool:
        """True if nothing but a last linear operator makes an output with this size: classes, or a vocabulary.

        A size behind a nonlinearity (a pooler's tanh) is a feature and follows the width.
        """
        graph, facts = self.analysis.graph, self.analysis.facts
        waiting = [n for n in graph.outputs if n in facts and self._has(n, var)]
        while waiting:
            index = graph.producer.get(waiting.pop())
            if index is None:
                continue
            node = graph.nodes[index]
            if graph.attribute(index, "activation"):  # fused into the operator that makes the size
                return False
            inputs = [n for n in node.input if n in facts and not facts[n].constant and self._has(n, var)]
            if inputs and not record_of(node).has(_ENDS):
                return False
            waiting += inputs
        return True

    def _fed_back(self, var: SizeVar) -> bool:
        """True for what the model gives and reads once more: a first guess that a second network refines.

        What blocks give beside what they hand on (states, caches) is their own, and follows the width.
        """
        graph, inside = self.analysis.graph, self.structure.chain_of
        given = (n for n in graph.outputs if n in self.analysis.facts and self._has(n, var))
        ends = any(graph.producer.get(name, -1) not in inside for name in given)
        return ends and self._ends_linearly(var) and not self._as_wide_as_its_chain(var)

    def _as_wide_as_its_chain(self, var: SizeVar) -> bool:
        """A feature behind a nonlinearity is as wide as the residual; squashed logits are not."""
        residual = self.structure.residual_of(self._chain(var))
        return residual is not None and size_of(residual) == var.size

    def _makes_up_the_width(self, var: SizeVar) -> bool:
        """True if this is, alone or with others (sines beside cosines), an axis as wide as the residual.

        Where no width is a residual, all that weights sum over is resized alike, what they make of a table included.
        """
        residual = self.structure.residual_of(self._chain(var))
        if residual is None:
            return AxisRole.CONTRACTED in var.roles
        return size_of(residual) in self.wholes[var]

    def _has(self, name: str, var: SizeVar) -> bool:
        axes = self.analysis.facts[name].axes or ()
        return any(var in self.algebra.free_variables(axis) for axis in axes)

    def _chain(self, var: SizeVar) -> int | None:
        """The chain a dim belongs to: that of its weights, else the next in the graph, else the last."""
        chains = self.structure.chains
        inside = [self.structure.chain_of[e.node] for e in self.edges[var] if e.node in self.structure.chain_of]
        if inside:
            return min(inside)
        first = min(self.edges[var]).node
        for number, chain in enumerate(chains):
            if chain.units[0][0].nodes[0] > first:
                return number
        return len(chains) - 1 if chains else None

    def _name(self, dims: list[Dim]) -> None:
        several = len(chains_sharing(self.structure.graph, self.structure.chains)) > 1
        taken: set[str] = set()
        plain = {"residual": "hidden", "repeat": "queries_per_kv_head"}
        for dim in dims:
            inside = any(edge.node in self.structure.chain_of for edge in dim.edges)
            stem = plain.get(dim.kind, dim.kind)
            if dim.kind == "head_dim" and AxisRole.INNER not in dim.var.roles:
                stem = "v_head_dim"
            if dim.kind == "inner":
                part = self._part(dim, inside)
                stem, inside = part or ("ffn" if inside else self._outside_name(dim)), inside and part != STEM
            elif dim.kind == "fixed":
                stem = self._outside_name(dim)
            if several and dim.chain is not None and dim.kind != "fixed" and inside:
                stem = f"{stem}.{dim.chain + 1}"
            dim.name = unused(stem, taken)
            taken.add(dim.name)

    def _outside_name(self, dim: Dim) -> str:
        why = dim.hold.why if dim.hold is not None else None
        if dim.var.symbol is not None:
            return dim.var.symbol
        if dim.hold is not None and why is Why.INPUT_AXIS:
            return f"{dim.hold.tensor}.{dim.hold.axis}"
        if AxisRole.KERNEL in dim.var.roles:
            return "kernel"
        if why is Why.FILTERS:
            return "multiplier"
        if dim.var in self.outside and dim.kind == "fixed" and AxisRole.VOCABULARY not in dim.var.roles:
            return "classes" if why is Why.OUTPUT else "output"
        if AxisRole.VOCABULARY in dim.var.roles:
            return self._table_name(dim)
        return self._parameter_name(self._first(dim.edges)) or ("buffer" if dim.kind == "fixed" else dim.kind)

    def _part(self, dim: Dim, inside: bool) -> str | None:
        """What part of a network an inner size is; None if only names tell."""
        part = part_of(self.analysis, dim.var, dim.edges)
        if part not in (None, MIDDLE):
            return part
        if is_stem(self.analysis, dim.var, dim.edges, self._begin):
            return STEM
        return part if inside else None

    @cached_property
    def _begin(self) -> int:
        """The first node of all chains, or that sums with a weight and does not convolve; -1 without a chain."""
        if not self.structure.chain_of:
            return -1
        nodes = self.analysis.graph.nodes
        linear = (e.node for e in self.analysis.contractions if not record_of(nodes[e.node]).has(Trait.CONVOLVES))
        return min([*self.structure.chain_of, *linear])

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
        if dim.var.size == max(t.size for t in tables):
            return "vocabulary"
        name = (
            self._parameter_name(self._first([e for e in dim.edges if e in self.analysis.tables] or dim.edges))
            or "table"
        )
        return "positions" if "pos" in name or name == "wpe" else name
