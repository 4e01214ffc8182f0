"""A budget: the sizes nearest to a number of parameters or bytes that keep the proportions of the source.

Blocks hold about depth x width^2 parameters. So that a model stays as slender as it is, its depth and its width are
multiplied by the cube root of what its parameters are; then the width is tried out, for embeddings and heads grow by
less. What is asked for besides (a depth, a width, a named dim) stays as asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import onnx

from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError, RequestError
from front_onnx.plan.request import Request
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["within_budget"]

_TRIES = 16  # of sizes
_NEAR = math.log(1.1)
_FAR = math.log(1.5)
_STEPS = (0, -0.25, 0.25, -0.5, 0.5, -1, 1)  # powers of two around a depth, for what is no block has parameters too
_WIDEST = 64  # how many times the width, or its inverse, is tried at most
_DEEPEST = 4  # how many times the depth: every try makes the whole graph, and the rest is the width's


def within_budget(
    structure: Structure, request: Request, count: Callable[[Request], onnx.GraphProto]
) -> tuple[Request, str | None]:
    """The request that comes nearest to the budget of one, in sizes, and a warning if that is not near.

    Args:
        structure: the source.
        request: what is asked, with `params` or `size`.
        count: makes the graph of the result, without its weights.

    Raises:
        RequestError: nothing is left that could be changed, or no size is near.
    """
    search = _Search(
        structure, replace(request, params=None, size=None), request.budget, request.size is not None, count
    )
    found = search.run()
    return found, search.warning(found)


class _Search:
    def __init__(
        self,
        structure: Structure,
        request: Request,
        budget: int,
        in_bytes: bool,
        count: Callable[[Request], onnx.GraphProto],
    ) -> None:
        self.structure, self.request, self.budget, self.in_bytes, self.count = (
            structure,
            request,
            budget,
            in_bytes,
            count,
        )
        self.tried: dict[tuple[object, object], float] = {}
        proto = structure.graph.proto
        self.now = structure.graph.model.size if in_bytes else _weigh(proto, in_bytes)
        axes = [*structure.residuals, structure.loose]
        sizes = [math.prod(var.size for var in axis) for axis in axes if axis is not None]
        self.step = max(sizes, default=max((dim.size for dim in structure.dims), default=1))

    def run(self) -> Request:
        deep = bool(self.structure.chains) and self.request.depth is None and self.request.depth_mult is None
        wide = self.request.width is None and self.request.width_mult is None
        if not (deep or wide):
            raise RequestError("a budget needs a size that is not given: leave --depth or --width out")
        factor = self.budget / self.now
        if not wide:
            return self._best([self._deeper(factor * 2**step) for step in _STEPS])
        if not deep:
            return self._wider(self.request)
        if not self._has_width():
            return self._best([self._deeper(factor * 2**step) for step in _STEPS])
        share = min(factor ** (1 / 3), _DEEPEST)
        best = self._wider(self._deeper(share))
        if abs(self._off(best)) > _NEAR:  # widths are few where heads are: another depth may come nearer
            best = self._best([best, *(self._wider(self._deeper(share * more)) for more in (2 / 3, 3 / 2))])
        return best

    def warning(self, found: Request) -> str | None:
        """Say how far the nearest sizes are from the budget, if they are."""
        off = self._off(found)
        if abs(off) <= _FAR:
            return None
        unit = "bytes" if self.in_bytes else "parameters"
        return (
            f"{self.budget:,} {unit} were asked for, and the nearest that keeps the proportions has "
            f"{self.budget * math.exp(off):,.0f}: name sizes by --depth, --width and --set for others"
        )

    def _has_width(self) -> bool:
        """True if a factor of width changes anything: all that it could change may be kept by name."""
        try:
            return self._off(replace(self.request, width_mult="2")) != self._off(self.request)
        except FrontError:
            return False

    def _deeper(self, factor: float) -> Request:
        return replace(self.request, depth_mult=str(Fraction(factor).limit_denominator(1000)))

    def _wider(self, request: Request) -> Request:
        """The width that comes nearest, halved in on."""
        low, high = Fraction(1, _WIDEST), Fraction(_WIDEST)
        best, error = None, None
        for _ in range(_TRIES):
            middle = Fraction(math.sqrt(low * high))
            middle = Fraction(max(1, round(middle * self.step)), self.step)
            tried = replace(request, width_mult=str(middle))
            try:
                off = self._off(tried)
            except FrontError as refused:
                error, off = refused, math.inf if middle > 1 else -math.inf
            if best is None or abs(off) < abs(self._off(best)):
                best = tried if math.isfinite(off) else best
            low, high = (middle, high) if off < 0 else (low, middle)
            if off == 0 or high - low <= Fraction(1, self.step):
                break
        if best is None:
            raise error or RequestError("no width fits the budget")
        return best

    def _best(self, requests: list[Request]) -> Request:
        return min(requests, key=lambda request: abs(self._off(request)))

    def _off(self, request: Request) -> float:
        """The logarithm of how many times the budget a request takes."""
        key = request.depth_mult, request.width_mult
        if key not in self.tried:
            taken = _weigh(self.count(request), self.in_bytes)
            self.tried[key] = math.log(max(taken, 1) / self.budget)
        return self.tried[key]


def _weigh(graph: onnx.GraphProto, in_bytes: bool) -> int:
    """Parameters of the initializers of a graph, or the bytes that it takes once all of them hold their data."""
    total = graph.ByteSize() if in_bytes else 0
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.STRING:
            dtype, size = numpy_type(tensor), math.prod(tensor.dims)
            total += max(0, size * dtype.itemsize - tensor.ByteSize()) if in_bytes else size * int(is_float(dtype))
    return total
