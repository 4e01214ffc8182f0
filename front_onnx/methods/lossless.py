"""Lossless: a larger model that computes what the source computes.

Wider: units, heads and channels are copied and their readers divided among the copies (Net2Net); where norms take
means over a width that is no whole multiple, the channels beyond whole copies are extras (`extras.py`). Sizes that
products of two activations sum over are padded with zeros. Deeper: new blocks that add nothing yet (`growing.py`);
where a norm stands on the way through, its gain and bias move behind the new blocks: a norm of what is normalised
already changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from front_onnx.axes.holds import Why
from front_onnx.axes.numbers import Binding
from front_onnx.axes.size import AxisRole, SizeVar
from front_onnx.methods.adding import Adding
from front_onnx.methods.copies import cancelling, refuse_smaller, shares
from front_onnx.methods.extras import UNITS, Extras
from front_onnx.methods.growing import Growing
from front_onnx.methods.method import Draft, Use
from front_onnx.methods.returned import Lengthened, given_back, lengthened
from front_onnx.methods.sums import Impossible
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, label
from front_onnx.streams.heads import TiedHead, find_tied_heads, read_by_weight
from front_onnx.streams.lengths import Length, find_lengths
from front_onnx.streams.norms import Norm, find_norms
from front_onnx.transform.contents import Computed, Numbers, Patch, Resampled
from front_onnx.transform.maps import AxisMap, Compose, Matrix, Select, Stacked
from front_onnx.transform.spectral import dense_matrix

__all__ = ["Lossless"]

_FOLDING = Trait.REDUCES | Trait.SOFTMAX


@dataclass
class Lossless(Adding):
    """Growth that keeps the function, as far as the graph allows; the difference that is left is measured."""

    _extras: dict[SizeVar, Extras | str] = field(default_factory=dict, repr=False)

    name = "lossless"
    apart = True
    ties = False
    exact = True
    edits = True

    # -- width --------------------------------------------------------------------------------------------------------

    def axis(self, use: Use) -> AxisMap:
        """Copies, or zeros behind what there is; readers divided among copies.

        Raises:
            RequestError: the size is to be smaller.
        """
        var, target = use.var, use.target
        refuse_smaller(self, use)
        if AxisRole.INNER in var.roles:
            return self._padded(use)
        head = self._tied.get(use.edges[0]) if use.edges and use.summed else None
        if head is not None:
            use = replace(use, edges=(head.table,), summed=False)
        extras = self._extras_of(var)
        found = self._with_extras(use, extras) if isinstance(extras, Extras) else self._copied(use)
        given = self._lengthened.edges if use.summed else self._given_back
        gain = given.get(use.edges[0], 1.0) if use.edges else 1.0
        return found if gain == 1 else Compose((found, _times(target, gain)))

    def _copied(self, use: Use) -> Select:
        """Entry i is a copy of entry i mod N; what reads copies is divided among them."""
        spare = self._reserved(use.var)
        indices = np.arange(use.target - spare) % use.var.size
        gains = shares(self.setting, use, indices) if use.summed else np.ones(len(indices))
        if use.edges and use.edges[0] in self._silent:
            gains *= self._silent[use.edges[0]]
        none = np.zeros(spare)
        return Select(use.var.size, np.concatenate([indices, none.astype(int)]), np.concatenate([gains, none]))

    def _reserved(self, var: SizeVar) -> int:
        """Units that are no copies, as extras need them."""
        known = [extras for extras in map(self._extras_of, self._normed_vars) if isinstance(extras, Extras)]
        return UNITS if any(var is passing.units for extras in known for passing in extras.passing.values()) else 0

    def _padded(self, use: Use) -> AxisMap:
        """Zeros behind the entries, where a product of two activations sums: it stays what it is.

        A scale that follows the size, 1 / sqrt(size), is given back half by each of the two factors.
        """
        source, target = use.var.size, use.target
        gain = (target / source) ** 0.25 if self._scale_follows(use.var) else 1.0
        indices = np.minimum(np.arange(target), source - 1)
        gains = np.where(np.arange(target) < source, 1 / gain if use.summed else gain, 0.0)
        return Select(source, indices, gains)

    def _scale_follows(self, var: SizeVar) -> bool:
        """True if something is scaled by a root of this size, by a number of the file or inside an operator."""
        analysis = self.setting.structure.analysis

        def rooted(binding: Binding) -> bool:
            free = set(analysis.algebra.free_variables(binding.axis))
            return var in free and abs(binding.power) == 0.5

        written = [binding for site in analysis.sites for binding in site.bindings]
        written += [binding for *_, binding in analysis.attributes]
        if any(rooted(binding) for binding in written):
            return True
        apart = [axis for axis in analysis.products.values() if var in set(analysis.algebra.free_variables(axis))]
        return not apart  # the product is within an operator, which scales by itself

    def keeps_tie(self, edge: Edge) -> bool:
        """True for a head behind a norm of its own: the norm divides among the copies, and silences the extras."""
        return edge in self._tied

    @cached_property
    def _tied(self) -> dict[Edge, TiedHead]:
        """The heads that can stay tied, by where they read the table."""
        norms = {norm.output: norm for norm in self.norms}
        return {head.edge: head for head in find_tied_heads(self.setting.structure.analysis, norms) if self._can(head)}

    def _can(self, head: TiedHead) -> bool:
        norm = head.norm
        if norm is None or not norm.plain or norm.gain is None or len(norm.axis) != 1:
            return False
        var = norm.axis[0]
        extras = self._extras_of(var)
        return extras is None or (isinstance(extras, Extras) and not extras.is_plain(norm))

    @cached_property
    def _silent(self) -> dict[Edge, float]:
        """Gains and biases of norms before tied heads, and by what they are multiplied.

        The head adds up all copies, and has the table with what was given back (`_given_back`).
        """
        found = {}
        for head in self._tied.values():
            norm = head.norm
            var = norm.axis[0] if norm is not None else None
            if norm is None or var is None:
                continue
            factor = 1 / (self.setting.size(var) // var.size) / self._given_back.get(head.table, 1.0)
            found.update({edge: factor for edge in (norm.gain, norm.bias) if edge is not None})
        return found

    # -- norms --------------------------------------------------------------------------------------------------------

    @cached_property
    def norms(self) -> list[Norm]:
        """The norms of the graph."""
        return find_norms(self.setting.structure.analysis)

    @cached_property
    def lengths(self) -> list[Length]:
        """Where a tensor is divided by its length; sizes that are padded with zeros see to themselves."""
        found = find_lengths(self.setting.structure.analysis)
        return [length for length in found if not any(AxisRole.INNER in var.roles for var in length.axis)]

    def _normed(self, var: SizeVar) -> bool:
        algebra = self.setting.structure.analysis.algebra
        axes = [*(norm.axis for norm in self.norms), *(length.axis for length in self.lengths)]
        return any(var in set(algebra.free_variables(axis)) for axis in axes)

    def _extras_of(self, var: SizeVar) -> Extras | str | None:
        """The extras of a size variable that norms take means over; why there are none; None if none are needed."""
        target = self.setting.size(var)
        if not self._uneven(var) or not self._normed(var):
            return None
        if var not in self._extras:
            try:
                rest = target % var.size
                self._extras[var] = Extras(self.setting.structure, self.norms, self.lengths, var, rest, self._spare)
            except Impossible as problem:
                self._extras[var] = str(problem)
        return self._extras[var]

    def _uneven(self, var: SizeVar) -> bool:
        """True if a size becomes one that is no whole multiple of it; what is empty has nothing to copy."""
        return var.size > 0 and self.setting.size(var) % var.size > 0

    def _spare(self, var: SizeVar) -> int:
        """How many units of a size variable are added."""
        return self.setting.size(var) - var.size

    def refine(self, content: Resampled, edge: Edge) -> Resampled:
        """Let the reserved units of a feed-forward layer pass on what extras need."""
        analysis = self.setting.structure.analysis
        for var in self._normed_vars:
            extras = self._extras_of(var)
            if isinstance(extras, Extras) and edge in extras.passed:
                passing = extras.passed[edge]
                axes = [analysis.algebra.expand(axis) for axis in analysis.uses[edge].axes or ()]
                place = axes.index((passing.units,))
                use = Use(var, self.setting.size(var), (edge,), content.names, 1 - place, (1, 1), True, True)
                try:
                    values = extras.passing_values(edge, dense_matrix(self._with_extras(use, extras)))
                except Impossible as problem:
                    extras.sums.plain.setdefault(passing.result, str(problem))
                    return content
                return replace(content, patch=Patch(place, self.setting.size(passing.units) - UNITS, values))
        return content

    @cached_property
    def _normed_vars(self) -> list[SizeVar]:
        """The widths that norms take means over and that change."""
        found = {norm.axis[0]: None for norm in self.norms if len(norm.axis) == 1}
        return [var for var in found if self.setting.size(var) != var.size]

    def eta(self, var: SizeVar) -> float:
        """By what gains are multiplied: sqrt(k N / M)."""
        target = self.setting.size(var)
        return float(np.sqrt(target // var.size * var.size / target))

    @cached_property
    def _given_back(self) -> dict[Edge, float]:
        """Gains of weights that give back what a number which follows a width does to their result."""
        return given_back(self.setting, self.norms)

    @cached_property
    def _lengthened(self) -> Lengthened:
        """What gives back that copies make a vector longer before it is divided by its length."""
        return lengthened(self.setting, self.lengths)

    def _with_extras(self, use: Use, extras: Extras) -> AxisMap:
        source, target = use.var.size, use.target
        copies = target // source * source
        indices = np.arange(copies) % source
        if use.summed:
            gains = shares(self.setting, use, indices)
            columns = self._unread(use, extras)
            if columns is not None:
                return Stacked((Select(source, indices, gains), Matrix(columns)))
            unread = np.zeros(target - copies)
            return Select(source, np.concatenate([indices, unread.astype(int)]), np.concatenate([gains, unread]))
        edge = use.edges[0]
        if record_of(self.setting.structure.graph.nodes[edge.node]).has(Trait.MEASURES):
            return self._copied(use)  # only its size is read
        norm = extras.sums.gains.get(edge)
        if edge in self._silent:
            gains = np.full(copies, (self.eta(use.var) if norm is not None else 1.0) * self._silent[edge])
            none = np.zeros(target - copies)
            return Select(source, np.concatenate([indices, none.astype(int)]), np.concatenate([gains, none]))
        eta = self.eta(use.var) if norm is not None and not extras.is_plain(norm) else 1.0
        try:
            rows = extras.rows(edge)
        except Impossible as problem:
            self._extras[use.var] = str(problem)
            return self._copied(use)
        return Stacked((Select(source, indices, np.full(copies, eta)), Matrix(eta * rows)))

    def _unread(self, use: Use, extras: Extras) -> np.ndarray | None:
        """[E, N]: columns of a reader for extras, drawn so that what extras hold cancels; None for zeros."""
        if self.setting.symmetry == 0 or not use.edges or use.edges[0] in extras.passed:
            return None
        tensor = read_by_weight(self.setting.structure.analysis, use.edges[0])
        held = None if tensor is None else extras.held(tensor)
        return None if held is None else cancelling(self.setting, use, held)

    def port(self, use: Use) -> AxisMap:
        """The map in an input or an output of the graph."""
        extras = self._extras_of(use.var)
        if use.summed or not isinstance(extras, Extras) or AxisRole.INNER in use.var.roles:
            gain = self._lengthened.tensors.get((use.names[0], use.var), 1.0) if use.summed else 1.0
            found = self.axis(use)
            return found if gain == 1 else Compose((found, _times(use.target, gain)))
        rest = use.target % use.var.size
        copies = Select(use.var.size, np.arange(use.target - rest) % use.var.size, np.ones(use.target - rest))
        return Stacked((copies, Matrix(extras.input_rows(use.names[0]))))

    # -- what maps do not say ----------------------------------------------------------------------------------------

    @property
    def doubt(self) -> str | None:
        """Norms that hand extras on make rounding larger, each by the inverse of a deviation."""
        if any(isinstance(extras, Extras) and extras.hands_on for extras in self._extras.values()):
            return "norms follow one another with nothing between that computes anew what extra channels hold"
        nodes = self.setting.structure.graph.nodes
        for index, axis in self.setting.structure.analysis.products.items():
            for var in self.setting.structure.analysis.algebra.free_variables(axis):
                if self._normed(var) and self.setting.size(var) != var.size:
                    said = "and neither of what it multiplies is known for a weight"
                    return f"{label(nodes[index])} sums over {self.setting.structure.by_variable[var].name}, {said}"
        node = next(filter(self._folds, range(len(nodes))), None)
        if node is None:
            return None
        found = nodes[node]
        return f"{found.name or found.op_type} ({found.op_type}) depends on how many channels there are"

    @cached_property
    def _explained(self) -> set[int]:
        """The nodes of norms and of divisions by a length."""
        found = {node for norm in self.norms for node in norm.nodes}
        return found | {node for length in self.lengths for node in length.nodes}

    def _folds(self, index: int) -> bool:
        """True for a node that makes one number of a width that changes, or shares of it, and is no known norm."""
        structure = self.setting.structure
        node, record = structure.graph.nodes[index], record_of(structure.graph.nodes[index])
        folds = record.has(_FOLDING) or (record.has(Trait.NORMALISES) and not record.has(Trait.PARAMETERS))
        if not folds or index in self._explained or not node.input:
            return False
        fact = structure.analysis.facts.get(node.input[0])
        axes = fact.axes or () if fact is not None and not fact.constant else ()
        after = structure.analysis.facts.get(node.output[0])
        left = after.axes or () if after is not None else ()
        gone = [axis for axis in axes if axis not in left] if record.has(Trait.REDUCES) else axes[-1:]
        return any(self.setting.size(v) != v.size for a in gone for v in structure.analysis.algebra.free_variables(a))

    def settle(self, plan: Draft) -> None:
        """Empty the new blocks, move gains behind them, and let epsilons follow.

        Raises:
            RequestError: there are to be fewer blocks.
        """
        if plan.is_for(self, "depth"):
            self.refuse_fewer()
            said = "one body is run for all blocks, and weights of each block alone do not decide what it adds"
            plan.warnings += [f"{name}: not exact, as {said}" for name in self.filled]
            for growing in Growing.all(plan):
                self._grow(plan, growing)
        if plan.is_for(self, "width"):
            self._epsilons(plan)
            for content in {c.name: c for c in plan.contents.values() if isinstance(c, Computed)}.values():
                plan.warnings.append(f"not exact, as {content.name} is computed from a size that changes")
            self._tell_groups(plan)
            plan.warnings += self._lengthened.problems
            for norm in self.norms:
                parts = [var for var in self.setting.structure.analysis.algebra.free_variables(norm.axis)]
                uneven = any(map(self._uneven, parts))
                if uneven and (len(norm.axis) > 1 or norm.axis[0].parts is not None):
                    node = self.setting.structure.graph.nodes[max(norm.nodes)]
                    plan.warnings.append(
                        f"not exact, as {node.name or node.op_type} takes means over several widths at once; whole "
                        f"multiples of them are"
                    )
            for var, extras in self._extras.items():
                for problem in [extras] if isinstance(extras, str) else extras.problems[:1]:
                    dim = self.setting.structure.by_variable[var]
                    target = self.setting.size(var) * dim.times
                    plan.warnings.append(
                        f"{dim.name} {dim.size} -> {target}: not exact, as {problem}; a whole multiple of {dim.size} is"
                    )

    def _tell_groups(self, plan: Draft) -> None:
        """Say where a norm takes means over the channels of a group, and their number is no whole multiple."""
        structure = self.setting.structure
        algebra = structure.analysis.algebra
        for dim in structure.dims:
            if not self._uneven(dim.var):
                continue
            axes = (algebra.expand(axis) for edge in dim.edges for axis in structure.analysis.uses[edge].axes or ())
            if any(dim.var in axis and any(var.is_held(Why.NORM_GROUPS) for var in axis) for axis in axes):
                target = self.setting.size(dim.var) * dim.times
                said = "not exact, as a norm takes means over the channels of a group; a whole multiple is"
                plan.warnings.append(f"{dim.name} {dim.size} -> {target}: {said}")

    def _grow(self, plan: Draft, growing: Growing) -> None:
        name = growing.chain.name
        if growing.way is None and growing.layer is not None:
            for unit in growing.new:
                growing.pass_on(unit, growing.layer)
            return
        if growing.way is None:
            said = "nothing passes by a block, and what is in it changes what it is given a second time"
            plan.warnings.append(f"{name}: not exact, as {said}")
            return
        if growing.writers is None:
            plan.warnings.append(f"{name}: not exact, as {growing.filled}")
            return
        for unit in growing.new:
            growing.empty(unit)
        norms = growing.way.norms
        if not norms:
            return
        if not growing.way.last or any(not norm.plain for norm in norms):
            plan.warnings.append(f"{name}: not exact, as what stands behind the norm of a block changes what passes it")
            return
        for unit in growing.new:
            for norm in norms[1:]:
                self._plain(plan, growing, unit, norm)
            self._plain(plan, growing, unit - 1, norms[0])

    def _plain(self, plan: Draft, growing: Growing, unit: int, norm: Norm) -> None:
        """Let a norm pass on what it normalised, as it is."""
        (var,) = norm.axis if len(norm.axis) == 1 else (None,)
        extras = self._extras_of(var) if var is not None and plan.is_for(self, "width") else None
        gain = self.eta(var) if var is not None and isinstance(extras, Extras) else 1.0
        if norm.gain is not None:
            growing.fill(unit, norm.gain, gain)
        if norm.bias is not None:
            growing.fill(unit, norm.bias, 0.0)

    def _epsilons(self, plan: Draft) -> None:
        """Let what is added to a mean of squares shrink as the mean does."""
        graph = self.setting.structure.graph
        for norm in self.norms:
            (var,) = norm.axis if len(norm.axis) == 1 else (None,)
            extras = self._extras_of(var) if var is not None else None
            if var is None or not isinstance(extras, Extras) or extras.is_plain(norm):
                continue
            factor = self.eta(var) ** 2
            if norm.operator is not None:
                usual = 1e-12 if graph.nodes[norm.operator].domain == "com.microsoft" else 1e-5
                held = graph.attribute(norm.operator, "epsilon")
                plan.attributes.append(
                    (norm.operator, "epsilon", None, float(usual if held is None else held) * factor)
                )
            elif norm.epsilon is not None and graph.read_by(norm.epsilon) in graph.constants:
                tensor = graph.constants[graph.read_by(norm.epsilon)]
                value = float(graph.array(graph.read_by(norm.epsilon)).reshape(-1)[0])
                self._everywhere(plan, norm.epsilon, Numbers(tuple(tensor.dims), tensor.data_type, (value * factor,)))

    def _everywhere(self, plan: Draft, edge: Edge, content: Numbers) -> None:
        """Set the content of an edge, and of its copies in added blocks."""
        plan.contents[edge] = content
        for number, chain in enumerate(self.setting.structure.chains):
            own = self.setting.structure.flow.private(chain.units[-1]) if chain.loop is None else ()
            if edge.node in own:
                for unit in range(len(chain.units), plan.units[number]):
                    plan.clones.setdefault((number, unit), {})[edge] = content


def _times(size: int, gain: float) -> Select:
    """A map that multiplies every entry."""
    return Select(size, np.arange(size), np.full(size, gain))
