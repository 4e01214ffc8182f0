"""Inputs made up to calibrate on: ids from all of a table, noise coloured as what is recorded, several lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import RequestError
from front_onnx.samples.inputs import Feed, Input, Inputs
from front_onnx.samples.noise import picture_like, sequence_like
from front_onnx.samples.surest import surest
from front_onnx.samples.vocabulary import find_vocabulary
from front_onnx.types import Progress, silent

__all__ = ["made_up"]

_COUNT, _TEXTS, _LEAST = 512, 1024, 32
_BYTES = 512 << 20  # of all samples, where their number is not asked for
_OF, _LOOKED_AT = 16, 1 << 30  # pictures that one is chosen of; bytes of all that are looked at
_SHORTEST, _LONGEST = 4, 64
_STEPS = (4, 6, 8, 11, 16, 23, 32, 45, 64)  # lengths that are tried
_LARGER = tuple(1 << n for n in range(7, 15))  # where a graph without tables runs at none of these, as on sound
_SIDES = (224, 256, 128, 64, 32)  # of pictures, where they are free
_BATCHES = 16  # at least, where each has lengths of its own
_TRIED = 3  # samples of the feeds that are tried: not 1 or 2, which exporters fix by mistake
_FEW = 16  # entries of a table of kinds of tokens: 0 is one of them, and no padding


def made_up(
    inputs: Inputs,
    *,
    count: int | None,
    hold_out: float,
    seed: int,
    batch: int | None,
    size: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> tuple[list[Feed], list[Feed]]:
    """Batches to calibrate on and others, drawn anew, to compare on; all feeds run, as far as onnxruntime can tell.

    Ids of a vocabulary are drawn as words are used (`vocabulary.py`), others are uniform but for 0, which may be
    padding; masks are ones, positions count. Pictures have amplitudes that fall as 1/f^a, channels that go together,
    and a brightness; for a classifier, one of sixteen is taken (`surest.py`). Sequences of floats are the same along
    time. A free length is drawn for each batch, uniform in its logarithm between 4 and 64, so that nothing is padded.

    Raises:
        RequestError: the graph runs at no size that is tried, or its samples would all be alike.
    """
    maker = _Maker(inputs, size)
    sample = maker.feed(maker.longest, 1, np.random.default_rng(seed))
    each = max(1, sum(array.nbytes for array in sample.values()) // inputs.count(sample))
    if count is None:
        count = max(_LEAST, min(_TEXTS if maker.writes else _COUNT, _BYTES // each))
    held = max(1, round(count * hold_out))
    if inputs.picture is not None:
        looked = min(_OF * (count + held), _LOOKED_AT // each)
        pool = surest(
            inputs,
            lambda: maker.batches(looked, batch, np.random.default_rng((seed, 0))),
            count + held,
            lambda done: progress("samples", done, looked),
        )
        rows = np.random.default_rng((seed, 1)).permutation(inputs.count(pool) if pool is not None else 0)
        kept, apart = ([*_cut(inputs, pool, own, batch)] for own in (rows[held:], rows[:held]))
        if kept and apart:
            return kept, apart
    kept = [*maker.batches(count, batch, np.random.default_rng((seed, 0)))]
    apart = [*_others(inputs, maker.batches(held, batch, np.random.default_rng((seed, 1))), kept)]
    if not apart:
        line = "samples that are made up would all be alike, for the graph takes neither floats nor ids of a table"
        raise RequestError(line, got=inputs.names, hint="give samples")
    return kept, apart


def _cut(inputs: Inputs, pool: Feed | None, rows: np.ndarray, batch: int | None) -> Iterator[Feed]:
    """Some samples in batches; where the graph fixes those, what does not fill one is left out."""
    if pool is None or not len(rows):
        return
    size = inputs.batch_size(inputs.taken(pool, rows[:1]), batch)
    for start in range(0, len(rows), size):
        if inputs.batch is None or start + size <= len(rows):
            yield inputs.taken(pool, rows[start : start + size])


def _others(inputs: Inputs, feeds: Iterator[Feed], kept: list[Feed]) -> Iterator[Feed]:
    """Feeds without the samples that others have too: where tables are small, chance repeats one."""
    seen = {digest for feed in kept for digest in inputs.digests(feed)}
    for feed in feeds:
        rows = [row for row, digest in enumerate(inputs.digests(feed)) if digest not in seen]
        if len(rows) == inputs.count(feed):
            yield feed
        elif rows and inputs.batch is None:
            yield inputs.taken(feed, rows)


class _Maker:
    """Feeds of a graph at any of its sizes.

    Attributes:
        longest: the largest sizes that are drawn.
    """

    def __init__(self, inputs: Inputs, size: tuple[int, int] | None) -> None:
        self._inputs = inputs
        known_by = {entry.name: entry.rows for entry in inputs.each if entry.rows is not None}
        found = {name: find_vocabulary(inputs.graph, name, rows) for name, rows in known_by.items()}
        self._vocabularies = {name: each for name, each in found.items() if each is not None}
        told = [entry for entry in inputs.each if entry.shape is not None and _gives_sizes(entry)]
        picture = inputs.picture
        self._sides: tuple[str, ...] = picture.free if picture is not None else ()
        self._free = sorted({key for entry in told for key in _keys(entry)} - {*self._sides})
        known = {*self._free, *self._sides}
        self._own = [entry for entry in inputs.each if entry.shape is not None and known.issuperset(_keys(entry))]
        self._fixed: dict[str, int] = {}
        self._known: dict[tuple[tuple[str, int], ...], str | None] = {}
        self._lengths: list[int] = []
        self._settle(size)
        self.longest = self._at(max(self._lengths, default=_SHORTEST))

    @property
    def writes(self) -> bool:
        """True if an input takes ids of a vocabulary."""
        return bool(self._vocabularies)

    def batches(self, count: int, batch: int | None, rng: np.random.Generator) -> Iterator[Feed]:
        """As many samples, or a few more where the graph fixes the size of a batch."""
        most = max(1, math.ceil(count / _BATCHES)) if self._free and batch is None else count
        left = count
        while left > 0:
            sizes = self._drawn(rng)
            one = self.feed(sizes, 1, np.random.default_rng(0))
            number = self._inputs.batch or min(left, self._inputs.batch_size(one, batch), most)
            yield self.feed(sizes, number, rng)
            left -= number

    def feed(self, sizes: Mapping[str, int], samples: int, rng: np.random.Generator) -> Feed:
        """A feed of given sizes. Masks, and sizes that are sums of others, are `synthetic_inputs`' own matter."""
        samples = self._inputs.batch or samples
        given = {entry.name: self._array(entry, self._shape(entry, sizes, samples), rng) for entry in self._own}
        if len(given) == len(self._inputs.each):
            return given
        return synthetic_inputs(self._inputs.graph, given, int(rng.integers(1 << 31)), self._inputs.analysis)

    # -- sizes --------------------------------------------------------------------------------------------------------

    def _at(self, length: int) -> dict[str, int]:
        return {**dict.fromkeys(self._free, length), **self._fixed}

    def _settle(self, size: tuple[int, int] | None) -> None:
        """Find sides, and lengths, at which the model runs; where no size is free, there is nothing to find.

        Raises:
            RequestError: there are none.
        """
        if not self._free and not self._sides and self._inputs.batch is not None:
            self._lengths = [0]
            return
        sides = [*([size] if size else [(side, side) for side in _SIDES])] if self._sides else [(0, 0)]
        lengths = _STEPS if self._free else (0,)
        failure: str | None = None
        larger = _LARGER if self._free and not any(entry.rows for entry in self._inputs.each) else ()
        for pair in sides:
            self._fixed = dict(zip(self._sides, pair, strict=False))
            for tried in (lengths, larger):
                for length in tried:
                    found = self._failure(self._at(length))
                    failure = failure or found
                    if found is None:
                        self._lengths.append(length)
                        if tried is larger or not self._free:
                            return
                if self._lengths:
                    return
        hint = "give samples, or export with fixed sizes" if self._free or self._sides else "give samples"
        raise RequestError(f"the graph does not run on inputs that are made up: {failure}", hint=hint)

    def _failure(self, sizes: Mapping[str, int]) -> str | None:
        """Why the model does not run at some sizes, if it does not."""
        for entry in self._own:
            length = self._shape(entry, sizes, 1)[-1:]
            if entry.rows is not None and self._is_position(entry) and length and length[0] > entry.rows:
                return f"input {entry.name} indexes a table of {entry.rows}"
        if sum(math.prod(self._shape(entry, sizes, _TRIED)) * entry.dtype.itemsize for entry in self._own) > _BYTES:
            return f"inputs would be larger than {_BYTES >> 20} MiB"
        key = tuple(sorted(sizes.items()))
        if key not in self._known:
            self._known[key] = self._inputs.failure(self.feed(sizes, _TRIED, np.random.default_rng(0)))
        return self._known[key]

    def _drawn(self, rng: np.random.Generator) -> dict[str, int]:
        """Sizes for a batch, one apart from the other; the same for all where the model does not run on these."""
        top = max(self._lengths)
        low, high = math.log(_SHORTEST), math.log(min(top, _LONGEST) + 1)
        other = self._at(int(rng.choice(self._lengths)))
        if not self._free or top > _LONGEST:
            return other
        drawn = {key: int(math.exp(rng.uniform(low, high))) if high > low else top for key in self._free}
        sizes = {**drawn, **self._fixed}
        return other if self._failure(sizes) else sizes

    def _shape(self, entry: Input, sizes: Mapping[str, int], samples: int) -> list[int]:
        found = []
        for place, size in enumerate(entry.shape or ()):
            key = _key(entry, place)
            found.append(samples if place == entry.axis else sizes[key] if key is not None else int(size))
        return found

    # -- contents -----------------------------------------------------------------------------------------------------

    def _array(self, entry: Input, shape: list[int], rng: np.random.Generator) -> np.ndarray:
        if entry.rows is not None:
            if self._is_position(entry) and shape and shape[-1] <= entry.rows:
                return np.broadcast_to(np.arange(shape[-1]), shape).astype(entry.dtype)
            vocabulary = self._vocabularies.get(entry.name)
            if vocabulary is not None:
                return vocabulary.drawn(rng, shape).astype(entry.dtype)
            return rng.integers(int(entry.rows > _FEW), entry.rows, shape).astype(entry.dtype)
        if not entry.is_float and entry.sides is None:
            return np.ones(shape, entry.dtype)
        if entry.sides is not None:
            noise = picture_like(rng, shape, entry.sides)
            return noise.astype(entry.dtype) if entry.is_float else np.clip(128 + 64 * noise, 0, 255).astype(np.uint8)
        if self._is_mask(entry):
            return np.ones(shape, entry.dtype)
        if len(shape) == 3:
            free = [
                place for place, size in enumerate(entry.shape or ()) if isinstance(size, str) and place != entry.axis
            ]
            places = [place for place in range(3) if place != (entry.axis or 0)]
            time = free[0] if len(free) == 1 else max(places, key=lambda place: shape[place])
            return sequence_like(rng, shape, time).astype(entry.dtype)
        return rng.standard_normal(shape).astype(entry.dtype)

    def _is_position(self, entry: Input) -> bool:
        """True for indices that are the same for all samples: they count places."""
        batched = any(other.axis is not None for other in self._inputs.each)
        return "position" in entry.name or (batched and entry.axis is None and bool(entry.free))

    def _is_mask(self, entry: Input) -> bool:
        """True for floats that go with the ids, one for each."""
        shapes = {other.shape for other in self._inputs.each if other.rows is not None and len(other.shape or ()) > 1}
        return entry.shape in shapes or "mask" in entry.name


def _gives_sizes(entry: Input) -> bool:
    """True for ids, floats, and what has sizes without a name; masks follow them, or are as long as several."""
    unnamed = any(isinstance(size, str) and size.startswith("[") for size in entry.shape or ())
    return entry.rows is not None or entry.is_float or entry.sides is not None or unnamed


def _keys(entry: Input) -> list[str]:
    keys = (_key(entry, place) for place, _ in enumerate(entry.shape or ()))
    return [key for key in keys if key is not None]


def _key(entry: Input, place: int) -> str | None:
    """What a free size is called; those without a name are one if they are in the same place."""
    size = (entry.shape or ())[place]
    if isinstance(size, int) or place == entry.axis:
        return None
    return f"[{place}]" if size.startswith("[") and size.endswith("]") and entry.sides is None else size
