"""Planning the weights: what every constant that is no number is to hold at the new sizes."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from front_onnx.axes.numbers import Site
from front_onnx.axes.size import Axis, SizeVar, size_of
from front_onnx.constants.formulas import recomputed
from front_onnx.constants.kinds import Constant, Kind
from front_onnx.constants.readers import feeds_root
from front_onnx.constants.sequences import continued, depth_power, period, shares, stretched
from front_onnx.errors import UnsupportedError
from front_onnx.methods.method import Use
from front_onnx.operators.record import Trait, record_of
from front_onnx.plan.orders import Orders
from front_onnx.plan.plan import Plan
from front_onnx.read.arrays import is_arange, is_uniform, repeats
from front_onnx.read.graph import Edge, label
from front_onnx.read.tensor_data import numpy_type
from front_onnx.roles.trace import Trace
from front_onnx.transform.contents import Computed, Content, Counted, Filled, Numbers, Original, Repeated, Resampled
from front_onnx.transform.maps import AxisMap, BlockDiagonal, Compose, Dct, Identity, Kron
from front_onnx.transform.spectral import selection

__all__ = ["plan_weights"]

_COPIES = 4  # places from which equal contents are no accident


def plan_weights(plan: Plan) -> None:
    """Fill `plan.contents` and `plan.clones`: stacks over their units, single tensors by themselves.

    Raises:
        UnsupportedError: a computed table or an integer table would have to change and cannot.
    """
    _Weights(plan).run()


class _Weights:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.structure = plan.structure
        self.analysis = plan.structure.analysis
        self.graph = plan.structure.graph
        self.algebra = self.analysis.algebra
        self.ratio = plan.request.ratio
        self.methods = plan.methods
        self.orders = Orders(plan)
        self.unexplained: list[tuple[str, list[float]]] = []  # numbers of blocks, by the first block's
        self.sites: dict[Edge, list[Site]] = defaultdict(list)
        for site in self.analysis.sites:
            self.sites[Edge(site.node, site.slot)].append(site)
        tables = {self.graph.read_by(edge) for edge in self.analysis.tables}
        self.contracted = {
            self.graph.read_by(edge): axis
            for edge, axis in self.analysis.contractions.items()
            if self.graph.read_by(edge) not in tables
        }

    @cached_property
    def summed(self) -> dict[Edge, set[int]]:
        """All axes of weights that contractions sum over; one contraction may sum over heads and their size."""
        found = {edge: {axis} for edge, axis in self.analysis.contractions.items()}
        for contraction in Trace(self.analysis).contractions.values():
            found.setdefault(contraction.edge, set()).update(contraction.into)
        return found

    def run(self) -> None:
        """Contents of all weights: stacks over their units, single tensors by themselves."""
        placed: set[Edge] = set()
        for number, chain in enumerate(self.structure.chains):
            target = self.plan.units[number]
            if chain.loop is not None:
                continue  # a stack in one tensor is resized along its own axes
            for edges in chain.places.values():
                if self.analysis.uses[edges[0]].value is None:
                    contents = self._stack(edges, target)
                elif (scalars := self._scalars(edges, number, target)) is not None:
                    contents = scalars
                else:
                    continue
                placed.update(edges)
                for edge, content in zip(edges, contents, strict=False):
                    self._set(edge, content)
                for unit in range(len(edges), target):
                    self.plan.clones.setdefault((number, unit), {})[edges[-1]] = contents[unit]
        for edge, fact in self.analysis.uses.items():
            tied = self.graph.read_by(edge) in self.analysis.transposed and self.methods.width.keeps_tie(edge)
            if edge not in placed and fact.value is None and not tied:
                self._set(edge, self._stack((edge,), 1)[0])
        self._transposed()
        self._measured()
        self.methods.settle(self.plan)
        if self.unexplained:
            name, values = self.unexplained[0]
            also = f" (and {len(self.unexplained) - 1} more like it)" if len(self.unexplained) > 1 else ""
            shown = ", ".join(f"{value:.6g}" for value in values)
            self.plan.warnings.append(
                f"{name} is {shown} over the blocks{also}, by no rule that is known: resampled as if learned, which is "
                f"wrong if it is computed"
            )

    def _measured(self) -> None:
        """Where only the shape of a weight is read, read the tensor that its other readers get."""
        shapes = [edge for edge in self.plan.contents if self.graph.nodes[edge.node].op_type == "Shape"]
        others = {
            self.graph.read_by(edge): content for edge, content in self.plan.contents.items() if edge not in shapes
        }
        for edge in self.analysis.uses:
            content = others.get(self.graph.read_by(edge))
            if self.graph.nodes[edge.node].op_type == "Shape" and content is not None:
                self.plan.contents[edge] = content

    def _transposed(self) -> None:
        """A weight tied to a table as its transpose is the transpose of what the table becomes, bit for bit."""
        tables = {self.graph.read_by(edge): edge for edge in self.analysis.tables}
        for edge in self.analysis.uses:
            table = self.analysis.transposed.get(self.graph.read_by(edge))
            if table is None or not self.methods.width.keeps_tie(edge):
                continue
            content = self.plan.contents.get(tables[table]) if table is not None else None
            if isinstance(content, Resampled):
                self._set(edge, replace(content, transposed=True))
            elif isinstance(content, Filled):
                self._set(edge, replace(content, dims=content.dims[::-1]))

    def _is_bent(self, node: int) -> bool:
        """True if activations alone read what a node makes: the root of two in a GELU says nothing of the depth."""
        readers = [edge.node for name in self.graph.nodes[node].output for edge in self.graph.consumers.get(name, ())]
        return bool(readers) and all(record_of(self.graph.nodes[reader]).has(Trait.BENDS) for reader in readers)

    def _scalars(self, edges: tuple[Edge, ...], number: int, target: int) -> list[Content] | None:
        """What the scalars of one place become with the depth; None if they stay, or are numbers that mean a size."""
        chain = self.structure.chains[number]
        names = tuple(self.graph.read_by(edge) for edge in edges)
        arrays = [self.graph.array(name) for name in names]
        if target == len(edges) and self.ratio == 1:
            return None
        if any(array.size != 1 or np.dtype(array.dtype).kind in "iub" for array in arrays):
            return None
        values = [float(array.reshape(-1)[0]) for array in arrays]
        bound = [site.bindings for edge in edges for site in self.sites[edge]]
        if all(bound) or not np.isfinite(values).all():
            return None
        tensor = self.graph.constants[names[-1]]

        def holding(value: float) -> Content:
            return Numbers(tuple(tensor.dims), tensor.data_type, (value,))

        if len(set(values)) == 1:
            layers = target * chain.layers + chain.beside
            power = depth_power(values[0], chain.depth, layers)
            if power is not None and layers != chain.depth and not self._is_bent(edges[0].node):
                self.plan.warnings.append(
                    f"{names[0]} is {values[0]:.6g} in every block, perhaps a power of the depth {chain.depth}, "
                    f"which would be {power:.6g} at {layers}: left as it is"
                )
            return None
        if target == len(edges):
            return None if continued(values, chain.layers) else self._stack(edges, target)
        step = period(values)
        if step is not None:
            return [Original(names[u if u < len(names) else u % step]) for u in range(target)]
        layers = target * chain.layers + chain.beside
        going = continued(values, chain.layers)
        share = shares(values, chain.layers, chain.depth, layers)
        if share is None and going is None:
            share = stretched(values, target)
        if share is not None:
            other = f", and {going(target - 1):.6g} if the sequence goes on" if going is not None else ""
            self.plan.warnings.append(
                f"{names[0]} is {values[0]:.6g} ... {values[-1]:.6g} over the blocks, taken for shares of the depth: "
                f"the last one becomes {share(target - 1):.6g}{other}"
            )
            return [holding(share(u)) for u in range(target)]
        sequence = going
        if sequence is None:
            self.unexplained.append((names[0], values))
            return self._stack(edges, target)
        if any(b.at(self.plan.size) != b.at(size_of) for bindings in bound for b in bindings):
            raise UnsupportedError(
                f"{names[0]} is scaled by the number of the block and by a size that changes, and only one can change",
                node=label(self.graph.nodes[edges[0].node]),
                got=values[0],
            )
        return [Original(names[u]) if u < len(names) else holding(sequence(u)) for u in range(target)]

    def _set(self, edge: Edge, content: Content) -> None:
        if content != Original(self.graph.read_by(edge)):
            self.plan.contents[edge] = content

    def _stack(self, edges: tuple[Edge, ...], target: int) -> list[Content]:
        """What each of `target` units is to hold in one place."""
        if target == 0:
            return []  # a stage of its first block alone, which differs
        names = tuple(self.graph.read_by(edge) for edge in edges)
        axes = self.analysis.uses[edges[0]].axes or ()
        dims = tuple(self.plan.size(axis) for axis in axes)
        tensor = self.graph.constants[names[0]]
        same = dims == tuple(tensor.dims)
        whole = numpy_type(tensor).kind in "iub"
        method = self.methods.width
        filled = self._fill(names, whole, dims) if whole or method.ties else self._zero(names)
        if filled is not None:
            apart = method.parts and not whole
            return [
                Original(names[min(u, len(names) - 1)])
                if same
                else Filled(dims, tensor.data_type, filled, f"{names[min(u, len(names) - 1)]} {u}" if apart else "")
                for u in range(target)
            ]
        if whole:
            return [self._whole(edges[min(u, len(edges) - 1)], dims) for u in range(target)]
        constant = self.plan.structure.constants[edges[0]]
        matrix = names[0] in self.contracted
        if constant.is_kept:
            return self._kept_as_it_is(constant, edges, dims, target)
        if constant.kind is Kind.UNKNOWN and same:
            if target == len(names):
                return [Original(name) for name in names]
            if self._equal(names) and self.ratio == 1:
                return [Original(names[min(u, len(names) - 1)]) for u in range(target)]
        plain = method.ties and not self.orders.touches(edges)
        uniform = self._uniform(names, dims, matrix) if plain else None
        if uniform is not None:
            return [uniform[min(u, len(names) - 1)] for u in range(target)]
        keeps = self.plan.request.scale != "ortho"  # the paper's formula scales even what is equal in all blocks
        tied = len(names) > 1 and (len(set(names)) == 1 or (keeps and self._equal(names)))
        chance = method.apart and is_uniform(self.graph.array(names[0]))  # equal as they were never trained
        merged = tied and not chance and (len(set(names)) == 1 or not method.apart)
        if merged and not self.orders.touches(edges):
            edges, names = edges[:1], names[:1]  # one tensor for all units stays one
        depth = self._depth(edges, names, len(names) if tied and len(names) == 1 else target, matrix)
        lowest = None
        if not matrix and feeds_root(self.graph, edges[0]):
            lowest = min(float(self.graph.array(name).min()) for name in names)
        before = self.orders.before(edges)
        if isinstance(depth, Identity):
            if method.apart:
                own = [self._maps(edges[u : u + 1], axes) for u in range(len(edges))]
            else:
                own = [self._maps(edges, axes)] * len(edges)
            return [
                Original(names[u])
                if all(isinstance(m, Identity) for m in own[u])
                else method.refine(
                    Resampled((names[u],), 0, Identity(1), own[u], lowest=lowest, before=before[u : u + 1]), edges[u]
                )
                for u in (min(unit, len(names) - 1) for unit in range(target))
            ]
        chosen = selection(depth) if method.apart else None
        if chosen is not None:
            each = [(edges[u], self._maps(edges[u : u + 1], axes)) for u in chosen.indices]
            return [
                method.refine(Resampled(names, u, depth, maps, lowest=lowest, before=before), edge)
                for u, (edge, maps) in enumerate(each)
            ]
        maps = self._maps(edges, axes)
        return [Resampled(names, u, depth, maps, lowest=lowest, before=before) for u in range(target)]

    def _depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, matrix: bool) -> AxisMap:
        """The map over the units."""
        if target == len(names):
            return (self.methods.depth.cut(target) if target > 1 else None) or Identity(target)
        return self.methods.depth.depth(edges, names, target, matrix=matrix)

    def _equal(self, names: tuple[str, ...]) -> bool:
        """True if tensors with different names hold the same (masks, copies of a weight that all blocks share)."""
        if self.graph.model.are_apart(names):
            return False
        first, *others = (self.graph.array(name) for name in names)
        return all(first.flat[:1] == other.flat[:1] and np.array_equal(first, other) for other in others)

    def _fill(self, names: tuple[str, ...], whole: bool, dims: tuple[int, ...]) -> float | None:
        """The one value that tensors hold which hold nothing else, at the new size; None if it is for resampling."""
        value = None
        for name in dict.fromkeys(names):
            array = self.graph.array(name)
            if not is_uniform(array) or value not in (None, array.flat[0].item()):
                return None
            value = array.flat[0].item()
        if value is None or whole or value == 0:
            return value
        if names[0] in self.contracted:
            return self._mean(names[0], float(value), dims)
        return value if self.plan.request.scale in ("auto", "amp") else None

    def _zero(self, names: tuple[str, ...]) -> float | None:
        """Zero if nothing else is in some tensors: every map leaves it."""
        return None if any(np.any(self.graph.array(name)) for name in dict.fromkeys(names)) else 0.0

    def _mean(self, name: str, value: float, dims: tuple[int, ...]) -> float | None:
        """One value everywhere that is summed over takes a mean, a sum, or the root of neither; None if it is none."""
        place, shape = self.contracted[name], tuple(self.graph.constants[name].dims)
        before, after = shape[place], dims[place]
        if before == after or value == 1:
            return value if value == 1 or shape != dims else None
        rest = math.prod(shape[2:]) if len(shape) > 2 else 1  # a kernel is summed over as well
        for power in (1, 0.5):
            if any(math.isclose(value * count**power, 1, rel_tol=1e-3) for count in (before, before * rest)):
                return float(value * (before / after) ** power)
        return None

    def _whole(self, edge: Edge, dims: tuple[int, ...]) -> Content:
        """An integer table: it has to keep its size, unless it only counts or repeats itself."""
        name = self.graph.read_by(edge)
        tensor = self.graph.constants[name]
        moving = [i for i, (a, b) in enumerate(zip(dims, tensor.dims, strict=True)) if a != b]
        if not moving:
            return Original(name)
        if all(repeats(self.graph.array(name), place) for place in moving):
            return Repeated(name, dims)
        if not is_arange(self.graph.array(name)):
            place = moving[0]
            axis = (self.analysis.uses[edge].axes or ())[place]
            raise UnsupportedError(
                f"integer table {name} would have to change along axis {place}",
                node=label(self.graph.nodes[edge.node]),
                dim=self.structure.describe(axis),
                got=dims[place],
                wanted=tensor.dims[place],
            )
        return Counted(dims, tensor.data_type)

    def _kept_as_it_is(
        self, constant: Constant, edges: tuple[Edge, ...], dims: tuple[int, ...], target: int
    ) -> list[Content]:
        """What is no weight stays byte for byte, or is computed by its formula at the new size.

        Raises:
            UnsupportedError: it would have to change and nothing says how.
        """
        names = self._over_depth(constant, edges, target)
        return [self._kept(constant, edges[0], name, dims) for name in names]

    def _over_depth(self, constant: Constant, edges: tuple[Edge, ...], target: int) -> list[str]:
        """The tensor of each of `target` units: one for all if they hold the same, in turn if they repeat."""
        names = [self.graph.read_by(edge) for edge in edges]
        if target == len(names):
            return names
        if len(set(names)) == 1 or self._equal(tuple(names)):
            return [names[min(u, len(names) - 1)] for u in range(target)]
        held = [self.graph.array(name).tobytes() for name in names]
        step = period(held)
        if step is None:
            raise UnsupportedError(
                f"{names[0]} is no weight ({constant.evidence}) and differs from block to block",
                node=label(self.graph.nodes[edges[0].node]),
                got=target,
                wanted=len(names),
                hint=f"--treat {names[0]}=weight resamples it, which is right only if it was learned",
            )
        return [names[u] if u < len(names) else names[u % step] for u in range(target)]

    def _kept(self, constant: Constant, edge: Edge, name: str, dims: tuple[int, ...]) -> Content:
        tensor, array = self.graph.constants[name], self.graph.array(name)
        if dims == tuple(tensor.dims):
            return Original(name)
        summed = name in self.contracted
        if constant.kind is Kind.FORMULA and recomputed(array, dims, summed=summed) is not None:
            return Computed(name, dims, tensor.data_type)
        moving = [place for place, (a, b) in enumerate(zip(dims, tensor.dims, strict=True)) if a != b]
        if all(repeats(array, place) and place != constant.contracted for place in moving):
            return Repeated(name, dims)
        raise UnsupportedError(
            f"{name} is no weight ({constant.evidence}) and would have to change along axis {moving[0]}",
            node=label(self.graph.nodes[edge.node]),
            dim=self.structure.describe((self.analysis.uses[edge].axes or ())[moving[0]]),
            got=dims[moving[0]],
            wanted=tensor.dims[moving[0]],
            hint=f"--treat {name}=weight resamples it, which is right only if it was learned",
        )

    def _uniform(self, names: tuple[str, ...], dims: tuple[int, ...], matrix: bool) -> list[Content] | None:
        """Copies of what is the same at every place of the axes that change and are not summed over: fixed filters."""
        if not matrix or self.plan.request.scale == "ortho" or self.ratio < 1:
            return None
        shape = tuple(self.graph.constants[names[0]].dims)
        moving = [place for place, (a, b) in enumerate(zip(dims, shape, strict=True)) if a != b]
        if not moving or self.contracted[names[0]] in moving or min(shape[place] for place in moving) < _COPIES:
            return None
        if len(set(names)) > 1 and not self._equal(names):
            return None
        if not all(repeats(self.graph.array(names[0]), place) for place in moving):
            return None
        return [Repeated(name, dims) for name in names]

    def _maps(self, edges: tuple[Edge, ...], axes: tuple[Axis, ...]) -> tuple[AxisMap, ...]:
        """The maps of all axes of the weights in one place."""
        return tuple(self._map(axis, _Place(edges, place)) for place, axis in enumerate(axes))

    def _map(self, axis: Axis, place: _Place, cut: bool = True) -> AxisMap:
        """The map of one axis: segments apart, factors apart, each size variable as the method says.

        With `cut`, no more than the coefficients of the ratio are kept: of each segment of a sum, and else of the
        whole axis.
        """
        variables = self.algebra.expand(axis)
        if variables and variables[0].parts is not None:
            rest = variables[1:]
            parts = (self._map((*part, *rest), place, cut) for part in self.algebra.segments(variables[0]))
            return _tidy(BlockDiagonal(tuple(parts)))
        size = size_of(variables)
        movable = any(self._movable(var) for var in self.algebra.free_variables(variables))
        low = self.methods.width.cut(size) if movable and cut else None
        factors = tuple(self._factor(variables, number, place) for number in range(len(variables)))
        if len(factors) == 1:
            only = factors[0]
            if isinstance(low, Dct) and isinstance(only, Dct | Identity):
                return replace(only, keep=low.keep) if isinstance(only, Dct) else replace(low, target=only.target)
            return only if low is None else Compose((low, only))
        product = _tidy(Kron(factors))
        if not factors:
            return Identity(1)
        return product if low is None else Compose((low, product))

    def _movable(self, var: SizeVar) -> bool:
        dim = self.structure.by_variable.get(var)
        return dim is not None and dim.kind != "fixed"

    def _factor(self, variables: tuple[SizeVar, ...], number: int, place: _Place) -> AxisMap:
        var = variables[number]
        if var.parts is not None:
            return self._map((var,), place, cut=False)
        target = self.plan.sizes.get(var, var.size)
        if target == var.size:
            return Identity(target)
        names = tuple(self.graph.read_by(edge) for edge in place.edges)
        if var in self.structure.depths:  # blocks that one tensor holds
            matrix = names[0] in self.contracted
            return self.methods.depth.depth(place.edges, names[:1] * var.size, target, matrix=matrix)
        if self.methods.width.ties:
            matrix = names[0] in self.contracted
            summed = matrix and self.contracted[names[0]] == place.axis
        else:
            summed = place.axis in self.summed.get(place.edges[0], ())
            matrix = place.edges[0] in self.summed
        within = size_of(variables[:number]), size_of(variables[number + 1 :])
        return self.methods.width.axis(Use(var, target, place.edges, names, place.axis, within, matrix, summed))


@dataclass(frozen=True)
class _Place:
    """An axis of the weights that some edges read."""

    edges: tuple[Edge, ...]
    axis: int


def _tidy(product: BlockDiagonal | Kron) -> AxisMap:
    """A product or sum of identities is one."""
    return Identity(product.source) if all(isinstance(part, Identity) for part in product.parts) else product
