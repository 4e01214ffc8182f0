"""What the tasks of the benchmark share: directions, and short trainings of a resized file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import torch
from front_onnx.adapters.executor.module import OnnxModule
from torch import Tensor, nn

__all__ = ["DIRECTIONS", "FRESH", "Outputs", "Samples", "Task", "module_of"]

DIRECTIONS = ("fewer layers", "narrower", "both smaller", "more layers", "wider", "both larger")
Samples = dict[str, np.ndarray] | list[dict[str, np.ndarray]]
FRESH = "fresh"  # not a method: the file of the target size with the weights that the framework draws


class Outputs(nn.Module):
    """An ONNX graph with one input and one output as a function of a tensor."""

    def __init__(self, graph: OnnxModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """The output for one batch."""
        return next(iter(self.graph(x).values()))


def module_of(path: Path, weights: Mapping[str, np.ndarray] | None = None) -> Outputs:
    """A resized file, ready to train; `weights` replace those of the same name.

    The file itself is trained, not a module of its size: lossless growth changes epsilons, which a module lacks. Batch
    norms are told that the graph trains, or they would stay as an export for inference has them.

    Raises:
        ValueError: `weights` lack one, or have another shape.
    """
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            kept = [attribute for attribute in node.attribute if attribute.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("training_mode", 1)])
    graph = OnnxModule(model)
    if weights is not None:
        with torch.no_grad():
            for name in [*graph.weights(), *graph.statistics()]:
                if name not in weights or weights[name].shape != tuple(graph.tensor(name).shape):
                    raise ValueError(f"no weights for {name}")
                graph.tensor(name).copy_(torch.from_numpy(weights[name]))
    return Outputs(graph).eval()


@dataclass(frozen=True)
class Task(ABC):
    """A trained source with something to measure.

    Attributes:
        cache: folder for what is made once.
        data: where the pictures or texts are; None if they come with a package.
        model: the source, if it is not made by the task.
        steps: of the short training; 0 for none.
        rate: its learning rate; None for the task's own.
    """

    cache: Path
    data: Path | None = None
    model: Path | None = None
    steps: int | None = None
    rate: float | None = None

    name: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    seeds: ClassVar[int] = 1
    sizes: ClassVar[dict[str, dict[str, Any]]]

    @abstractmethod
    def prepare(self) -> Path:
        """Make what is made once, and return the source."""

    @abstractmethod
    def samples(self) -> Samples:
        """Unlabeled inputs to calibrate on; none of them is measured by."""

    @abstractmethod
    def measure(self, path: Path, seed: int, *, fresh: dict[str, Any] | None = None, train: bool = True) -> list[float]:
        """The figures of a file of any size, by `figures`; of freshly drawn weights if `fresh` says of what size."""
