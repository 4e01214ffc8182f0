"""What was found of one method at one size, and how it is kept between two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any

from front_onnx.calibration.comparing import Likeness

__all__ = ["KINDS", "Row", "Size", "Source", "Trained", "Worth"]

KINDS = ("exact", "calibrated", "carried")
_MOST = 10.0  # an error counts as no more than ten times the output itself


@dataclass(frozen=True)
class Worth:
    """What a model keeps of its source on held-out samples.

    Attributes:
        outputs: by output, see `Likeness`; what could not be compared is left out.
        accuracy: the part of the labels that it names rightly; None where there are none.
    """

    outputs: Mapping[str, Likeness]
    accuracy: float | None = None

    @property
    def error(self) -> float:
        """The mean relative error over all outputs."""
        errors = [min(each.error, _MOST) for each in self.outputs.values()]
        return mean(errors) if errors else float("inf")

    @property
    def kept(self) -> float:
        """The accuracy where there are labels; the part of the source's outputs that is explained otherwise, 0 to 1."""
        return self.accuracy if self.accuracy is not None else max(0.0, 1.0 - self.error)

    @property
    def score(self) -> float:
        """What one ranks by, larger for better: `kept`, but below 0 where outputs are further off than a constant."""
        return self.accuracy if self.accuracy is not None else 1.0 - self.error

    @property
    def rank(self) -> tuple[float, float]:
        """The best first: by accuracy where there is one, then by how far the outputs are from the source's."""
        return -(self.accuracy or 0.0), self.error

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Worth:
        """Read what `asdict` made."""
        return cls({name: Likeness(**each) for name, each in data["outputs"].items()}, data["accuracy"])


@dataclass(frozen=True)
class Trained:
    """What became of a start in a short training, once for each seed.

    Attributes:
        lr: the learning rate.
        metric: what the curves show: "accuracy", or "squared error" to the source.
        runs: what each seed ended with.
        curves: for each seed, (step, metric on held-out samples).
        seconds: of all seeds.
        seeds: what they were.
    """

    lr: float
    metric: str
    runs: tuple[Worth, ...]
    curves: tuple[tuple[tuple[int, float], ...], ...]
    seconds: float
    seeds: tuple[int, ...]

    @property
    def kept(self) -> float:
        """The mean over the seeds of what is kept."""
        return mean(run.kept for run in self.runs)

    @property
    def spread(self) -> float | None:
        """The deviation over the seeds; None for one."""
        return stdev(run.score for run in self.runs) if len(self.runs) > 1 else None

    def as_good_as(self, best: Trained) -> bool | None:
        """True if the means are apart by no more than either deviates over its seeds; None if nobody can know."""
        if self.spread is None or best.spread is None:
            return None
        apart = mean(run.score for run in best.runs) - mean(run.score for run in self.runs)
        return apart <= max(self.spread, best.spread)

    @property
    def rank(self) -> tuple[float, float]:
        """As of `Worth`, the mean over the seeds."""
        ranks = [run.rank for run in self.runs]
        return mean(first for first, _ in ranks), mean(second for _, second in ranks)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Trained:
        """Read what `asdict` made."""
        curves = tuple(tuple((int(step), float(value)) for step, value in curve) for curve in data["curves"])
        runs = tuple(map(Worth.from_data, data["runs"]))
        return cls(data["lr"], data["metric"], runs, curves, data["seconds"], tuple(data["seeds"]))


@dataclass(frozen=True)
class Row:
    """One method at one size.

    Attributes:
        method: its name.
        why: why there is no result, in one line; empty if there is one.
        kind: "exact", "calibrated" or "carried": what the learning rate goes by.
        note: what has to be known of the result.
        parameters: of the result.
        seconds: that making it took.
        worth: at once.
        trained: after a short training; None if there was none.
        untrained: why it could not be trained; empty if it could, or nobody asked.
    """

    method: str
    why: str = ""
    kind: str = "carried"
    note: str = ""
    parameters: int = 0
    seconds: float = 0.0
    worth: Worth | None = None
    trained: Trained | None = None
    untrained: str = ""

    @property
    def rank(self) -> tuple[float, float]:
        """The best first: after the training if there was one."""
        found = self.trained or self.worth
        return found.rank if found is not None else (float("inf"), float("inf"))

    @property
    def final(self) -> float:
        """What is kept in the end."""
        found = self.trained or self.worth
        return found.kept if found is not None else 0.0

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Row:
        """Read what `as_data` made."""
        worth = Worth.from_data(data["worth"]) if data["worth"] else None
        trained = Trained.from_data(data["trained"]) if data["trained"] else None
        return cls(**{**data, "worth": worth, "trained": trained})


@dataclass(frozen=True)
class Size:
    """All methods at one size.

    Attributes:
        label: how it was asked for.
        sizes: what changes, as `describe_plan` has it: before and after, by name.
        parameters: of models of this size.
        rows: the results, the best first.
        left_out: methods without one.
    """

    label: str
    sizes: Mapping[str, Sequence[int]]
    parameters: int
    rows: tuple[Row, ...]
    left_out: tuple[Row, ...]

    @property
    def best(self) -> Row | None:
        """The best of them."""
        return self.rows[0] if self.rows else None

    @property
    def equals(self) -> tuple[str, ...]:
        """Methods that are as good as the best after their trainings, itself among them; none where nobody can know."""
        best = self.best.trained if self.best is not None else None
        if best is None or best.spread is None:
            return ()
        return tuple(row.method for row in self.rows if row.trained is not None and row.trained.as_good_as(best))

    @property
    def chance(self) -> str:
        """One line on how far the order is chance; empty where nothing was trained."""
        best = self.best.trained if self.best is not None else None
        if best is None:
            return ""
        if best.spread is None:
            return "one training of each start: how much of the order is chance shows with --seeds 3"
        others = len(self.equals) - 1
        said = "no other start is" if not others else "one other start is" if others == 1 else f"{others} others are"
        seeds = len(best.runs)
        return f"{said} as good as the best: within ± of it, the deviation over {seeds} seeds"


@dataclass(frozen=True)
class Source:
    """What everything is compared with: the source, and the samples.

    Attributes:
        model: its path, if it has one.
        parameters: of the source.
        accuracy: on the held-out samples; None without labels.
        samples, held_out: how many there are to calibrate and train on, and to compare on.
        made_up: True if nobody gave any.
    """

    model: str | None
    parameters: int
    accuracy: float | None
    samples: int
    held_out: int
    made_up: bool
    warnings: tuple[str, ...] = field(default=())
