"""A short training of every start, by whoever can train: batches, learning rates, and what a trainer is.

The core trains nothing itself: `front_onnx.adapters.refine.short` does, in torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from front_onnx.errors import RequestError

__all__ = ["FACTORS", "WHY", "Draws", "Lesson", "Rates", "Trainer", "refining_rate"]

Batch = Mapping[str, np.ndarray]
_BATCH = 64
FACTORS = {"exact": 0.1, "calibrated": 0.2, "carried": 1.0}
"""Of the rate that suits random weights: what computes what the source computes is soon spoilt by it."""
WHY = {
    "exact": "it starts where the source ended",
    "calibrated": "it starts near the source",
    "carried": "its weights were carried over",
}
_BASE = 1e-3  # of AdamW
_REFINING = 5e-4  # of a refinement, which is longer


class Draws:
    """The batches of a training, drawn anew in every epoch; the same for the same seed.

    Args:
        feeds: complete feeds, with labels among them if there are any.
        steps: batches in an epoch.
        seed: of the order.
        whole: True if batches have to stay as they are, as where the graph fixes how many samples they have.
    """

    def __init__(self, feeds: Sequence[Batch], steps: int, seed: int, whole: bool) -> None:
        self.steps, self.seed = steps, seed
        shapes = {tuple((name, array.shape[1:]) for name, array in sorted(feed.items())) for feed in feeds}
        counts = [{array.shape[:1] for array in feed.values()} for feed in feeds]
        self._one: Batch | None = None
        self._feeds = [dict(feed) for feed in feeds]
        if not whole and len(shapes) == 1 and all(len(each) == 1 and () not in each for each in counts):
            self._one = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
            self._size = min(_BATCH, max(len(next(iter(feed.values()))) for feed in feeds))

    def __call__(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, counted from 0."""
        first = epoch * self.steps
        if self._one is None:
            order = self._order(len(self._feeds), first, self.steps)
            return [self._feeds[place] for place in order]
        order = self._order(len(next(iter(self._one.values()))), first * self._size, self.steps * self._size)
        rows = [order[step * self._size : (step + 1) * self._size] for step in range(self.steps)]
        return [{name: array[picked] for name, array in self._one.items()} for picked in rows]

    def _order(self, count: int, first: int, number: int) -> np.ndarray:
        """A stretch of all samples in random order, over and over."""
        passes = range(first // count, (first + number - 1) // count + 1)
        order = np.concatenate([np.random.default_rng((self.seed, each)).permutation(count) for each in passes])
        start = first - first // count * count
        found: np.ndarray = order[start : start + number]
        return found


@dataclass(frozen=True)
class Lesson:
    """What one training is given.

    Attributes:
        model: the start.
        target: where the trained model is written.
        folder: for what goes on after an interruption.
        feeds: batches to learn from, with `labels` where there are some.
        held_out: batches to measure on.
        teacher: the model to imitate; None where there are labels.
        output: the output that is learned.
        lr: the learning rate of AdamW.
        seed: of the order of the batches.
        whole: see `Draws`.
    """

    model: Path
    target: Path
    folder: Path
    feeds: Sequence[Batch]
    held_out: Sequence[Batch]
    teacher: Path | None
    output: str
    lr: float
    seed: int
    whole: bool


class Trainer(Protocol):
    """Who trains a start for a moment.

    Attributes:
        steps: how many steps a training has.
    """

    steps: int

    def __call__(self, lesson: Lesson) -> tuple[str, list[tuple[int, float]]]:
        """Train, write the model, and return what was measured: its name, and (step, value) from step 0.

        Raises:
            FrontError: the model cannot be trained, or the loss ran away.
        """


@dataclass(frozen=True)
class Rates:
    """Which learning rate a start gets: one for all, or a base times what suits its kind.

    Attributes:
        base: the rate that random weights would get.
        alike: True if all get it.
    """

    base: float = _BASE
    alike: bool = False

    @classmethod
    def of(cls, said: str | float) -> Rates:
        """What `--lr` says: "auto", "auto:BASE", or a number for all.

        Raises:
            RequestError: none of these.
        """
        word, _, base = str(said).partition(":")
        if word == "auto" and not base:
            return cls()
        try:
            rate = float(base if word == "auto" else str(said))
        except ValueError:
            rate = -1.0
        if not 0 < rate < math.inf:
            raise RequestError("--lr takes auto, auto:BASE or a rate", got=said, wanted="for example auto:3e-3")
        return cls(rate, word != "auto")

    def rate(self, kind: str) -> float:
        """The rate of a start of a kind."""
        return self.base if self.alike else self.base * FACTORS[kind]


def refining_rate(kind: str) -> float:
    """The rate that `refine` gives a start of a kind, and that summaries name."""
    return _REFINING * FACTORS[kind]
