"""A short training, so that starts can be compared: some steps of AdamW on labels, or with the source as teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from front_onnx.adapters.refine import refine

from front_onnx.comparison.teaching import Draws, Lesson
from front_onnx.errors import RequestError

__all__ = ["Short"]

_POINTS = 10  # of a curve
_WARM = 0.1  # of all steps


@dataclass(frozen=True)
class Short:
    """Trains one start after another; see `front_onnx.compare`.

    Attributes:
        steps: of each training.
        device: where; the first GPU if there is one.
        tell: told of every step and epoch, see `refine`.

    Raises:
        RequestError: no step is asked for.
    """

    steps: int = 100
    device: str = "auto"
    tell: Callable[[dict[str, Any]], None] | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise RequestError("a training takes a number of steps of at least 1", got=self.steps)

    def __call__(self, lesson: Lesson) -> tuple[str, list[tuple[int, float]]]:
        """Train, write the model, and return the metric on held-out samples by step.

        A training that was cut off goes on from its last checkpoint.
        """
        epochs = max(count for count in range(1, min(_POINTS, self.steps) + 1) if self.steps % count == 0)
        draws = Draws(lesson.feeds, self.steps // epochs, lesson.seed, lesson.whole)
        found = refine(
            lesson.model,
            draws,
            output=lesson.target,
            validation=lesson.held_out,
            teacher=lesson.teacher,
            run_dir=lesson.folder,
            resume=(lesson.folder / "checkpoint.pt").exists(),
            tell=self.tell,
            epochs=epochs,
            warmup=_WARM * epochs,
            lr=lesson.lr,
            last=True,
            lam=0.0,
            seed=lesson.seed,
            device=self.device,
            output_name=lesson.output,
        )
        metric = "accuracy" if lesson.teacher is None else "squared error"
        curve = [(int(record["steps"]), float(record["validation_metric"])) for record in found.history]
        return metric, curve
