"""What a feed of a graph has to be, and whether arrays are one: said before any work is done with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from front_onnx.check.validate import open_session
from front_onnx.errors import RequestError
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.samples.layout import Shape, input_shapes, mixed_sizes, sample_axes, tables
from front_onnx.store.model_writer import ProtoWriter

__all__ = ["Feed", "Input", "Inputs"]

Feed = Mapping[str, np.ndarray]
_TOKENS = 2048  # of a batch
_ROWS = 256  # of numbers, in a batch
_SAMPLES = 32  # of anything else
_BYTES = 64 << 20  # of a batch


@dataclass(frozen=True)
class Input:
    """One input of a graph.

    Attributes:
        name: in the graph.
        dtype: the type of its elements.
        shape: a number for each fixed size, a name for each free one, one name for what is one size; None if the
            graph declares no shape.
        axis: where the samples lie; None if all batches get the same array.
        rows: the entries of the smallest table that it indexes; None if it indexes none.
    """

    name: str
    dtype: np.dtype
    shape: Shape
    axis: int | None
    rows: int | None

    @property
    def free(self) -> tuple[str, ...]:
        """The names of the free sizes besides that of the samples."""
        return tuple(n for place, n in enumerate(self.shape or ()) if isinstance(n, str) and place != self.axis)

    @property
    def is_float(self) -> bool:
        """True for floats of any width."""
        return self.dtype.kind not in "biu"

    @property
    def sides(self) -> tuple[int, int] | None:
        """The axes of height and width, if it takes pictures: 1, 3 or 4 channels first, or last where only that fits.

        Both sides are fixed or both are free, which tells pictures from cached keys and values of few heads.
        """
        if self.shape is None or len(self.shape) != 4 or self.axis != 0:
            return None
        if not self.is_float and self.dtype != np.uint8:
            return None
        found = (2, 3) if self.shape[1] in (1, 3, 4) else (1, 2) if self.shape[3] in (1, 3, 4) else None
        if found is None or len({isinstance(self.shape[side], int) for side in found}) > 1:
            return None
        return found

    def fitted(self, given: object, where: str) -> np.ndarray:
        """An array as the graph takes it: of its type and rank, with the fixed sizes, finite, within its table.

        Casts that keep every value are made, and floats become the graph's.

        Raises:
            RequestError: it is none of these.
        """
        array = self._cast(np.asarray(given), where)
        self._check_sizes(array, where)
        if self.is_float and not np.isfinite(array).all():
            raise RequestError(f"{where}: input {self.name} holds values that are no numbers", got="nan or infinity")
        if self.rows is not None and array.size and (array.max() >= self.rows or array.min() < -self.rows):
            got, wanted = f"{array.min()} to {array.max()}", f"0 to {self.rows - 1}"
            raise RequestError(f"{where}: input {self.name} indexes beyond its table", got=got, wanted=wanted)
        return array

    def _check_sizes(self, array: np.ndarray, where: str) -> None:
        if self.shape is None:
            if array.ndim == 0 and self.axis is not None:
                raise RequestError(f"{where}: input {self.name} has no axis of samples", got="a scalar")
            return
        if array.ndim != len(self.shape):
            shown = ", ".join("?" if str(n).startswith("[") else str(n) for n in self.shape)
            line = f"{where}: input {self.name} has another rank"
            raise RequestError(line, got=list(array.shape), wanted=f"[{shown}]")
        for place, (got, wanted) in enumerate(zip(array.shape, self.shape, strict=True)):
            if isinstance(wanted, int) and got != wanted and place != self.axis:
                line = f"{where}: input {self.name} has another size at axis {place}"
                raise RequestError(line, got=got, wanted=wanted)

    def _cast(self, array: np.ndarray, where: str) -> np.ndarray:
        if array.dtype == self.dtype:
            return array
        floats = array.dtype.kind == "f" and self.is_float
        whole = array.dtype.kind in "biu" and self.dtype.kind in "iu"
        if floats or whole:
            with np.errstate(over="ignore"):
                cast = array.astype(self.dtype)
            kept = np.array_equal(cast, array) if whole else np.array_equal(np.isfinite(cast), np.isfinite(array))
            if kept:
                return cast
        hint = f"array.astype(numpy.{self.dtype.name})"
        raise RequestError(
            f"{where}: input {self.name} has another type", got=array.dtype, wanted=self.dtype, hint=hint
        )


@dataclass(frozen=True)
class Inputs:
    """The inputs of a graph, and how many samples a batch has to have.

    Attributes:
        graph: whose they are.
        analysis: the axes of the graph: which free sizes are one, and which the exporter wrote into it.
        each: the inputs, in order; optional ones are left out.
        batch: the samples of a batch where the graph fixes them.
    """

    graph: Graph
    analysis: Analysis
    each: tuple[Input, ...]
    batch: int | None

    @classmethod
    def of(cls, graph: Graph) -> Inputs:
        """Find out what a graph takes.

        Raises:
            RequestError: an input is no tensor, or there is none.
        """
        types = {}
        for info in graph.inputs:
            if info.type.HasField("tensor_type"):
                types[info.name] = np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
            elif not info.type.HasField("optional_type"):
                raise RequestError(f"input {info.name} is no tensor, and batches are arrays")
        if not types:
            raise RequestError("the graph has no inputs, so there is nothing to calibrate on")
        analysis = analyse(graph)
        shapes = {name: shape for name, shape in input_shapes(graph, analysis).items() if name in types}
        axes, batch = sample_axes(shapes, mixed_sizes(graph, analysis, shapes))
        rows = tables(graph, analysis)
        each = (Input(name, types[name], shapes[name], axes[name], rows.get(name)) for name in types)
        return cls(graph, analysis, tuple(each), batch)

    @property
    def names(self) -> str:
        """Their names, for messages."""
        return ", ".join(entry.name for entry in self.each)

    @property
    def picture(self) -> Input | None:
        """The input that takes pictures, if there is just one of its kind."""
        found = [entry for entry in self.each if entry.sides]
        return found[0] if len(found) == 1 else None

    def fitted(self, given: object, where: str) -> tuple[Feed, int]:
        """A feed as the graph takes it, and how many samples it has; names that are no inputs are left out.

        Where a graph takes one sample at a time, an input of fixed shape that is given in just that shape is the same
        for all samples of the others.

        Raises:
            RequestError: no arrays by name, an input is missing, or one does not fit, by itself or beside the others.
        """
        if not isinstance(given, Mapping):
            raise RequestError(f"{where}: a batch is a mapping of arrays by name", got=type(given).__name__)
        missing = [entry.name for entry in self.each if entry.name not in given]
        if missing:
            got = ", ".join(map(str, given)) or "no arrays"
            raise RequestError(f"{where} lacks {', '.join(missing)}", got=got, wanted=self.names)
        feed = {entry.name: entry.fitted(given[entry.name], where) for entry in self.each}
        counts = {entry.name: feed[entry.name].shape[entry.axis] for entry in self.each if entry.axis is not None}
        most = max(counts.values(), default=1)
        for entry in self.each[1:]:
            if self.batch == 1 < most and entry.axis == 0 and counts[entry.name] == 1 and not entry.free:
                feed[entry.name] = np.repeat(feed[entry.name], most, axis=0)
                counts[entry.name] = most
        if len(set(counts.values())) > 1:
            got = ", ".join(f"{name} {n}" for name, n in counts.items())
            raise RequestError(f"{where}: inputs have several numbers of samples", got=got, wanted="one for all")
        if most == 0:
            raise RequestError(f"{where} has no samples")
        self._check_named(feed, where)
        return feed, most

    def _check_named(self, feed: Feed, where: str) -> None:
        """What has one name has one size.

        Raises:
            RequestError: it has two.
        """
        sizes: dict[str, tuple[int, str, int]] = {}
        for entry in self.each:
            for place, name in enumerate(entry.shape or ()):
                if isinstance(name, int) or place == entry.axis:
                    continue
                size = feed[entry.name].shape[place]
                first, other, at = sizes.setdefault(name, (size, entry.name, place))
                if first != size:
                    line = f"{where}: input {entry.name} has another size at axis {place} than {other} at axis {at}"
                    raise RequestError(line, got=size, wanted=first)

    def taken(self, feed: Feed, rows: Sequence[int] | np.ndarray) -> Feed:
        """Some samples of a feed."""
        return {
            entry.name: feed[entry.name] if entry.axis is None else np.take(feed[entry.name], rows, axis=entry.axis)
            for entry in self.each
        }

    def joined(self, feeds: Sequence[Feed]) -> Feed:
        """The samples of several feeds of one shape."""
        return {
            entry.name: feeds[0][entry.name]
            if entry.axis is None or len(feeds) == 1
            else np.concatenate([feed[entry.name] for feed in feeds], axis=entry.axis)
            for entry in self.each
        }

    def count(self, feed: Feed) -> int:
        """The samples of a feed: 1 where no input has an axis for them."""
        return next((feed[entry.name].shape[entry.axis] for entry in self.each if entry.axis is not None), 1)

    def digests(self, feed: Feed) -> list[bytes]:
        """A hash of each sample."""
        shared = b"".join(_digest(feed[entry.name]) for entry in self.each if entry.axis is None)
        lying = [np.moveaxis(feed[entry.name], entry.axis, 0) for entry in self.each if entry.axis is not None]
        return [shared + b"".join(_digest(array[row]) for array in lying) for row in range(self.count(feed))]

    def alike(self, feed: Feed) -> object:
        """What two feeds have to have in common to be joined: shapes, and what is the same for all samples."""
        return tuple(
            _digest(feed[entry.name]) if entry.axis is None else tuple(np.delete(feed[entry.name].shape, entry.axis))
            for entry in self.each
        )

    def batch_size(self, sample: Feed, asked: int | None = None) -> int:
        """How many such samples make a batch: as many as the graph wants, as asked for, or as are quick to compute."""
        if self.batch is not None:
            return self.batch
        if all(entry.axis is None for entry in self.each):
            return 1
        if asked is not None:
            return asked
        tokens = max((sample[entry.name].size for entry in self.each if entry.rows is not None), default=0)
        flat = all(array.ndim <= 2 for array in sample.values())
        most = max(1, _TOKENS // tokens) if tokens else _ROWS if flat else _SAMPLES
        return max(1, min(most, _ROWS, _BYTES // max(1, sum(array.nbytes for array in sample.values()))))

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession | None:
        try:
            return open_session(self.graph.model.path or _whole(self.graph.model))
        except Exception:  # operators of others, more than a message holds: whoever runs the model has another way
            return None

    def outputs(self, feed: Feed) -> list[np.ndarray] | None:
        """What the model makes of a feed; None if onnxruntime does not run it."""
        if self._session is None:
            return None
        try:
            return [np.asarray(each) for each in self._session.run(None, dict(feed))]
        except Exception:  # onnxruntime has a class for each cause
            return None

    def failure(self, feed: Feed) -> str | None:
        """Why onnxruntime does not run the model on a feed; None if it does, or cannot load the model at all."""
        if self._session is None:
            return None
        try:
            self._session.run(None, dict(feed))
        except Exception as error:  # onnxruntime has a class for each cause
            return " ".join(str(error).split())[:200]
        return None


def _whole(model: ModelFile) -> onnx.ModelProto:
    """A model in memory with its weights in it, which may lie beside (what grew, and is to be calibrated)."""
    missing = model.missing()
    if not missing:
        return model.proto
    writer = ProtoWriter(model.proto, missing)
    for tensor in model.proto.graph.initializer:
        if tensor.name in missing:
            writer.put(tensor.name, model.array(tensor))
    return writer.result()


def _digest(array: np.ndarray) -> bytes:
    shape = str((array.shape, array.dtype)).encode()
    return hashlib.blake2b(shape + np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
