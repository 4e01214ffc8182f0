"""Samples to calibrate on: unlabeled inputs of a graph in batches, some held out to compare candidates on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from front_onnx.errors import RequestError
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Feed, Inputs
from front_onnx.samples.made_up import made_up
from front_onnx.samples.reading import SYNTHETIC, Data, Pictures, Source, open_source
from front_onnx.types import Progress, silent

__all__ = ["Data", "Samples", "read_samples"]


@dataclass(frozen=True)
class Samples:
    """Unlabeled inputs of a graph, in batches.

    Attributes:
        batches: to calibrate on; each is a complete feed of the graph.
        held_out: to compare candidates on; none of these samples is in `batches`.
        made_up: True for synthetic ones.
        count: how many samples there are to calibrate on.
    """

    batches: tuple[Feed, ...]
    held_out: tuple[Feed, ...]
    made_up: bool
    count: int


def read_samples(
    data: Data,
    graph: Graph,
    *,
    count: int | None = None,
    hold_out: float = 0.1,
    seed: int = 0,
    batch: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    deviation: float | Sequence[float] | None = None,
    progress: Progress = silent,
) -> Samples:
    """Read samples from wherever they are, and check that they are feeds of a graph.

    Args:
        data: where they come from:
            "synthetic": they are made up (`made_up.py`).
            A path of an .npz file, or arrays by name: samples along axis 0, or along the axis whose free size the
                inputs share. Arrays that are no inputs (labels) are left out; inputs without samples are the same in
                all batches. A path of an .npy file, where the graph has one input.
            A path of a picture, or of a folder of pictures (.png, .jpg, .jpeg, .bmp, .webp), subfolders included: the
                shorter side becomes as long as the picture, the rest is cut off around the centre.
            A path of a folder of .npz or .npy files, each a batch or one sample.
            A path of a text file, a text in each line; of .jsonl, a string or an object with a `text`. The tokenizer
                is the tokenizer.json beside it, or beside the model, or "TEXTS:TOKENIZER.json" says where it is.
            A callable, or "package.module:function": gives one of the following.
            Feeds: an iterable of arrays by name, each a batch.
        graph: of the source model.
        count: samples to calibrate on at most; those held out are beside them. By default 512 if they are pictures
            or made up (1024 with ids of a vocabulary), 2048 texts, 4096 of anything else.
        hold_out: the share that is held out, between 0 and 1; at least one sample is.
        seed: of which samples are taken, in which order, and of those made up. One seed gives the same bytes.
        batch: samples of a batch; by default about 2048 tokens, 32 pictures, 256 rows of numbers, 64 MiB at most.
            Where the graph fixes them, batches are of that size and what does not fill one is left out.
        image_size: (height, width) of pictures, or one number for both, where the graph leaves them free; 224 if
            nothing is said.
        mean, deviation: what pictures, scaled to 0..1, are standardised with: (x - mean) / deviation, a number or
            one for each channel. By default ImageNet's for three channels, 0 and 1 for one or four. Models that take
            0..255 have mean 0 and deviation 1/255. Inputs of whole bytes get bytes.
        progress: told how many samples were made up and looked at.

    Samples whose bytes are the same count once.

    Raises:
        RequestError: the data are no feeds of the graph, are too few, or need a library that is missing.
        FileError: a file is missing or cannot be read.
        FrontError: a callable of the user's raised something.
    """
    if not 0 < hold_out < 1:
        raise RequestError("the share that is held out lies between 0 and 1", got=hold_out)
    for name, given in (("count", count), ("batch", batch)):
        if given is not None and given < 1:
            raise RequestError(f"{name} is at least 1", got=given)
    inputs = Inputs.of(graph)
    if inputs.batch is not None and batch not in (None, inputs.batch):
        hint = f"batch {inputs.batch}, or export with a dynamic batch"
        raise RequestError("the graph has a fixed batch", got=batch, wanted=inputs.batch, hint=hint)
    pictures = Pictures(image_size, mean, deviation)
    if isinstance(data, str) and data == SYNTHETIC:
        feeds, held = made_up(
            inputs, count=count, hold_out=hold_out, seed=seed, batch=batch, size=pictures.size, progress=progress
        )
        return Samples(tuple(feeds), tuple(held), True, sum(inputs.count(feed) for feed in feeds))
    source = open_source(data, inputs, pictures)
    wanted = count or source.default
    rng = np.random.default_rng(seed)
    pools = _pooled(inputs, source, math.ceil(wanted / (1 - hold_out)) + (inputs.batch or 1), rng)
    return _Split(inputs, pools, rng).samples(wanted, hold_out, batch, source.name)


def _pooled(inputs: Inputs, source: Source, limit: int, rng: np.random.Generator) -> list[Feed]:
    """All samples that may go into one batch together: of one shape, and alike in what is the same for all samples.

    Raises:
        RequestError: there are none.
    """
    alike: dict[object, list[Feed]] = {}
    for feed in source.feeds(limit, rng):
        alike.setdefault(inputs.alike(feed), []).append(feed)
    if not alike:
        raise RequestError("the data has no samples", got=source.name)
    return [inputs.joined(feeds) for feeds in alike.values()]


@dataclass
class _Split:
    """Choosing among pools of samples."""

    inputs: Inputs
    pools: list[Feed]
    rng: np.random.Generator

    def samples(self, count: int, hold_out: float, batch: int | None, name: str) -> Samples:
        """Divide them: first what is held out, then as many as asked for."""
        unit = self.inputs.batch or 1
        total = max(2, math.ceil(count / (1 - hold_out) / unit)) * unit
        units = self._units(total, unit)
        if len(units) < 2:
            got = sum(self.inputs.count(pool) for pool in self.pools)
            each = f", for the graph takes batches of {unit}" if unit > 1 else ""
            raise RequestError(
                f"{name} has too few different samples: one to calibrate on and one to hold out{each}",
                got=got,
                wanted=2 * unit,
            )
        held = min(len(units) - 1, max(1, round(min(len(units), total // unit) * hold_out)))
        kept = units[held:][: max(1, count // unit)]
        batches, apart = self._batches(kept, batch), self._batches(units[:held], batch)
        return Samples(tuple(batches), tuple(apart), False, len(kept) * unit)

    def _units(self, total: int, unit: int) -> list[tuple[int, list[int]]]:
        """(pool, rows) in random order, without repeats: one row each, or as many as a fixed batch has."""
        places = [(p, row) for p, pool in enumerate(self.pools) for row in range(self.inputs.count(pool))]
        digests = [self.inputs.digests(pool) for pool in self.pools]
        seen: set[bytes] = set()
        rows: dict[int, list[int]] = {}
        units: list[tuple[int, list[int]]] = []
        for place in self.rng.permutation(len(places)):
            pool, row = places[place]
            if digests[pool][row] in seen:
                continue
            seen.add(digests[pool][row])
            rows.setdefault(pool, []).append(row)
            if len(rows[pool]) == unit:
                units.append((pool, rows.pop(pool)))
            if len(units) * unit >= total:
                break
        return units

    def _batches(self, units: Sequence[tuple[int, list[int]]], batch: int | None) -> list[Feed]:
        rows: dict[int, list[int]] = {}
        for pool, more in units:
            rows.setdefault(pool, []).extend(more)
        found = [feed for pool, some in rows.items() for feed in self._cut(self.pools[pool], some, batch)]
        return [found[place] for place in self.rng.permutation(len(found))]

    def _cut(self, pool: Feed, rows: list[int], batch: int | None) -> Iterator[Feed]:
        size = self.inputs.batch_size(self.inputs.taken(pool, rows[:1]), batch)
        for start in range(0, len(rows), size):
            yield self.inputs.taken(pool, rows[start : start + size])
