"""How much of its source a model still computes, on held-out samples: by output, decoded where sizes differ.

The decoder D [N, M] takes a wider or narrower output back to the source's size; it is fitted by ridge regression on the
samples to calibrate on, so that every candidate is judged by what can still be read out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from front_onnx.calibration.counted import Counted
from front_onnx.calibration.engine import CPU, Engine
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.stepping import Stepper, made_outputs
from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph

__all__ = ["Likeness", "Reference", "compare"]

_RIDGE = 1e-3  # of the mean diagonal
_CONSTANT = 1e-9  # of the squares, what is rounding
_ROWS = 1 << 16  # that a decoder is fitted on

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Likeness:
    """How far one output is from the source's.

    Attributes:
        error: squares of the differences over those of the source's output about its mean; 0 for the same. Where it
            is always the same, over its squares.
        cosine: the mean cosine of rows.
        top: how often the largest entry of a row is the source's, 0 to 1; None where the size of rows is another one.
        divergence: the mean KL divergence of softmax of rows, in nats; None like `top`.
    """

    error: float
    cosine: float
    top: float | None = None
    divergence: float | None = None


@dataclass
class Reference:
    """What the source makes of samples: kept, as every candidate is compared with it.

    Args:
        shelf: where outputs are kept.
        parts: feeds of the source by the name of the part: "samples" and "held out".
        counted: which tokens count; all if None.

    Attributes:
        names: outputs of floats that have an axis.
    """

    shelf: Shelf
    parts: Mapping[str, Feeds]
    counted: Counted | None = None
    names: list[str] = field(default_factory=list)

    def run(self, graph: Graph, part: str, engine: Engine = CPU) -> None:
        """Run the source on a part of the samples.

        Raises:
            FrontError: an output is not finite.
        """
        for number, found in enumerate(_outputs(graph, {}, self.parts[part], self.shelf, engine)):
            self.take(part, number, found)

    def take(self, part: str, number: int, found: Mapping[str, np.ndarray]) -> None:
        """Keep what the source made of one batch.

        Raises:
            FrontError: an output is not finite.
        """
        found = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
        for name, value in found.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise FrontError("the source itself makes what is not finite of these samples", got=name)
            self.shelf.put(f"reference {part}:{name}", number, value)
        self.names = [name for name, value in found.items() if value.dtype.kind == "f" and value.ndim]

    def is_ragged(self, name: str) -> bool:
        """True for an output whose last axis is no set of columns: samples lie there, or its size changes."""
        shapes = [self.get("held out", name, number).shape for number in range(len(self.parts["held out"]))]
        return len(shapes[0]) == 1 or len({shape[-1] for shape in shapes}) > 1

    def counting(self, part: str, name: str, number: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """What counts of an output, in the shape that it has, or one of another size; None if all of it does."""
        if self.counted is None:
            return None
        flags = self.counted.of(name, self.parts[part][number], self.get(part, name, number).shape)
        if flags is None or len(shape) != flags.ndim:
            return None
        fits = all(own in (1, size) for own, size in zip(flags.shape, shape, strict=True))
        return flags if fits else None

    def get(self, part: str, name: str, number: int) -> np.ndarray:
        """One output of one batch."""
        return self.shelf.get(f"reference {part}:{name}", number)


def compare(
    reference: Reference,
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    fitted_on: Feeds,
    held_out: Feeds,
    engine: Engine = CPU,
    stands: Mapping[str, str] | None = None,
    *,
    enough: int | None = None,
) -> tuple[dict[str, Likeness], dict[str, dict[int, np.ndarray]]]:
    """Compare a model's outputs with the source's.

    Args:
        reference: what the source makes of both parts, "samples" and "held out".
        graph: the model.
        arrays: its weights.
        fitted_on: its feeds, to fit decoders on.
        held_out: its feeds, to compare on.
        engine: what runs graphs.
        stands: the source's output that an output stands for, where it is another one; outputs of blocks that are
            gone are not compared.
        enough: rows for each column of a decoder beyond which no more are taken; None for all that there are.

    Returns:
        Likeness by output, and decoders D [N, M] by output and axis.
    """
    pairs = _Pairs()
    first = next(_outputs(graph, arrays, held_out[:1], reference.shelf, engine))
    like = {name: (stands or {}).get(name, name) for name in first}
    like = {name: theirs for name, theirs in like.items() if theirs in reference.names}
    axis = {name: _other_axis(reference.get("held out", like[name], 0), first[name]) for name in like}
    moved = {name: place for name, place in axis.items() if place is not None and place >= 0}
    if moved:
        for number, found in enumerate(_outputs(graph, arrays, fitted_on, reference.shelf, engine)):
            for name, place in moved.items():
                flags = reference.counting("samples", like[name], number, found[name].shape)
                pairs.add(name, found[name], reference.get("samples", like[name], number), place, flags)
            if enough is not None and all(pairs.has(name, enough) for name in moved):
                break
    decoders = {name: pairs.solve(name) for name in moved}
    measures = {name: _Measure(reference.is_ragged(like[name])) for name, place in axis.items() if place is not None}
    for number, found in enumerate(_outputs(graph, arrays, held_out, reference.shelf, engine)):
        for name, measure in measures.items():
            theirs = reference.get("held out", like[name], number)
            mine = found[name]
            flags = reference.counting("held out", like[name], number, mine.shape)
            if name in decoders:
                place = moved[name]
                rows = np.moveaxis(mine, place, -1) @ decoders[name][0] + decoders[name][1]
                mine, theirs = rows, np.moveaxis(theirs, place, -1)
                flags = None if flags is None else np.moveaxis(flags, place, -1)
            if flags is not None:
                mine, theirs = _counting(mine, theirs, flags)
            measure.add(mine, theirs, plain=name not in decoders)
    likeness = {name: measure.result() for name, measure in measures.items()}
    return likeness, {name: {moved[name]: np.asarray(matrix.T)} for name, (matrix, _) in decoders.items()}


def _outputs(
    graph: Graph, arrays: Mapping[str, np.ndarray], feeds: Feeds, shelf: Shelf, engine: Engine
) -> Iterator[dict[str, np.ndarray]]:
    stepper = Stepper(graph, arrays, feeds, shelf, engine)
    names = made_outputs(graph)
    stepper.expect(names)
    try:
        for found in stepper.run(names, peek=True):
            yield {name: np.asarray(found[name]) for name in names if isinstance(found[name], np.ndarray)}
    finally:
        stepper.close()


def _counting(mine: np.ndarray, theirs: np.ndarray, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What counts of two outputs: rows, or where tokens lie along the last axis, with the rest the same in both."""
    if flags.shape[-1] == 1:
        rows = np.broadcast_to(flags, (*mine.shape[:-1], 1))[..., 0]
        return mine[rows], theirs[rows]
    counts = np.broadcast_to(flags, mine.shape)
    middle = theirs[counts].mean() if counts.any() else 0.0
    return np.where(counts, mine, middle), np.where(counts, theirs, middle)


def _other_axis(before: np.ndarray, after: np.ndarray) -> int | None:
    """The axis along which two outputs differ in size: -1 for none, None if there are several."""
    if before.ndim != after.ndim:
        return None
    found = [place for place, (a, b) in enumerate(zip(before.shape, after.shape, strict=True)) if a != b]
    return -1 if not found else found[0] if len(found) == 1 else None


class _Pairs:
    """Sums for decoders with a shift."""

    def __init__(self) -> None:
        self.sums: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, mine: np.ndarray, theirs: np.ndarray, place: int, flags: np.ndarray | None = None) -> None:
        x, t = np.moveaxis(mine, place, -1), np.moveaxis(theirs, place, -1)
        if flags is not None:
            x, t = _counting(x, t, np.moveaxis(flags, place, -1))
        x = x.reshape(-1, x.shape[-1]).astype(np.float64)
        t = t.reshape(-1, t.shape[-1]).astype(np.float64)
        if name in self.sums and self.sums[name][0] > _ROWS:
            return
        found = [np.float64(len(x)), x.sum(0), t.sum(0), x.T @ x, x.T @ t]
        held = self.sums.get(name)
        self.sums[name] = found if held is None else [a + b for a, b in zip(held, found, strict=True)]

    def has(self, name: str, enough: int) -> bool:
        """True if there are so many rows for each column."""
        held = self.sums.get(name)
        return held is not None and bool(held[0] >= enough * len(held[1]))

    def solve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        count, x, t, gram, cross = self.sums[name]
        mean, made = x / count, t / count
        gram, cross = gram / count - np.outer(mean, mean), cross / count - np.outer(mean, made)
        gram = gram + max(_RIDGE * np.trace(gram) / len(gram), 1e-30) * np.eye(len(gram))
        matrix = scipy.linalg.solve(gram, cross, assume_a="pos")
        return matrix, made - mean @ matrix


class _Measure:
    """Sums of what differs; about the mean of each column, of all numbers if there are no columns."""

    def __init__(self, ragged: bool) -> None:
        self.ragged = ragged
        self.count, self.rows, self.missed, self.cosines, self.top, self.divergence = 0, 0, 0.0, 0.0, 0.0, 0.0
        self.total: np.ndarray | float = 0.0
        self.square: np.ndarray | float = 0.0
        self.plain = True

    def add(self, mine: np.ndarray, theirs: np.ndarray, *, plain: bool) -> None:
        a = mine.reshape(-1, mine.shape[-1]).astype(np.float64)
        b = theirs.reshape(-1, theirs.shape[-1]).astype(np.float64)
        if mine.ndim == 1:
            a, b = a.T, b.T
        self.count += len(a)
        self.missed += float(((a - b) ** 2).sum())
        columns = b.reshape(-1, 1) if self.ragged else b
        self.rows += len(columns)
        self.total, self.square = self.total + columns.sum(0), self.square + (columns**2).sum(0)
        length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        self.cosines += float(((a * b).sum(1) / np.maximum(length, 1e-30)).sum())
        self.plain = self.plain and plain and a.shape[1] > 1
        if self.plain:
            self.top += float((a.argmax(1) == b.argmax(1)).sum())
            first, second = _log_softmax(b), _log_softmax(a)
            self.divergence += float((np.exp(first) * (first - second)).sum())

    def result(self) -> Likeness:
        count, whole = max(self.count, 1), float(np.sum(self.square))
        spread = whole - float(np.sum(np.asarray(self.total) ** 2)) / max(self.rows, 1)
        constant = spread <= _CONSTANT * whole  # one row, or always the same: there is no spread to compare with
        error = self.missed / max(whole if constant else spread, 1e-30)
        if not np.isfinite(error):
            return Likeness(float("inf"), 0.0, 0.0 if self.plain else None, float("inf") if self.plain else None)
        told = (self.top / count, self.divergence / count) if self.plain else (None, None)
        return Likeness(error, self.cosines / count, *told)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return found
