"""A graph as a torch module beside onnxruntime: its outputs, and its gradients beside differences of a loss."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from front_onnx.adapters.executor import types
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.executor.operators import shaping
from onnx import TensorProto

from front_onnx.check.synthetic import synthetic_inputs

__all__ = ["compared", "exported_for_training", "tensors", "wrong_gradients"]


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: types.from_numpy(array, name) for name, array in arrays.items()}


def compared(path: Path) -> tuple[float, list[str]]:
    """The largest difference from onnxruntime, as a part of the output's size, and weights that get no gradient."""
    module = OnnxModule(path).eval()
    feeds = synthetic_inputs(module.graph, {})
    made = module(tensors(feeds))
    worst = 0.0
    for tensor, wanted in zip(made.values(), _by_onnxruntime(path, feeds), strict=True):
        found = tensor.detach().double().numpy()
        assert found.shape == wanted.shape
        if wanted.size:
            worst = max(worst, float(np.abs(found - wanted).max()) / max(1.0, float(np.abs(wanted).max())))
    sum(t.double().square().sum() for t in made.values() if t.requires_grad).backward()
    return worst, [name for name, parameter in module.weights().items() if parameter.grad is None]


def _by_onnxruntime(path: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Its outputs, without optimisations that change rounding; with them where it cannot run the graph otherwise."""
    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        try:
            return session.run(None, dict(feeds))
        except Exception:
            if level == levels.ORT_ENABLE_ALL:
                raise
    raise AssertionError


@contextlib.contextmanager
def _doubled() -> Iterator[None]:
    """Floats of graphs are double: differences of losses then say what gradients are."""
    plain = types.from_numpy

    def from_numpy(array: np.ndarray, where: str) -> torch.Tensor:
        tensor = plain(array, where)
        return tensor.double() if tensor.is_floating_point() else tensor

    kept = types._TYPES[TensorProto.FLOAT]
    types._TYPES[TensorProto.FLOAT] = torch.float64
    shaping.from_numpy = from_numpy
    try:
        yield
    finally:
        types._TYPES[TensorProto.FLOAT] = kept
        shaping.from_numpy = plain


def wrong_gradients(path: Path) -> list[str]:
    """Weights whose gradient is not the slope of a loss along a random direction, in double precision."""
    with _doubled():
        module = OnnxModule(path).eval().double()
        given = tensors(synthetic_inputs(module.graph, {}))
        given = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
        generator = torch.Generator().manual_seed(0)

        def loss() -> torch.Tensor:
            outputs = (t for t in module(given).values() if t.is_floating_point())
            return sum((torch.sin(t) * torch.linspace(0.5, 1.5, t.numel()).reshape(t.shape)).sum() for t in outputs)

        loss().backward()
        wrong = []
        for name, parameter in module.weights().items():
            if parameter.grad is None:  # told by `compared`
                continue
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            step = 1e-6 * direction / direction.norm()
            with torch.no_grad():
                parameter += step
                above = float(loss())
                parameter -= 2 * step
                below = float(loss())
                parameter += step
            difference, slope = (above - below) / 2, float((parameter.grad * step).sum())
            scale = max(abs(slope), 1e-6 * float(parameter.grad.norm()))
            if abs(difference - slope) > 2e-3 * scale + 1e-12 * abs(above):
                wrong.append(name)
        return wrong


class _Normed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, bias=False)  # the norm takes a bias away, and its gradient is rounding
        self.norm = torch.nn.BatchNorm2d(8, momentum=0.1)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).mean((2, 3))))


def exported_for_training(path: Path, drop: float) -> _Normed:
    torch.manual_seed(0)
    native = _Normed()
    native.drop.p = drop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            native.train(),
            (torch.zeros(5, 3, 6, 6),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "b"}, "y": {0: "b"}},
        )
    return native
