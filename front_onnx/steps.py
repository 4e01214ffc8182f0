"""What every command does around its own work: read, plan, stage what is written, check it, refuse what cannot be."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from front_onnx.check.validate import Validation, validate_model
from front_onnx.errors import FrontError
from front_onnx.gene.file import is_gene
from front_onnx.plan.numbers import Parted
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.understand.structure import find_structure
from front_onnx.write.separate import separate

__all__ = [
    "Progress",
    "Some",
    "check_result",
    "plan_for",
    "read_any",
    "refuse_overwriting",
    "refuse_too_large",
    "several",
    "silent",
    "staged",
    "to_graphsurgeon",
]

Progress = Callable[[str, int, int], None]
Some = str | Sequence[str] | None  # one name or several


def several(given: Some) -> tuple[str, ...]:
    """The names in an argument that takes one or several."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


_SEPARATIONS = 8  # each tells apart what does not overlap


def plan_for(graph: Graph, block: tuple[str, ...], residual: tuple[str, ...], request: Request) -> Plan:
    """The plan, for a graph in which numbers with two meanings are two numbers if need be."""
    for _ in range(_SEPARATIONS):
        structure = find_structure(graph, block, residual, request.kinds)
        try:
            return make_plan(structure, request)
        except Parted as parted:
            separated = separate(structure.analysis, parted.partings)
            if separated is None:
                raise
            graph = separated
    return make_plan(find_structure(graph, block, residual, request.kinds), request)


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A place beside the target to write to; what stands there is moved into place if all goes well."""
    if target.is_dir():
        raise FrontError(f"the output {target} is a folder", request=True)
    if not target.parent.is_dir():
        raise FrontError(f"the output folder {target.parent} does not exist", request=True)
    try:
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".front-onnx-")
    except OSError as error:
        raise FrontError(f"the output folder {target.parent} cannot be written to: {error.strerror}") from None
    with folder as name:
        yield Path(name) / target.name
        for path in sorted(Path(name).iterdir(), key=lambda p: p.name == target.name):  # data before model
            os.replace(path, target.parent / path.name)


def check_result(source: ModelFile, result: Path | onnx.ModelProto, seed: int) -> Validation:
    """Validate a result; it is refused if it fails where the source does not.

    Raises:
        FrontError: a check failed that the source passes.
    """
    checked = validate_model(result, seed=seed)
    if checked.passed:
        return checked
    reference = validate_model(source.path or source.proto, seed=seed)
    if reference.failure is None or reference.failure.split(":")[0] != (checked.failure or "").split(":")[0]:
        raise FrontError(f"the resized model is not valid, so nothing was written: {checked.failure}")
    return checked


def refuse_overwriting(source: ModelFile, target: Path | None) -> None:
    """Never write over what is read.

    Raises:
        FrontError: (exit code 2) the target is the source or one of its data files.
    """
    if target is None or source.path is None:
        return
    folder, hint = source.path.resolve().parent, "choose another -o"
    if target.resolve() == source.path.resolve():
        raise FrontError("the output is the input", got=str(target), hint=hint, request=True)
    entries = [entry for tensor in source.proto.graph.initializer for entry in tensor.external_data]
    used = {folder / entry.value for entry in entries if entry.key == "location"}
    for path in (target, target.parent / (target.name + ".data")):
        if path.resolve() in {data.resolve() for data in used}:
            raise FrontError("the output would replace the input's data", got=str(path), hint=hint, request=True)


def refuse_too_large(proto: onnx.ModelProto, target: Path | None) -> None:
    """Not even start on a result that fits nowhere."""
    wanted = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in proto.graph.initializer
        if tensor.data_type not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    )
    if target is None:
        free, where = onnx.checker.MAXIMUM_PROTOBUF, "a model in memory can hold"
    elif target.parent.is_dir():
        free, where = shutil.disk_usage(target.parent).free, f"are free in {target.parent}"
    else:
        return
    if wanted > free:
        raise FrontError(f"the resized model has {wanted:.3g} bytes of weights, and only {free:.3g} {where}")


def read_any(model: Any) -> ModelFile:
    """Read a model from a path, a ModelProto or a graphsurgeon Graph; one that is read already passes.

    Raises:
        FrontError: it cannot be read.
    """
    if isinstance(model, ModelFile):
        return model
    if is_gene(model):
        raise FrontError("this is a learngene", got=str(model), hint="front-onnx init makes models of it", request=True)
    if isinstance(model, str | os.PathLike | onnx.ModelProto):
        return read_model(model)
    if type(model).__module__.startswith("onnx_graphsurgeon"):
        import onnx_graphsurgeon as gs  # slow to import, and only its own users need it

        return read_model(gs.export_onnx(model))
    raise FrontError(
        "a model is a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph",
        got=type(model).__name__,
        request=True,
    )


def to_graphsurgeon(proto: onnx.ModelProto) -> Any:
    """A ModelProto as an onnx_graphsurgeon.Graph."""
    import onnx_graphsurgeon as gs

    return gs.import_onnx(proto)
