"""Orders of units in which they are easier to mix: `--align` and `--order`, which leave the source's function as it is.

Whatever is private to a unit (`methods/private.py`) has an order that nobody else knows: hidden units, heads. Aligned,
each block has its units where those of the block before are that are most like them, before blocks are mixed. Ordered,
units stand beside those most like them, before an axis is taken for a signal.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.optimize

from front_onnx.axes.size import Axis, SizeVar
from front_onnx.constants.kinds import Kind
from front_onnx.methods.entries import gram, weighed
from front_onnx.methods.private import Private
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, BlockDiagonal, Identity, Kron, Select
from front_onnx.transform.spectral import selection

__all__ = ["Orders"]

_KINDS = ("inner", "heads", "kv_heads", "head_dim")


class Orders:
    """The permutations of a plan, by size variable and unit."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.structure = plan, plan.structure
        self.algebra = plan.structure.analysis.algebra
        self.private = Private(plan.structure)
        self._found: dict[SizeVar, dict[int, np.ndarray]] = {}

    def before(self, edges: tuple[Edge, ...]) -> tuple[tuple[AxisMap, ...], ...]:
        """The permutations of the axes of each of some weights in one place; nothing if none is permuted."""
        if not self.touches(edges):
            return ()
        return tuple(
            tuple(self._along(axis, edge) for axis in self.structure.analysis.uses[edge].axes or ()) for edge in edges
        )

    def touches(self, edges: tuple[Edge, ...]) -> bool:
        """True if weights in one place have a size variable that is permuted."""
        if not self._asked:
            return False
        axes = (axis for edge in edges for axis in self.structure.analysis.uses[edge].axes or ())
        return any(self._orders(var) for axis in axes for var in self.algebra.free_variables(axis))

    @property
    def _asked(self) -> bool:
        return self.plan.request.align or self.plan.request.order

    def _along(self, axis: Axis, edge: Edge) -> AxisMap:
        """The permutation of one axis: segments apart, factors apart."""
        variables = self.algebra.expand(axis)
        if variables and variables[0].parts is not None:
            segments = self.algebra.segments(variables[0])
            return BlockDiagonal(tuple(self._along((*part, *variables[1:]), edge) for part in segments))
        factors = [self._along((var,), edge) if var.parts is not None else self._factor(var, edge) for var in variables]
        return Kron(tuple(factors)) if factors else Identity(1)

    def _factor(self, var: SizeVar, edge: Edge) -> AxisMap:
        home = self.private.unit(edge)
        order = self._orders(var).get(home[1]) if home is not None else None
        return Identity(var.size) if order is None else Select(var.size, order, np.ones(var.size))

    def _orders(self, var: SizeVar) -> dict[int, np.ndarray]:
        """By unit, [N], which entry comes in each place; empty if the variable is not permuted."""
        if var not in self._found:
            chain = self.private.chain(var) if self._may_move(var) else None
            self._found[var] = {} if chain is None else self._decide(var, chain)
        return self._found[var]

    def _may_move(self, var: SizeVar) -> bool:
        """True if all constants that have a size variable are learned, and none is one with another by its contents."""
        dim = self.structure.by_variable.get(var)
        if dim is None or dim.kind not in _KINDS or dim.frozen is not None:
            return False
        constants, graph = self.structure.constants, self.structure.graph
        units: dict[str, set[object]] = {}
        for edge in dim.edges:
            name, constant = graph.read_by(edge), constants[edge]
            units.setdefault(name, set()).add(self.private.unit(edge))
            if constant.is_kept or constant.kind is Kind.UNKNOWN or name in self.structure.analysis.transposed:
                return False
            if self.structure.analysis.uses[edge].value is not None or np.dtype(graph.array(name).dtype).kind in "iub":
                return False
        return all(len(found) == 1 for found in units.values())

    def _decide(self, var: SizeVar, number: int) -> dict[int, np.ndarray]:
        chain, request = self.structure.chains[number], self.plan.request
        mixed = number in self._mixed
        aligned = request.align and mixed
        ordered = request.order and self.plan.sizes.get(var, var.size) != var.size
        if not aligned and not ordered:
            return {}
        units = range(len(chain.units))
        places = [edges for edges in chain.places.values() if self._has(edges[0], var)]
        rows = [[row for row, _ in weighed(self.structure, var, (edges[u] for edges in places))] for u in units]
        orders = {unit: np.arange(var.size) for unit in units}
        if aligned:
            for unit in units[1:]:
                likeness = sum(
                    (
                        a[orders[unit - 1]] @ b.T
                        for a, b in zip(rows[unit - 1], rows[unit], strict=True)
                        if a.shape == b.shape
                    ),
                    np.zeros((var.size, var.size)),
                )
                orders[unit] = scipy.optimize.linear_sum_assignment(-likeness)[1]
        if ordered:
            products = [gram((row[orders[unit]] for row in rows[unit]), var.size) for unit in units]
            if mixed:  # what is to be mixed has one order
                products = [sum(products, np.zeros_like(products[0]))] * len(products)
            orders = {unit: orders[unit][nearest(products[unit])] for unit in units}
        return orders

    def _has(self, edge: Edge, var: SizeVar) -> bool:
        axes = self.structure.analysis.uses[edge].axes or ()
        return any(var in self.algebra.free_variables(axis) for axis in axes)

    @cached_property
    def _mixed(self) -> set[int]:
        """The chains whose blocks are mixed with each other."""
        found = set()
        for number, chain in enumerate(self.structure.chains):
            target, edges = self.plan.units[number], next(iter(chain.places.values()), ())
            if chain.loop is None and edges and target != len(edges):
                names = tuple(map(self.structure.graph.read_by, edges))
                if selection(self.plan.methods.depth.depth(edges, names, target, matrix=True)) is None:
                    found.add(number)
        return found


def nearest(products: np.ndarray) -> np.ndarray:
    """[N], an order in which each entry is followed by the nearest one that is left; the longest comes first.

    Args:
        products: [N, N], the inner products of the entries.
    """
    lengths = np.diag(products)
    distance = lengths[:, None] + lengths - 2 * products
    place = int(np.argmax(lengths))
    order, left = [place], np.ones(len(products), bool)
    left[place] = False
    while left.any():
        place = int(np.argmin(np.where(left, distance[place], np.inf)))
        order.append(place)
        left[place] = False
    return np.array(order)
