"""What onnxruntime runs graphs on: a device, and how many threads."""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime

from front_onnx.errors import RequestError

__all__ = ["CPU", "Engine"]

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "rocm": "ROCMExecutionProvider", "dml": "DmlExecutionProvider"}


@dataclass(frozen=True)
class Engine:
    """A device and its threads.

    Attributes:
        device: "cpu", or "cuda", "rocm" or "dml" with a number, "cuda:1"; what it cannot run, the processor does.
        threads: of the processor; 0 for onnxruntime's own choice.

    Raises:
        RequestError: there is no such device, or this onnxruntime cannot use it.
    """

    device: str = "cpu"
    threads: int = 0

    def __post_init__(self) -> None:
        kind, _, number = self.device.partition(":")
        if (kind != "cpu" and kind not in _PROVIDERS) or (number and not number.isdigit()) or self.device.endswith(":"):
            wanted = ", ".join(("cpu", *_PROVIDERS, "cuda:1"))
            raise RequestError("--device has to be one that onnxruntime has", got=self.device, wanted=wanted)
        if kind != "cpu" and _PROVIDERS[kind] not in onnxruntime.get_available_providers():
            hint = "pip install onnxruntime-gpu in place of onnxruntime" if kind == "cuda" else "--device cpu"
            raise RequestError(f"this onnxruntime has no {_PROVIDERS[kind]}", got=self.device, hint=hint)

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """Of onnxruntime, the first one first."""
        kind, _, number = self.device.partition(":")
        if kind == "cpu":
            return ["CPUExecutionProvider"]
        return [(_PROVIDERS[kind], {"device_id": number or "0"}), "CPUExecutionProvider"]

    def session(self, model: bytes) -> onnxruntime.InferenceSession:
        """A session for a part of a graph whose sizes differ from batch to batch."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # numpy has work to do between
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return onnxruntime.InferenceSession(model, options, providers=self.providers)


CPU = Engine()
