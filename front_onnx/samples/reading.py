"""Where samples come from: arrays, files, folders, and what users' functions give; checked against the graph."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from front_onnx.errors import FileError, RequestError
from front_onnx.samples.callables import called, imported, iterated, name_of
from front_onnx.samples.inputs import Feed, Inputs
from front_onnx.samples.pictures import PICTURES, PictureFiles, Pictures
from front_onnx.samples.texts import TEXTS, TextFile

__all__ = ["SYNTHETIC", "Data", "Pictures", "Source", "open_source"]

Data = (
    str
    | os.PathLike[str]
    | Mapping[str, np.ndarray]
    | Iterable[Mapping[str, np.ndarray]]
    | Callable[[], Iterable[Mapping[str, np.ndarray]] | Mapping[str, np.ndarray]]
)
"""Where samples come from; see `read_samples`."""

SYNTHETIC = "synthetic"
_ARRAYS = (".npz", ".npy")
_MOST, _MOST_PICTURES = 4096, 512
_KINDS = "a folder, .npz, .npy, a picture, .txt, .jsonl, or package.module:function"


class Source(Protocol):
    """Samples that are still where they are."""

    @property
    def name(self) -> str:
        """How messages name it."""

    @property
    def default(self) -> int:
        """How many samples are taken if nothing is said."""

    def feeds(self, limit: int, rng: np.random.Generator) -> Iterator[Feed]:
        """Feeds of the graph, of `limit` samples or more if there are as many; which ones is drawn, where it can be.

        Raises:
            FrontError: they cannot be read, or are no feeds of the graph.
        """


def open_source(data: Any, inputs: Inputs, pictures: Pictures) -> Source:
    """Find out what kind of data it is.

    Raises:
        FileError: there is no such file, or none of a kind that is known.
        RequestError: it is of no kind that is known, or of one that the graph does not take.
    """
    if isinstance(data, str | os.PathLike):
        return _file(os.fspath(data), inputs, pictures)
    if isinstance(data, Mapping):
        return _Feeds("the data", inputs, lambda: data)
    if isinstance(data, Iterable):
        return _Feeds("the data", inputs, lambda: data)
    if callable(data):
        return _Feeds(name_of(data), inputs, data)
    wanted = "a path, arrays by name, batches, or a callable"
    raise RequestError("data of no kind that is known", got=type(data).__name__, wanted=wanted)


def _file(text: str, inputs: Inputs, pictures: Pictures) -> Source:
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        arrays = [file for file in files if file.suffix.lower() in _ARRAYS]
        if arrays:
            return _ArrayFiles(text, inputs, arrays)
        found = [file for file in files if file.suffix.lower() in PICTURES]
        if found:
            return PictureFiles(text, inputs, found, pictures)
        raise FileError(f"folder {text} holds nothing to calibrate on", wanted="pictures, .npz or .npy files")
    suffix = path.suffix.lower()
    if path.exists():
        if suffix in _ARRAYS:
            return _Feeds(path.name, inputs, lambda: _load(path, inputs))
        if suffix in PICTURES:
            return PictureFiles(text, inputs, [path], pictures)
        if suffix in TEXTS:
            return TextFile(path, None, inputs)
        raise FileError(f"{text} is a file of no kind that is known", got=suffix or "no suffix", wanted=_KINDS)
    first, _, last = text.rpartition(":")
    if first and last.endswith(".json"):
        return TextFile(Path(first), Path(last), inputs)
    if first and not {"/", os.sep} & {*last}:
        return _Feeds(text, inputs, imported(text))
    raise FileError(f"there is no file or folder {text}", wanted=f"{SYNTHETIC}, {_KINDS}")


def _load(path: Path, inputs: Inputs) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, or that of an .npy file under the name of the graph's one input.

    Raises:
        FileError: it cannot be read.
        RequestError: an .npy file for a graph of several inputs.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FileError(f"{path} is no file of arrays: {error}") from None
    if len(inputs.each) > 1:
        hint = "numpy.savez(path, INPUT=array, ...)"
        raise RequestError(f"{path} is one array, and the graph has several inputs", wanted=inputs.names, hint=hint)
    return {inputs.each[0].name: loaded}


class _Feeds:
    """Arrays by name, or batches of them: at hand, or made by a function."""

    def __init__(self, name: str, inputs: Inputs, give: Callable[[], Any]) -> None:
        self.name, self._inputs, self._give = name, inputs, give

    @property
    def default(self) -> int:
        """Fewer of pictures, which are large."""
        return _MOST_PICTURES if self._inputs.picture else _MOST

    def feeds(self, limit: int, rng: np.random.Generator) -> Iterator[Feed]:
        """The arrays of a mapping, or batches one after another."""
        given = called(self.name, self._give)
        if isinstance(given, Mapping):
            yield self._inputs.fitted(given, self.name)[0]
            return
        found = 0
        for number, batch in enumerate(iterated(self.name, given)):
            feed, count = self._inputs.fitted(batch, f"batch {number} of {self.name}")
            found += count
            yield feed
            if found >= limit:
                return


class _ArrayFiles:
    """A folder of files of arrays, each a batch or one sample."""

    def __init__(self, name: str, inputs: Inputs, files: list[Path]) -> None:
        self.name, self._inputs, self._files = name, inputs, files

    @property
    def default(self) -> int:
        """Fewer of pictures, which are large."""
        return _MOST_PICTURES if self._inputs.picture else _MOST

    def feeds(self, limit: int, rng: np.random.Generator) -> Iterator[Feed]:
        """Some of the files, in a random order."""
        found = 0
        for place in rng.permutation(len(self._files)):
            path = self._files[place]
            arrays = _load(path, self._inputs)
            for entry in self._inputs.each:
                array = arrays.get(entry.name)
                if array is not None and entry.axis is not None and array.ndim + 1 == len(entry.shape or ()):
                    arrays[entry.name] = np.expand_dims(array, entry.axis)
            feed, count = self._inputs.fitted(arrays, str(path))
            found += count
            yield feed
            if found >= limit:
                return
