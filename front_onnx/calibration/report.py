"""What a calibration found, as data that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from front_onnx.calibration.starts import Outcome

__all__ = ["describe_calibration"]


def describe_calibration(outcome: Outcome | None) -> dict[str, Any] | None:
    """The starts that were compared, and what became of each layer in the best one, as JSON."""
    if outcome is None:
        return None
    count, made_up = outcome.samples
    return {
        "samples": count,
        "made_up": made_up,
        "best": outcome.best.name,
        "candidates": [
            {
                "name": candidate.name,
                "failed": candidate.why or None,
                "outputs": {name: asdict(likeness) for name, likeness in candidate.likeness.items()},
            }
            for candidate in outcome.candidates
        ],
        "layers": [asdict(fitted) for fitted in outcome.best.report],
    }
