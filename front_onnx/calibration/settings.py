"""What users may say about a calibration, and the calibration as they ask for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from front_onnx.calibration.candidates import RIDGES, best_start
from front_onnx.calibration.engine import Engine
from front_onnx.calibration.goals import Goal
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.starts import Outcome
from front_onnx.errors import RequestError
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph
from front_onnx.samples.samples import Data, Samples, read_samples
from front_onnx.types import Progress, silent

__all__ = ["DEFAULT", "CalibrationSettings", "calibrated", "in_bytes", "samples_of"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class CalibrationSettings:
    """How to calibrate.

    Attributes:
        samples: how many are calibrated on at most; None for what suits their kind.
        hold_out: the share of the samples that candidates are compared on.
        ridges: those that each layer chooses from: toward the weights that it has, as parts of the mean diagonal of
            its Gram matrix.
        memory: bytes of activations that are kept in memory; what is more goes into temporary files.
        threads: of onnxruntime; 0 for its own choice.
        device: that onnxruntime runs on: "cpu", "cuda", "cuda:1".
        image_size, mean, deviation: of pictures, see `samples/samples.py`.
        folder: for the temporary files; the system's if None.

    Raises:
        RequestError: a number is out of range.
    """

    samples: int | None = None
    hold_out: float = 0.1
    ridges: tuple[float, ...] = RIDGES
    memory: int = 1 << 30
    threads: int = 0
    device: str = "cpu"
    image_size: int | tuple[int, int] | None = None
    mean: float | Sequence[float] | None = None
    deviation: float | Sequence[float] | None = None
    folder: Path | None = field(default=None)

    def __post_init__(self) -> None:
        if not self.ridges or any(not 0 < ridge < float("inf") for ridge in self.ridges):
            raise RequestError("--ridge has to be above zero", got=self.ridges)
        if self.memory < 0:
            raise RequestError("--memory has to be a number of bytes", got=self.memory)
        Engine(self.device, self.threads)  # refuses what is not there

    @property
    def engine(self) -> Engine:
        """What runs graphs."""
        return Engine(self.device, self.threads)


DEFAULT = CalibrationSettings()


def in_bytes(text: str) -> int:
    """What `--memory` says: "800M", "2G", a number of bytes.

    Raises:
        RequestError: nothing of this kind.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if found is None:
        raise RequestError("--memory takes a size like 800M or 2G", got=text)
    return int(float(found[1]) * _UNITS[found[2]])


def calibrated(
    plan: Plan,
    data: Data,
    settings: CalibrationSettings = DEFAULT,
    seed: int = 0,
    progress: Progress = silent,
    *,
    goal: Goal | None = None,
    batch: int | None = None,
) -> Outcome:
    """The best start of the sizes of a plan, by samples of its source.

    Args:
        plan: the sizes.
        data: the samples.
        settings: how to calibrate.
        seed: of which samples are taken.
        progress: told what is done.
        goal: where weights go; into the resized graph if None.
        batch: samples of a batch, where the goal fixes it.

    Raises:
        RequestError: the data are no inputs of the model, or too few.
        FileError: they cannot be read.
    """
    samples = samples_of(data, plan.structure.graph, settings, seed, batch, progress)
    with Shelf(settings.memory, settings.folder) as shelf:
        return best_start(
            plan, samples, shelf, ridges=settings.ridges, engine=settings.engine, progress=progress, goal=goal
        )


def samples_of(
    data: Data,
    graph: Graph,
    settings: CalibrationSettings,
    seed: int,
    batch: int | None = None,
    progress: Progress = silent,
) -> Samples:
    """Read the samples that settings speak of; arguments and errors as of `calibrated`."""
    return read_samples(
        data,
        graph,
        count=settings.samples,
        hold_out=settings.hold_out,
        seed=seed,
        image_size=settings.image_size,
        mean=settings.mean,
        deviation=settings.deviation,
        batch=batch,
        progress=progress,
    )
