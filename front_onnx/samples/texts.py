"""Texts as a graph takes them: token ids of a tokenizer.json, in batches of one length, with masks and positions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.errors import FileError, RequestError
from front_onnx.samples.inputs import Feed, Input, Inputs

__all__ = ["TEXTS", "TextFile"]

TEXTS = (".txt", ".text", ".jsonl", ".ndjson")
_LINES = (".jsonl", ".ndjson")
_TOKENIZER = "tokenizer.json"
_MOST = 2048
_LONGEST = 512  # tokens
_ALIKE = 8  # texts of one length that are worth a batch of their own
_PADS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")


class TextFile:
    """A text in each line of a file."""

    default = _MOST

    def __init__(self, path: Path, tokenizer: Path | None, inputs: Inputs) -> None:
        self.name, self._path, self._inputs = path.name, path, inputs
        self._roles = Roles.of(inputs, path.name)
        self._tokenizer = _Tokenizer(_found(path, tokenizer, inputs.graph.model.path))

    def feeds(self, limit: int, rng: np.random.Generator) -> Iterator[Feed]:
        """Some of the texts, in feeds of one length, or nearly where few have the same."""
        lines = _read(self._path)
        picked = [lines[place] for place in rng.permutation(len(lines))[:limit]]
        rows = self._cut(picked)
        at_least = max(_ALIKE, 2 * (self._inputs.batch or 0))
        for bucket in _buckets(rows, at_least, self._roles.fixed, bool(self._roles.masks)):
            yield self._inputs.fitted(self._roles.feed(bucket, self._tokenizer.pad), self.name)[0]

    def _cut(self, texts: list[str]) -> list[list[int]]:
        """The ids of texts, none longer than the graph takes.

        Raises:
            RequestError: the tokenizer is another model's, or the graph runs at no length.
        """
        tables = [entry.rows for entry in self._roles.positions if entry.rows is not None]
        longest = self._roles.fixed or min(_LONGEST, self._tokenizer.longest or _LONGEST, *tables)
        rows = self._tokenizer.ids(texts, longest)
        top, limit = max((max(row) for row in rows), default=0), self._roles.ids.rows
        if limit is not None and top >= limit:
            line = f"the tokenizer {self._tokenizer.path} has ids that the table of {self._roles.ids.name} has not"
            raise RequestError(line, got=top, wanted=f"0 to {limit - 1}", hint="it is another model's")
        if self._roles.fixed is None and rows:
            length = max(map(len, rows))
            fits = self._fitting(max(rows, key=len))
            if fits < length:
                rows = self._tokenizer.ids(texts, fits)
        return rows

    def _fitting(self, row: list[int]) -> int:
        """The longest beginning of a text that the graph runs on: its tables of positions may be short.

        Raises:
            RequestError: it runs on none.
        """

        def failure(length: int) -> str | None:
            rows = [row[:length]] * (self._inputs.batch or 1)
            return self._inputs.failure(self._inputs.fitted(self._roles.feed(rows, self._tokenizer.pad), self.name)[0])

        if failure(len(row)) is None:
            return len(row)
        works, fails = 0, len(row)
        while fails - works > 1:
            middle = (works + fails) // 2
            works, fails = (middle, fails) if failure(middle) is None else (works, middle)
        if not works:
            raise RequestError(f"the graph does not run on the texts of {self.name}: {failure(1)}")
        return works


@dataclass(frozen=True)
class Roles:
    """What each input of a graph is, as far as texts give it.

    Attributes:
        ids: the tokens.
        shifted: the tokens again, moved on by one: those of a decoder.
        masks: 1 for a token, 0 for padding.
        positions: counted from 0.
        types: of tokens, all 0.
        empty: cached keys and values: of nothing; and the free size that is 0.
        unused: whether there is a cache: no.
    """

    ids: Input
    shifted: tuple[Input, ...]
    masks: tuple[Input, ...]
    positions: tuple[Input, ...]
    types: tuple[Input, ...]
    empty: tuple[tuple[Input, str], ...]
    unused: tuple[Input, ...]

    @classmethod
    def of(cls, inputs: Inputs, name: str) -> Roles:
        """Tell inputs apart by what the graph does with them; by their names where it does not tell.

        Raises:
            RequestError: the graph takes no tokens, or something that is not made of texts.
        """
        whole = [e for e in inputs.each if not e.is_float and e.dtype.kind in "iu"]
        tokens = [e for e in whole if e.axis is not None and len(e.shape or ()) == 2 and not _is_side(e)]
        tokens = [e for e in tokens if e.rows is not None] or [e for e in tokens if e.name.endswith("input_ids")]
        if not tokens:
            wanted = "token ids [batch, sequence] that index a table"
            raise RequestError(f"{name} holds texts, and the graph takes no tokens", got=inputs.names, wanted=wanted)
        widest = max(e.rows or 0 for e in tokens)
        tokens = [e for e in tokens if (e.rows or 0) == widest]
        ids = next((e for e in tokens if not e.name.startswith("decoder")), tokens[0])
        found: dict[str, list[Any]] = {"masks": [], "positions": [], "types": [], "empty": [], "unused": []}
        beside = {size for e in whole if e.axis is not None for size in e.free}
        for entry in inputs.each:
            if entry in tokens:
                continue
            cached = [size for size in entry.free if size not in beside]
            if "token_type" in entry.name or "segment" in entry.name:
                found["types"].append(entry)
            elif "position" in entry.name or (entry.rows is not None and entry.axis is None and entry.free):
                found["positions"].append(entry)
            elif entry.rows is not None and entry.rows <= 16:
                found["types"].append(entry)
            elif entry.rows is None and entry.axis is not None and len(entry.shape or ()) == 2:
                found["masks"].append(entry)
            elif entry.is_float and len(entry.shape or ()) >= 4 and len(cached) == 1:
                found["empty"].append((entry, cached[0]))
            elif entry.dtype.kind == "b" and "cache" in entry.name:
                found["unused"].append(entry)
            else:
                raise RequestError(f"texts do not give input {entry.name}", hint="give arrays")
        named = [entry for entry in found["masks"] if "mask" in entry.name]
        for entry in found["masks"]:  # without names, one that goes with the tokens is the mask
            if entry not in named and (named or len(found["masks"]) > 1 or entry.free != ids.free):
                raise RequestError(f"texts do not give input {entry.name}", hint="give arrays")
        return cls(ids, tuple(e for e in tokens if e is not ids), **{key: tuple(some) for key, some in found.items()})

    @property
    def fixed(self) -> int | None:
        """The length of a text, if the graph fixes it."""
        size = (self.ids.shape or ())[1 - (self.ids.axis or 0)]
        return size if isinstance(size, int) else None

    def feed(self, rows: Sequence[Sequence[int]], pad: int) -> dict[str, np.ndarray]:
        """Texts of nearly one length as a feed: padded at their ends to the longest, or to the graph's length."""
        length = self.fixed or max(map(len, rows))
        ids = np.full((len(rows), length), pad, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for row, text in enumerate(rows):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        shifted = np.concatenate([np.full((len(rows), 1), pad), ids[:, :-1]], axis=1)
        feed = {self.ids.name: _laid(self.ids, ids)}
        feed |= {entry.name: _laid(entry, shifted) for entry in self.shifted}
        feed |= {entry.name: _laid(entry, mask) for entry in self.masks}
        feed |= {entry.name: _laid(entry, np.zeros_like(ids)) for entry in self.types}
        counted = np.broadcast_to(np.arange(length), ids.shape)
        feed |= {entry.name: _laid(entry, counted) for entry in self.positions}
        for entry, size in self.empty:
            shape = [
                len(rows) if place == entry.axis else 0 if n == size else n if isinstance(n, int) else length
                for place, n in enumerate(entry.shape or ())
            ]
            feed[entry.name] = np.zeros(shape, entry.dtype)
        for entry in self.unused:
            feed[entry.name] = np.zeros([n if isinstance(n, int) else len(rows) for n in entry.shape or ()], bool)
        return feed


def _is_side(entry: Input) -> bool:
    return any(word in entry.name for word in ("token_type", "segment", "position", "mask"))


def _laid(entry: Input, array: np.ndarray) -> np.ndarray:
    """An array [batch, sequence] as an input takes it."""
    if entry.axis is None:
        array = array[0] if len(entry.shape or ()) == 1 else array[:1]
    return np.moveaxis(array, 0, entry.axis or 0).astype(entry.dtype)


def _buckets(rows: list[list[int]], at_least: int, fixed: int | None, padded: bool) -> Iterator[list[list[int]]]:
    """Texts of one length; of a few lengths that differ by an eighth where fewer than `at_least` have the same.

    Without a mask nothing can be padded.

    Raises:
        RequestError: a fixed length that no text reaches, and no mask.
    """
    rows = sorted(filter(None, rows), key=len)
    if fixed is not None:
        rows = rows if padded else [row for row in rows if len(row) == fixed]
        if not rows:
            hint = "join lines to texts that are as long"
            raise RequestError("no text is as long as the graph wants, and it has no mask", wanted=fixed, hint=hint)
        yield rows
        return
    bucket: list[list[int]] = []
    for row in rows:
        full = len(bucket) >= at_least and len(row) > len(bucket[-1])
        apart = bool(bucket) and len(row) > len(bucket[0]) and (not padded or 8 * len(row) > 9 * len(bucket[0]))
        if full or apart:
            yield bucket
            bucket = []
        bucket.append(row)
    if bucket:
        yield bucket


class _Tokenizer:
    """A tokenizer.json.

    Attributes:
        path: its file.
        longest: the length that it cuts texts to.
        pad: the id of padding.
    """

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise RequestError("reading texts needs tokenizers", hint="pip install 'front-onnx[text]'") from None
        self.path = path
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise FileError(f"{path} is no tokenizer that can be read: {error}") from None
        cut, filled = self._tokenizer.truncation, self._tokenizer.padding
        self.longest: int | None = cut["max_length"] if cut else None
        named = (self._tokenizer.token_to_id(token) for token in _PADS)
        self.pad: int = filled["pad_id"] if filled else next((n for n in named if n is not None), 0)
        self._tokenizer.no_padding()

    def ids(self, texts: list[str], longest: int) -> list[list[int]]:
        """The ids of each text, cut to a length, special tokens included."""
        if longest > self._tokenizer.num_special_tokens_to_add(False):
            self._tokenizer.enable_truncation(longest)
        return [encoding.ids[:longest] for encoding in self._tokenizer.encode_batch(texts)]


def _found(texts: Path, given: Path | None, model: Path | None) -> Path:
    """The file of the tokenizer: as given, beside the texts, beside the model or in the folder above.

    Raises:
        FileError: there is none.
    """
    if given is not None:
        if not given.is_file():
            raise FileError(f"there is no tokenizer {given}")
        return given
    folders = [texts.parent, *([model.parent, model.parent.parent] if model is not None else [])]
    for folder in folders:
        if (folder / _TOKENIZER).is_file():
            return folder / _TOKENIZER
    hint = f"give it beside the texts: {texts}:FOLDER/{_TOKENIZER}"
    raise FileError(f"there is no {_TOKENIZER} beside {texts} or the model", hint=hint)


def _read(path: Path) -> list[str]:
    """The texts of a file, each once.

    Raises:
        FileError: it cannot be read, or a line holds no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is no text that can be read: {error}") from None
    if path.suffix.lower() in _LINES:
        lines = [_text(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return [*dict.fromkeys(line.strip() for line in lines if line.strip())]


def _text(path: Path, number: int, line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise FileError(f"line {number} of {path} is no JSON: {error}") from None
    text = found.get("text") if isinstance(found, dict) else found
    if not isinstance(text, str):
        raise FileError(f"line {number} of {path} holds no text", wanted='a string, or an object with "text"')
    return text
