"""Training data: arrays in a file, or batches from a callable; checked against the graph before the first step."""

from __future__ import annotations

import hashlib
import inspect
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from onnx import helper

from front_onnx.check.synthetic import index_limits
from front_onnx.errors import FileError, FrontError, RequestError
from front_onnx.read.graph import Graph
from front_onnx.samples.callables import called, imported, iterated, name_of

__all__ = ["LABELS", "Arrays", "Batch", "Data", "load_data"]

LABELS = "labels"
Batch = dict[str, np.ndarray]


class Data(Protocol):
    """Batches of samples."""

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch: the same for the same number."""

    def first(self) -> Batch:
        """A few samples, to try the model on."""

    @property
    def about(self) -> str:
        """What it is, for the log and to compare when a run is resumed."""


@dataclass
class Arrays:
    """Samples in arrays of one length, shuffled anew in each epoch by a seed."""

    arrays: Batch
    batch_size: int
    seed: int
    shuffle: bool
    drop_last: bool
    name: str

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.arrays.values())))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """All samples once."""
        order = np.arange(self.count)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        for step in range(self.steps):
            picked = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield {name: array[picked] for name, array in self.arrays.items()}

    def first(self) -> Batch:
        """The first samples, in their order."""
        return {name: array[: self.batch_size] for name, array in self.arrays.items()}

    @property
    def about(self) -> str:
        """File, samples, arrays, and a hash of them."""
        digest = hashlib.blake2b(digest_size=8)
        for _, array in sorted(self.arrays.items()):
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        shapes = ", ".join(f"{name}{list(array.shape[1:])}" for name, array in sorted(self.arrays.items()))
        left = self.count % self.batch_size if self.drop_last else 0
        rest = f", the last {left} in no batch" if left else ""
        return f"{self.name}: {self.count} samples of {shapes}{rest} ({digest.hexdigest()})"


@dataclass
class Called:
    """Batches that a callable gives: `function(epoch)`, epochs counted from 0, or `function()`.

    It is asked once before the first epoch, to count its batches, and has to give as many in every epoch.
    """

    function: Callable[..., Any]
    name: str
    steps: int = 0

    def __post_init__(self) -> None:
        try:
            wanted = [*inspect.signature(self.function).parameters.values()]
        except (TypeError, ValueError):  # a builtin that does not tell
            wanted = []
        self._takes_epoch = any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in wanted)
        made = self._call(0)
        self._first: Batch = {}
        for batch in iterated(self.name, made):
            self.steps += 1
            if self.steps == 1:
                self._first = _as_arrays(batch, self.name)
                if hasattr(made, "__len__"):
                    self.steps = len(made)
                    break
        if not self.steps or not self._first:
            raise RequestError("the data has no batches", got=self.name)

    def _call(self, epoch: int) -> Any:
        return called(self.name, self.function, *([epoch] if self._takes_epoch else []))

    def batches(self, epoch: int) -> Iterator[Batch]:
        """What the callable gives.

        Raises:
            FrontError: other than at first: fewer batches, more, or other names.
        """
        count = 0
        for batch in iterated(self.name, self._call(epoch)):
            count += 1
            arrays = _as_arrays(batch, self.name)
            if arrays.keys() != self._first.keys():
                got, wanted = ", ".join(sorted(arrays)), ", ".join(sorted(self._first))
                raise FrontError(f"{self.name} gave a batch of other arrays", got=got, wanted=wanted)
            if count <= self.steps:
                yield arrays
        if count != self.steps:
            raise FrontError(f"{self.name} gave another number of batches", got=count, wanted=self.steps)

    def first(self) -> Batch:
        """The first batch."""
        return self._first

    @property
    def about(self) -> str:
        """The callable, and its batches."""
        return f"{self.name}: {self.steps} batches"


def _as_arrays(batch: Any, name: str) -> Batch:
    if not isinstance(batch, Mapping):
        raise RequestError(f"{name}: a batch is a mapping of arrays by name", got=type(batch).__name__)
    return {key: np.asarray(value) for key, value in batch.items()}


def load_data(
    source: Any,
    graph: Graph,
    *,
    batch_size: int,
    seed: int = 0,
    train: bool = True,
    extra: frozenset[str] = frozenset(),
) -> Data:
    """Data from an .npz file, arrays by name, a callable, or the import path of one.

    Args:
        source: where it is.
        graph: whose inputs it has to have.
        batch_size: samples in a batch; a callable decides for itself.
        seed: of the shuffling.
        train: shuffle.
        extra: names besides the graph's inputs and `labels`.

    Raises:
        FileError: it cannot be read.
        RequestError: names, types, shapes or lengths do not fit the graph.
    """
    fixed = _fixed_batch(graph)
    if callable(source):
        return _checked(Called(source, name_of(source)), graph, extra)
    if isinstance(source, str) and ":" in source and not os.path.exists(source):
        return _checked(Called(imported(source), source), graph, extra)
    if isinstance(source, str | os.PathLike):
        arrays, name = _read(Path(source)), Path(source).name
    elif isinstance(source, Mapping):
        arrays, name = _as_arrays(source, "the data"), "arrays"
    elif isinstance(source, Iterable) and not isinstance(source, Iterator):  # a list of batches, a DataLoader
        return _checked(Called(lambda: source, type(source).__name__), graph, extra)
    else:
        wanted = "an .npz file, arrays by name, batches, or a callable"
        raise RequestError("data of no kind that is known", got=type(source).__name__, wanted=wanted)
    lengths = {key: array.shape[0] if array.ndim else 0 for key, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{key} {n}" for key, n in lengths.items())
        raise RequestError(
            "arrays of the data have several lengths",
            got=listed or "no arrays",
            wanted="one for all samples",
        )
    if min(lengths.values()) == 0:
        raise RequestError("the data has no samples", got=name)
    if fixed is not None and batch_size != fixed:
        hint = f"--batch-size {fixed}, or export with a dynamic batch"
        raise RequestError("the graph has a fixed batch", got=batch_size, wanted=fixed, hint=hint)
    held = Arrays(arrays, batch_size, seed, train, fixed is not None, name)
    _checked(held, graph, extra)
    return _check_indices(held, graph)


def _read(path: Path) -> Batch:
    hint = "numpy.savez(path, INPUT=array, labels=labels)"
    if path.is_file() and not zipfile.is_zipfile(path) and path.suffix != ".npy":
        raise FileError(f"{path} is no .npz file of arrays", hint=hint)
    try:
        archive = np.load(path)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise FileError(f"{path} is one array, and names are needed", hint=hint)
        with archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"{path} is no .npz file of arrays: {error}") from None


def _checked(data: Data, graph: Graph, extra: frozenset[str]) -> Data:
    """Compare the first samples with what the graph declares.

    Raises:
        RequestError: a name is missing or unknown, another type, rank or size.
    """
    batch = data.first()
    known = {info.name: info for info in graph.inputs}
    missing = sorted(known.keys() - batch.keys())
    unknown = sorted(batch.keys() - known.keys() - extra - {LABELS})
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which is no input"
        wanted = ", ".join(known)
        raise RequestError(f"the data {what}", got=", ".join(sorted(batch)), wanted=wanted)
    sizes: dict[str, int] = {}
    for name, info in known.items():
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type))
        array = batch[name]
        if array.dtype.kind == "f" and not np.isfinite(_all(data, name)).all():
            raise RequestError(f"input {name} holds values that are no numbers", got="nan or infinity")
        if array.dtype != dtype:
            hint = f"array.astype(numpy.{dtype.name})"
            raise RequestError(f"input {name} has another type", got=array.dtype, wanted=dtype, hint=hint)
        declared = graph.declared_shape(name)
        if declared is None:
            continue
        fits = len(declared) == array.ndim
        for size, got in zip(declared, array.shape, strict=False):
            if isinstance(size, int):
                fits = fits and size == got
            elif size:
                fits = fits and sizes.setdefault(size, got) == got
        if not fits:
            raise RequestError(f"input {name} has another shape", got=list(array.shape), wanted=declared)
    return data


def _all(data: Data, name: str) -> np.ndarray:
    """All that is there of an input before the first step."""
    return data.arrays[name] if isinstance(data, Arrays) else data.first()[name]


def _check_indices(data: Arrays, graph: Graph) -> Arrays:
    """Whole numbers that index tables have to lie within them.

    Raises:
        RequestError: one does not.
    """
    for name, limit in index_limits(graph).items():
        array = data.arrays[name]
        if array.size and (array.max() >= limit or array.min() < -limit):
            got = f"{array.min()} to {array.max()}"
            raise RequestError(f"input {name} indexes beyond its table", got=got, wanted=f"0 to {limit - 1}")
    return data


def _fixed_batch(graph: Graph) -> int | None:
    """The first size of all inputs, if it is a number."""
    found = {shape[0] for info in graph.inputs if (shape := graph.declared_shape(info.name))}
    only = found.pop() if len(found) == 1 else None
    return only if isinstance(only, int) else None
