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

from front_onnx.check.apart import RemoteSession, apart, hurried, threads_for
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.check.worker import describe
from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.read.subgraphs import are_unique, make_names_unique, names_of

__all__ = ["Check", "Validation", "check_result", "invalid", "open_session", "trusted_session", "validate_model"]

_FUSED = {"SimplifiedLayerNormalization", "LayerNormalization", "Gelu"}  # below the opset that has them, or none has
_UNKNOWN = re.compile(r"No Op registered for (\w+) with")


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
    checks = _InProcess(model) if isinstance(model, onnx.ModelProto) else _Beside(Path(model), skeleton)
    for name, check in (
        ("checker", checks.check),
        ("shape inference", checks.infer),
        ("onnxruntime", checks.load),
    ):
        if not _attempt(result, name, check):
            return result
    try:
        feed = synthetic_inputs(Graph(skeleton), inputs or {}, seed)
        if _attempt(result, "run", lambda: checks.run(feed)):
            result.checks.append(checks.finite())
    finally:
        checks.close()
    if like is not None:
        result.differences = interface_differences(skeleton.proto, like)
        if not result.differences:
            result.checks.append(Check("like", True, "inputs and outputs are the same"))
    return result


class _Checks:
    """The checks of one model; what a run gave is kept for the last of them."""

    def __init__(self) -> None:
        self.outputs: dict[str, tuple[list[int], bool]] = {}

    def check(self) -> str:
        """The full checker."""
        raise NotImplementedError

    def infer(self) -> str:
        """Strict shape inference."""
        raise NotImplementedError

    def load(self) -> str:
        """A session of onnxruntime."""
        raise NotImplementedError

    def described(self, feed: Mapping[str, np.ndarray]) -> dict[str, tuple[list[int], bool]]:
        """A run: by output, its shape, and whether its numbers are finite."""
        raise NotImplementedError

    def run(self, feed: Mapping[str, np.ndarray]) -> str:
        """A run: the shapes of its outputs."""
        self.outputs = self.described(feed)
        return ", ".join(f"{name} {shape}" for name, (shape, _) in self.outputs.items())

    def finite(self) -> Check:
        """Whether the run gave finite numbers."""
        for name, (_, finite) in self.outputs.items():
            if not finite:
                return Check("finite outputs", False, f"output {name} holds values that are not finite")
        return Check("finite outputs", True, "all finite")

    def close(self) -> None:
        """Give memory back."""


class _InProcess(_Checks):
    """Checks of a model in memory, by who trusts it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = model
        self.session: onnxruntime.InferenceSession | None = None

    def check(self) -> str:
        """The full checker."""
        return _unless_fused("valid", lambda: onnx.checker.check_model(self.model, full_check=True))

    def infer(self) -> str:
        """Strict shape inference."""
        strict = {"check_type": True, "strict_mode": True, "data_prop": True}
        model = _with_unique_names(self.model)
        return _unless_fused("consistent", lambda: onnx.shape_inference.infer_shapes(model, **strict))

    def load(self) -> str:
        """A session of onnxruntime."""
        self.session = open_session(self.model)
        return "loads"

    def described(self, feed: Mapping[str, np.ndarray]) -> dict[str, tuple[list[int], bool]]:
        """A run."""
        assert self.session is not None
        names = [output.name for output in self.session.get_outputs()]
        found = zip(names, self.session.run(None, dict(feed)), strict=True)
        return {name: describe(value) for name, value in found}


class _Beside(_Checks):
    """Checks of a file, which may be anything, in the process beside."""

    def __init__(self, path: Path, skeleton: ModelFile) -> None:
        super().__init__()
        self.path, self.skeleton, self.size = path, skeleton, skeleton.size
        self.session: RemoteSession | None = None

    def check(self) -> str:
        """The full checker."""
        path = os.path.abspath(self.path)
        return _unless_fused("valid", lambda: apart().ask("check", self.size, path=path))

    def infer(self) -> str:
        """Strict shape inference, on the skeleton: shapes do not depend on large weights."""
        raw = np.frombuffer(_without_large_weights(self.skeleton.with_unique_names()).SerializeToString(), np.uint8)
        return _unless_fused("consistent", lambda: apart().ask("infer", self.size, {"model": raw}))

    def load(self) -> str:
        """A session of onnxruntime."""
        self.session = RemoteSession(self.path, self.size)
        return "loads"

    def described(self, feed: Mapping[str, np.ndarray]) -> dict[str, tuple[list[int], bool]]:
        """A run."""
        assert self.session is not None
        return self.session.described(feed)

    def close(self) -> None:
        """Give memory back."""
        if self.session is not None:
            self.session.close()


def _attempt(result: Validation, name: str, work: Callable[[], str]) -> bool:
    try:
        result.checks.append(Check(name, True, work()))
    except FrontError:
        raise
    except Exception as error:  # every library raises its own: the line is what the user needs
        line = " ".join(str(error).split())
        result.checks.append(Check(name, False, line[:400]))
    return result.checks[-1].passed


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


def _with_unique_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose bodies share no names: what is known of numbers in one is known of the name, to shape inference."""
    if are_unique(names_of(model.graph)):
        return model
    other = onnx.ModelProto()
    other.CopyFrom(model)
    make_names_unique(other.graph)
    return other


def _without_large_weights(model: ModelFile) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    missing = model.missing()
    for tensor in proto.graph.initializer:
        if tensor.name in missing and tensor.data_location != onnx.TensorProto.EXTERNAL:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="elsewhere")
    return proto


def open_session(source: str | Path | onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session that runs a graph as it is written, without optimisations, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = source.SerializeToString() if isinstance(source, onnx.ModelProto) else str(source)
    options.intra_op_num_threads = threads_for(len(given)) if isinstance(given, bytes) else 0
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


class LocalSession:
    """A session in this process, of a model in memory."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = open_session(model)
        self.inputs = [entry.name for entry in self._session.get_inputs()]
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run it: its outputs by name, sequences left out."""
        found = zip(self.outputs, self._session.run(None, dict(feed)), strict=True)
        return {name: value for name, value in found if isinstance(value, np.ndarray)}

    def close(self) -> None:
        """Nothing is held beside."""


def trusted_session(source: Path | onnx.ModelProto) -> LocalSession | RemoteSession:
    """A session of a model: beside if it is a file, which may be anything.

    Raises:
        ApartError: a file cannot be loaded.
    """
    if isinstance(source, onnx.ModelProto):
        return LocalSession(source)
    return RemoteSession(source, read_model(source).size)


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


def invalid(model: ModelFile) -> str | None:
    """What the checker finds wrong with a model, in one line; None if nothing, or it cannot tell."""
    checks = _InProcess(model.proto) if model.path is None else _Beside(model.path, model)
    result = Validation()
    if model.runs:
        _attempt(result, "checker", checks.check)
    return result.failed.detail if result.failed is not None else None


def check_result(source: ModelFile, result: Path | onnx.ModelProto, seed: int) -> Validation:
    """Validate a result; it is refused if it fails where the source does not.

    Raises:
        FrontError: a check failed that the source passes.
    """
    checked = validate_model(result, seed=seed)
    if checked.passed:
        return checked
    with hurried():
        reference = validate_model(source.path or source.proto, seed=seed) if source.runs else Validation()
    if reference.failed is None or checked.failed is None or reference.failed.name != checked.failed.name:
        raise FrontError(f"the resized model is not valid, so nothing was written: {checked.failure}")
    return checked
