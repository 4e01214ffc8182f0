"""What runs in the process beside: the checker, shape inference and onnxruntime, which may crash or hang on a file.

Run as a script, by its path: it imports no more than it needs, so that it starts fast. Requests come on stdin, answers
go to stdout, each a JSON line and the bytes that it announces; see `apart.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import IO, Any

import numpy as np

__all__ = ["describe", "receive", "send"]


def send(stream: IO[bytes], message: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    """Write one message and its arrays; texts go as JSON."""
    described, parts = [], []
    for name, array in (arrays or {}).items():
        array = np.asarray(array)
        texts = array.dtype.kind in "OUS"
        raw = json.dumps([str(text) for text in array.reshape(-1)]).encode() if texts else _bytes(array)
        described.append([name, "text" if texts else array.dtype.name, list(array.shape), len(raw)])
        parts.append(raw)
    stream.write(json.dumps({**message, "arrays": described}).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Read one message and its arrays; None at the end."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    arrays = {}
    for name, kind, shape, length in message.pop("arrays"):
        raw = stream.read(length)
        if len(raw) < length:
            return None
        if kind == "text":
            arrays[name] = np.array(json.loads(raw), dtype=object).reshape(shape)
        else:
            arrays[name] = np.frombuffer(raw, _type(kind)).reshape(shape)
    return message, arrays


def _type(name: str) -> np.dtype:
    with contextlib.suppress(TypeError):
        return np.dtype(name)
    import ml_dtypes  # rare: bfloat16 and the like

    found: np.dtype = np.dtype(getattr(ml_dtypes, name))
    return found


class _Work:
    """The requests, one method for each."""

    def __init__(self) -> None:
        self.sessions: dict[str, Any] = {}

    def check(self, path: str, **_: Any) -> dict[str, Any]:
        import onnx

        onnx.checker.check_model(path, full_check=True)
        return {}

    def infer(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        import onnx

        onnx.shape_inference.infer_shapes(arrays["model"].tobytes(), check_type=True, strict_mode=True, data_prop=True)
        return {}

    def load(self, key: str, path: str, threads: int, **_: Any) -> dict[str, Any]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.sessions[key] = session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
        return {kind: [entry.name for entry in entries] for kind, entries in names.items()}

    def run(self, key: str, give: bool, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        session = self.sessions[key]
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, arrays), strict=True))
        told = {name: describe(value) for name, value in found.items()}
        plain = {name: value for name, value in found.items() if isinstance(value, np.ndarray)} if give else {}
        return {"outputs": told}, plain

    def close(self, key: str, **_: Any) -> dict[str, Any]:
        self.sessions.pop(key, None)
        return {}


def _limit(memory: int) -> None:
    """Hold the process to so many bytes, where the system can."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        held = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_DATA, (held, most))


def describe(value: Any) -> tuple[list[int], bool]:
    """(shape, True if every number in it is finite) of what onnxruntime gives back."""
    if isinstance(value, list):
        members = [describe(member) for member in value]
        return [len(members)], all(finite for _, finite in members)
    array = np.asarray(value)
    return list(array.shape), array.dtype.kind != "f" or bool(np.isfinite(array).all())


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # libraries print where they like
    os.dup2(silent, 2)
    _end_with_parent()
    import onnx  # noqa: F401  (here, so that no request's time goes into it)
    import onnxruntime  # noqa: F401

    work = _Work()
    send(answers, {"ready": True})
    while (request := receive(requests)) is not None:
        message, arrays = request
        do = message.pop("do")
        _limit(message.pop("memory"))
        if arrays or do in ("infer", "run"):
            message["arrays"] = arrays
        try:
            made = getattr(work, do)(**message)
            answer: dict[str, Any] = made[0] if isinstance(made, tuple) else made
            given: dict[str, np.ndarray] = made[1] if isinstance(made, tuple) else {}
        except MemoryError:
            answer, given = (
                {"error": "it needs more memory than checks of a file of this size may take", "kind": "MemoryError"},
                {},
            )
        except Exception as error:  # every library raises its own: the line is what the user needs
            answer, given = {"error": " ".join(str(error).split())[:4000]}, {}
        send(answers, answer, given)


def _end_with_parent() -> None:
    """End by the system's hand when the parent is killed; elsewhere the end of stdin says so."""
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            import ctypes
            import signal

            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main()
