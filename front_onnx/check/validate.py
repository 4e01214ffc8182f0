"""Checks of a model: is it valid, does it run, are its outputs finite, does it have the interface of another?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model

__all__ = ["Check", "Validation", "check_result", "open_session", "validate_model"]

_FUSED = {"SimplifiedLayerNormalization", "LayerNormalization", "Gelu"}  # below the opset that has them, or none has
_UNKNOWN = re.compile(r"No Op registered for (\w+) with")
_SMALL = 1 << 30  # bytes: over this, checks go through files, for protobuf holds 2 GiB at most


@dataclass(frozen=True)
class Check:
    """One check: its name, whether it passed, what it saw."""

    name: str
    passed: bool
    detail: str


@dataclass
class Validation:
    """The checks of a model, in order; later ones are left out when one fails."""

    checks: list[Check] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> Check | None:
        """The check that failed."""
        return next((check for check in self.checks if not check.passed), None)

    @property
    def failure(self) -> str | None:
        """What failed, in one line."""
        return f"{self.failed.name}: {self.failed.detail}" if self.failed is not None else None


def validate_model(
    model: str | os.PathLike[str] | onnx.ModelProto,
    *,
    like: onnx.ModelProto | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Validation:
    """Run all checks on a model file or a ModelProto.

    Raises:
        FrontError: the file cannot be read, or given inputs do not belong to the model.
    """
    skeleton = read_model(model)
    result = Validation()
    source: str | bytes | onnx.ModelProto
    source = model if isinstance(model, onnx.ModelProto) else str(Path(model))
    for name, check in (("checker", _checker), ("shape inference", _inference)):
        if not _attempt(result, name, lambda check=check: check(source)):
            return result
    session: list[onnxruntime.InferenceSession] = []

    def load() -> str:
        session.append(open_session(source))
        return "loads"

    if not _attempt(result, "onnxruntime", load):
        return result
    feed = synthetic_inputs(Graph(skeleton), inputs or {}, seed)
    outputs: list[np.ndarray] = []
    names = [o.name for o in session[0].get_outputs()]

    def run() -> str:
        outputs.extend(session[0].run(None, feed))
        return _shapes(names, outputs)

    if _attempt(result, "run", run):
        result.checks.append(_finite(names, outputs))
    if like is not None:
        result.differences = interface_differences(skeleton.proto, like)
    return result


def _attempt(result: Validation, name: str, work: object) -> bool:
    try:
        result.checks.append(Check(name, True, str(work())))  # type: ignore[operator]
    except FrontError:
        raise
    except Exception as error:  # every library raises its own: the line is what the user needs
        line = " ".join(str(error).split())
        result.checks.append(Check(name, False, line[:400]))
    return result.checks[-1].passed


def _checker(source: str | onnx.ModelProto) -> str:
    return _unless_fused("valid", lambda: onnx.checker.check_model(source, full_check=True))


def _inference(source: str | onnx.ModelProto) -> str:
    """Strict shape inference, on the skeleton where it is a file: shapes do not depend on large weights."""
    proto = source if isinstance(source, onnx.ModelProto) else _without_large_weights(source)
    strict = {"check_type": True, "strict_mode": True, "data_prop": True}
    return _unless_fused("consistent", lambda: onnx.shape_inference.infer_shapes(proto, **strict))


def _unless_fused(passed: str, check: Callable[[], object]) -> str:
    """Run a check of the onnx package, which knows no operator that onnxruntime's optimiser adds to ONNX's own."""
    try:
        check()
    except Exception as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is None or unknown[1] not in _FUSED:
            raise
        return f"not checked: {unknown[1]} is onnxruntime's own"
    return passed


def _without_large_weights(path: str) -> onnx.ModelProto:
    model = read_model(path)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        if tensor.name in model.missing() and tensor.data_location != onnx.TensorProto.EXTERNAL:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="elsewhere")
    return proto


def open_session(source: str | Path | onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session that runs a graph as it is written, without optimisations, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def _shapes(names: list[str], outputs: list[np.ndarray]) -> str:
    return ", ".join(f"{n} {list(np.shape(o))}" for n, o in zip(names, outputs, strict=True))


def _finite(names: list[str], outputs: list[np.ndarray]) -> Check:
    for name, value in zip(names, outputs, strict=True):
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return Check("finite outputs", False, f"output {name} holds values that are not finite")
    return Check("finite outputs", True, "all finite")


def interface_differences(model: onnx.ModelProto, like: onnx.ModelProto) -> list[str]:
    """What differs in inputs and outputs: names, types, shapes."""
    out: list[str] = []
    for kind in ("input", "output"):
        mine, theirs = ({v.name: _declared(v) for v in getattr(m.graph, kind)} for m in (model, like))
        initializers = {t.name for m in (model, like) for t in m.graph.initializer}
        for name in dict.fromkeys([*mine, *theirs]):
            if name in initializers or mine.get(name) == theirs.get(name):
                continue
            out.append(f"{kind} {name}: {mine.get(name, 'missing')}, was {theirs.get(name, 'missing')}")
    return out


def _declared(info: onnx.ValueInfoProto) -> str:
    tensor = info.type.tensor_type
    dims = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(dims)}]"


def check_result(source: ModelFile, result: Path | onnx.ModelProto, seed: int) -> Validation:
    """Validate a result; it is refused if it fails where the source does not.

    Raises:
        FrontError: a check failed that the source passes.
    """
    checked = validate_model(result, seed=seed)
    if checked.passed:
        return checked
    reference = validate_model(source.path or source.proto, seed=seed) if source.runs else Validation()
    if reference.failed is None or checked.failed is None or reference.failed.name != checked.failed.name:
        raise FrontError(f"the resized model is not valid, so nothing was written: {checked.failure}")
    return checked
