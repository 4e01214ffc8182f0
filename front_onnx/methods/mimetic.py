"""Mimetic: random weights whose attention has the diagonals of trained models (Trockman & Kolter, arXiv:2305.09828)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from front_onnx.axes.size import Axis, SizeVar
from front_onnx.methods.method import Draft
from front_onnx.methods.random import Random
from front_onnx.read.graph import Edge
from front_onnx.roles.piece import Piece
from front_onnx.roles.role import Task
from front_onnx.transform.contents import Content, Drawn, Factor, Resampled
from front_onnx.transform.maps import AxisMap, Identity
from front_onnx.transform.spectral import apply_map

__all__ = ["Mimetic"]

_SCORES = 0.7  # alpha and beta of W_q W_k^T ~ alpha Z + beta I
_VALUES = 0.4  # alpha and beta of W_v W_o ~ alpha Z - beta I


class Mimetic(Random):
    """As `random`, but W_q W_k^T is 0.7 Z + 0.7 I in each head, and W_v W_o is 0.4 Z - 0.4 I over all heads.

    Z has entries of deviation width^-1/2; the factors are those of the singular value decomposition, cut to the size of
    the heads. Heads that share a key share its factor. Attention whose weights could not be found by role, or are no
    plain matrices, stays random; so do positions, which the paper makes of sines.
    """

    name = "mimetic"

    def settle(self, plan: Draft) -> None:
        """Draw everything, then the factors of attention."""
        maps = {edge: content.axes for edge, content in plan.contents.items() if isinstance(content, Resampled)}
        super().settle(plan)
        for number, sides in self._attention():
            for piece, factor in self._factors(plan, sides):
                self._put(plan, number, piece, factor, maps)

    def _attention(self) -> Iterator[tuple[int | None, dict[Task, Piece]]]:
        """The weights of each attention of a block: query, key, value and output."""
        found: dict[tuple[str, int], dict[Task, Piece]] = {}
        for piece in self.pieces:
            if piece.role.task in (Task.QUERY, Task.KEY, Task.VALUE, Task.OUTPUT) and not piece.role.bias:
                found.setdefault((piece.where, piece.role.number), {})[piece.role.task] = piece
        for sides in found.values():
            if len(sides) == 4 and len({piece.chain for piece in sides.values()}) == 1:
                yield sides[Task.QUERY].chain, sides

    def _factors(self, plan: Draft, sides: dict[Task, Piece]) -> Iterator[tuple[Piece, Factor]]:
        """The factor of each side, its places still empty."""
        shapes = {task: _Side.of(piece) for task, piece in sides.items()}
        if any(shape is None for shape in shapes.values()):
            return
        query, key, value, output = (
            shapes[task] for task in (Task.QUERY, Task.KEY, Task.VALUE, Task.OUTPUT) if shapes[task] is not None
        )
        assert query is not None and key is not None and value is not None and output is not None
        width = plan.size(query.width)
        if any(plan.size(side.width) != width for side in (key, value, output)):
            return
        heads, inner = plan.size(key.heads), plan.size((key.inner,))
        repeat, rest = divmod(plan.size(query.heads), heads)
        fits = not rest and query.inner is key.inner and query.heads[: len(key.heads)] == key.heads
        name = sides[Task.KEY].tensors[0]
        if fits:
            scores = Factor(f"{name} scores", "left", _SCORES, _SCORES, width, heads, repeat, inner, 0, ())
            yield sides[Task.QUERY], replace(scores, axis=query.axis)
            yield sides[Task.KEY], replace(scores, axis=key.axis, side="right")
        shared, rest = divmod(plan.size(output.heads), plan.size(value.heads))
        if rest or value.inner is not output.inner or output.heads[: len(value.heads)] != value.heads:
            return
        inner = plan.size((value.inner,))
        if shared == 1:
            inner *= plan.size(value.heads)
            values = Factor(f"{name} values", "left", _VALUES, -_VALUES, width, 1, 1, inner, value.axis, ())
            yield sides[Task.VALUE], values
            yield sides[Task.OUTPUT], replace(values, axis=output.axis, side="right")
        else:
            heads = plan.size(value.heads)
            values = Factor(f"{name} values", "left", _VALUES, -_VALUES, width, heads, 1, inner, value.axis, ())
            yield sides[Task.VALUE], values
            yield sides[Task.OUTPUT], replace(values, axis=output.axis, side="spread", repeat=shared)

    def _put(
        self, plan: Draft, number: int | None, piece: Piece, factor: Factor, maps: dict[Edge, tuple[AxisMap, ...]]
    ) -> None:
        """Give a factor to the tensor of each unit."""
        chain = self.setting.structure.chains[number] if number is not None else None
        graph = self.setting.structure.graph
        for edges in (
            chain.places.values() if chain is not None else [(edge,) for edge in self._edges[piece.tensors[0]]]
        ):
            if tuple(map(graph.read_by, edges)) != piece.tensors:
                continue
            size = graph.array(piece.tensors[0]).shape[factor.axis]
            axis_map = maps[edges[0]][factor.axis] if edges[0] in maps else Identity(size)
            factor = replace(factor, places=_places(piece, axis_map))
            first = {name: unit for unit, name in reversed([*enumerate(piece.tensors)])}  # blocks may share a weight
            shared = len(first) == 1 < len(edges)
            for unit, edge in enumerate(edges):
                self._set(plan.contents, edge, factor, first[piece.tensors[unit]])
            for unit in range(len(edges), plan.units[number] if number is not None else 0):
                own = plan.clones.get((number or 0, unit), {})
                self._set(own, edges[-1], factor, 0 if shared else unit)

    def _set(self, contents: dict[Edge, Content], edge: Edge, factor: Factor, unit: int) -> None:
        content = contents.get(edge)
        if isinstance(content, Drawn) and not content.transposed:
            own = replace(factor, key=f"{factor.key} {unit}")
            contents[edge] = replace(content, factors=(*content.factors, own))


@dataclass(frozen=True)
class _Side:
    """One side of attention: its width, its heads and the size of each, and the axis that has the heads."""

    width: Axis
    heads: Axis
    inner: SizeVar
    axis: int

    @classmethod
    def of(cls, piece: Piece) -> _Side | None:
        """The side that a piece is; None if it is no plain matrix [width, heads inner], whichever axis comes first."""
        if piece.axes is None or len(piece.axes) != 2 or piece.groups != (1, 1):
            return None
        summed, made = piece.axes
        reads = piece.role.task is Task.OUTPUT
        width, along, axis = (made, summed, piece.order[0]) if reads else (summed, made, piece.order[1])
        if len(along) < 2 or any(var.parts is not None for var in along[:-1]):
            return None
        return cls(width, along[:-1], along[-1], axis)


def _places(piece: Piece, axis_map: AxisMap) -> tuple[int, ...]:
    """Where the entries of a piece are along the axis of the target: what takes entries says of which it takes some."""
    here = np.zeros(axis_map.source, np.float32)
    here[slice(None) if piece.places is None or piece.role.task is Task.OUTPUT else piece.places] = 1
    return tuple(map(int, np.flatnonzero(apply_map(here, 0, axis_map))))
