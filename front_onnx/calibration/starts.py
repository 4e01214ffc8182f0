"""Starts of a training: what is told of each, and the best of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from front_onnx.calibration.comparing import Likeness
from front_onnx.calibration.fitted import Fitted
from front_onnx.plan.plan import Plan
from front_onnx.write.rewrite import Rewritten

__all__ = ["Candidate", "Outcome", "Start"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One start.

    Attributes:
        name: what was done.
        likeness: by output.
        why: why it could not be made or compared; empty if it was.
        report: what became of each layer, if it was calibrated.
        calibrated: True if weights were fitted.
    """

    name: str
    likeness: Mapping[str, Likeness] = field(default_factory=dict)
    why: str = ""
    report: tuple[Fitted, ...] = ()
    calibrated: bool = False

    @property
    def error(self) -> float:
        """The mean error over all outputs, none counted as more than ten times the output itself."""
        errors = [min(each.error, 10.0) for each in self.likeness.values()]
        return float(np.mean(errors)) if errors else float("inf")

    @property
    def rank(self) -> tuple[float, float]:
        """What candidates are ordered by, the best first: the error, and where all of it is too much, by how much."""
        return self.error, sum(each.error for each in self.likeness.values())


@dataclass(frozen=True, eq=False)
class Outcome:
    """The best of several starts.

    Attributes:
        plan: how the best one was made.
        rewritten: its graph.
        arrays: weights to write, by name: those that are not what the plan says, or all that a given model gets.
        decoders: D [N, M] of outputs whose size is not the source's, by output and axis.
        best: which one it is.
        candidates: all of them, in the order in which they were tried.
        samples: how many samples were calibrated on, and whether they were made up.
    """

    plan: Plan
    rewritten: Rewritten
    arrays: Mapping[str, np.ndarray]
    decoders: Mapping[str, Mapping[int, np.ndarray]]
    best: Candidate
    candidates: tuple[Candidate, ...]
    samples: tuple[int, bool]


@dataclass(eq=False)
class Start:
    """A start with its weights.

    Attributes:
        candidate: what is told of it.
        plan, rewritten: how it was made.
        arrays: weights to write, by name.
        decoders: of outputs whose size is not the source's.
        tables: what constants that are tables and layers at once should be, see `tied.py`.
    """

    candidate: Candidate
    plan: Plan
    rewritten: Rewritten
    arrays: Mapping[str, np.ndarray]
    decoders: Mapping[str, Mapping[int, np.ndarray]]
    tables: Mapping[str, np.ndarray] = field(default_factory=dict)
