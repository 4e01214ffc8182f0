"""What every command does around its own work: read, plan, check what is written, refuse what cannot be."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from front_onnx.check.validate import Validation, validate_model
from front_onnx.errors import FrontError, OutputError, RequestError
from front_onnx.gene.file import is_gene
from front_onnx.plan.numbers import Parted
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.store.atomic import replaceable
from front_onnx.types import ModelLike, Names
from front_onnx.understand import understand
from front_onnx.write.separate import separate

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

__all__ = [
    "check_result",
    "plan_for",
    "read_any",
    "refuse_overwriting",
    "refuse_too_large",
    "several",
    "silent",
    "to_graphsurgeon",
]


def several(given: Names | None) -> tuple[str, ...]:
    """The names in an argument that takes one or several."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


_SEPARATIONS = 8  # each tells apart what does not overlap


def plan_for(graph: Graph, block: tuple[str, ...], residual: tuple[str, ...], request: Request) -> Plan:
    """The plan, for a graph in which numbers with two meanings are two numbers if need be."""
    for _ in range(_SEPARATIONS):
        structure = understand(graph, block, residual, request.kinds)
        try:
            return make_plan(structure, request)
        except Parted as parted:
            separated = separate(structure.analysis, parted.partings)
            if separated is None:
                raise
            graph = separated
    return make_plan(understand(graph, block, residual, request.kinds), request)


def check_result(source: ModelFile, result: Path | onnx.ModelProto, seed: int) -> Validation:
    """Validate a result; it is refused if it fails where the source does not.

    Raises:
        FrontError: a check failed that the source passes.
    """
    checked = validate_model(result, seed=seed)
    if checked.passed:
        return checked
    reference = validate_model(source.path or source.proto, seed=seed)
    if reference.failed is None or checked.failed is None or reference.failed.name != checked.failed.name:
        raise FrontError(f"the resized model is not valid, so nothing was written: {checked.failure}")
    return checked


def refuse_overwriting(source: ModelFile, target: Path | None) -> None:
    """Never write over what is read: the model, its data files, whatever tensor they belong to.

    Raises:
        RequestError: the target is one of these files, or no file can be written there.
    """
    if target is None:
        return
    real = replaceable(target)
    for path in (real, real.with_name(f"{real.name}.data")):
        for used in source.files:
            if os.path.exists(path) and used.exists() and path.samefile(used):
                own = source.path is not None and path.samefile(source.path)
                line = "the output is the input" if own else "the output would replace the input's data"
                raise RequestError(line, got=str(path), hint="choose another -o")


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
        raise OutputError(f"the resized model has {wanted:.3g} bytes of weights, and only {free:.3g} {where}")


def read_any(model: ModelLike) -> ModelFile:
    """Read a model from a path, a ModelProto or a graphsurgeon Graph; one that is read already passes.

    Raises:
        RequestError: it is no model, or a learngene.
        FileError: it cannot be read.
    """
    if isinstance(model, ModelFile):
        return model
    if is_gene(model):
        raise RequestError("this is a learngene", got=str(model), hint="front-onnx init makes models of it")
    if isinstance(model, str | os.PathLike | onnx.ModelProto):
        return read_model(model)
    if type(model).__module__.startswith("onnx_graphsurgeon"):
        import onnx_graphsurgeon as gs  # slow to import, and only its own users need it

        return read_model(gs.export_onnx(model))
    raise RequestError(
        "a model is a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph",
        got=type(model).__name__,
    )


def to_graphsurgeon(proto: onnx.ModelProto) -> gs.Graph:
    """A ModelProto as an onnx_graphsurgeon.Graph."""
    import onnx_graphsurgeon as gs

    return gs.import_onnx(proto)
