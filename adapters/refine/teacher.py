"""A trained model that shows what its outputs would be: run in torch, or in onnxruntime where torch cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from front_onnx.adapters.executor.module import OnnxModule
from torch import Tensor

from front_onnx.errors import FrontError, RequestError
from front_onnx.read.graph import Graph
from front_onnx.session import read_any

__all__ = ["Teacher", "inputs_of"]


def inputs_of(path: Path) -> list[str]:
    """The inputs of a model."""
    return [info.name for info in Graph(read_any(path)).inputs]


class Teacher:
    """Outputs of an ONNX model without gradients.

    Args:
        path: the model.
        inputs: names of what it will be given; it may take some of them only.
        output: the output that is wanted; the first if it has none of the name.
        device: where it runs.

    Raises:
        FrontError: it cannot be read, or asks for an input that is not there.
    """

    def __init__(self, path: Path, inputs: set[str], output: str, device: torch.device) -> None:
        source = read_any(path)
        graph = Graph(source)
        self.digest, self.fingerprint = source.digest(), source.fingerprint()
        self.names = [info.name for info in graph.inputs]
        missing = sorted(set(self.names) - inputs)
        if missing:
            raise RequestError("the teacher asks for inputs that the data lacks", got=", ".join(missing))
        self.output = output if output in graph.outputs else graph.outputs[0]
        self.device = device
        self.module: OnnxModule | None = None
        try:
            self.module = OnnxModule(path).eval().requires_grad_(False).to(device)
        except FrontError:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @property
    def engine(self) -> str:
        """What runs it."""
        return "onnxruntime" if self.module is None else "torch"

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The wanted output."""
        given = {name: batch[name] for name in self.names}
        try:
            if self.module is not None:
                return self.module(given)[self.output]
            arrays = {name: np.asarray(tensor.cpu()) for name, tensor in given.items()}
            (made,) = self.session.run([self.output], arrays)
        except Exception as error:  # onnxruntime has exceptions of its own
            line = " ".join(str(error).split())[:300]
            raise RequestError(f"the teacher cannot be run on the data: {line}") from error
        return torch.from_numpy(made).to(self.device)
