"""The Python interface beside the command line: `inspect`, `resize`, `validate`."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from front_onnx.check.validate import Validation, validate_model
from front_onnx.errors import FrontError
from front_onnx.plan.numbers import Parted
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.transform.weights import fill
from front_onnx.understand.structure import Structure, find_structure
from front_onnx.write.model_writer import ModelWriter, ProtoWriter
from front_onnx.write.rewrite import rewrite
from front_onnx.write.separate import separate
from front_onnx.write.verify import verify

__all__ = ["Result", "default_output", "inspect", "resize", "validate"]

Progress = Callable[[str, int, int], None]
Some = str | Sequence[str] | None  # one name or several


def _several(given: Some) -> tuple[str, ...]:
    """The names in an argument that takes one or several."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def _silent(stage: str, done: int, total: int) -> None:
    """No progress."""


@dataclass(eq=False)
class Result:
    """What `resize` did.

    Attributes:
        plan: every edit, as data.
        output: the file written, or None.
        skeleton: the resized model without its large weights.
        model: the resized model, if the source was given in memory; a gs.Graph if the source was one.
        validation: the checks of the result, or None if they were left out.
        seconds: time taken, without the validation.
        size: bytes of the result.
    """

    plan: Plan
    skeleton: onnx.ModelProto
    output: Path | None
    model: Any
    validation: Validation | None
    seconds: float
    size: int


def inspect(model: Any, *, residual: Some = None, block: Some = None) -> Structure:
    """Chains of blocks, named dims and what can be resized.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        residual: the tensor, or "TENSOR:AXIS", whose axis is the residual width, instead of what is found.
        block: the repeated unit of each chain by hand, "NODE..NODE", instead of what is found.

    Raises:
        FrontError: the model cannot be read, or what is named by hand is not there.
    """
    return find_structure(Graph(_read(model)), _several(block), _several(residual))


def resize(
    model: Any,
    *,
    depth: Any = None,
    width: Any = None,
    width_mult: float | str | None = None,
    heads: Any = None,
    head_dim: Any = None,
    dims: dict[str, int] | None = None,
    freeze: Some = None,
    round_to: int | None = None,
    residual: Some = None,
    block: Some = None,
    ratio: float = 1.0,
    scale: str = "auto",
    output: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    validate: bool = True,
    seed: int = 0,
    progress: Progress = _silent,
) -> Result:
    """Resize a trained model.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        depth: layers: a number, one per chain ("3,4,6,3"), or by name ("encoder=4,decoder=2").
        width: the residual width, or one per stage.
        width_mult: a factor for all inner dims.
        heads: number of attention heads.
        head_dim: size of each head.
        dims: sizes of named dims, fixed ones included.
        freeze: named dims that keep their size whatever the width does.
        round_to: round widths that follow to multiples of this, heads to whole heads; nothing is rounded otherwise.
        residual: the tensor, or "TENSOR:AXIS", whose axis is the residual width, instead of what is found.
        block: the repeated unit of each chain by hand, "NODE..NODE", instead of what is found.
        ratio: part of the low frequencies kept along every axis (Eq. 4).
        scale: scale convention, see `front_onnx.scale`.
        output: where to write. A model given by path is written to `default_output` if this is None;
            a model given in memory is returned and not written.
        dry_run: plan only.
        validate: check the result (see `validate`).
        seed: for the synthetic inputs of the validation; nothing else is random.
        progress: called with (stage, done, total).

    Raises:
        FrontError: the request is impossible (exit_code 2) or the work failed (exit_code 1).
    """
    started = time.perf_counter()
    request = Request(depth, width, width_mult, heads, head_dim, dims or {}, ratio, scale, _several(freeze), round_to)
    source = _read(model)
    progress("understand", 0, 1)
    plan = _plan(Graph(source), _several(block), _several(residual), request)
    graph = plan.structure.graph
    rewritten = rewrite(plan)
    verify(plan, rewritten)
    if dry_run:
        return Result(plan, rewritten.proto, None, None, None, time.perf_counter() - started, 0)
    target = Path(output) if output is not None else default_output(plan) if source.path is not None else None
    _refuse_overwriting(source, target)
    _refuse_too_large(rewritten.proto, target)
    total = len(rewritten.pending)

    def tell(done: int) -> None:
        progress("transform", done, total)

    def check(result: Path | onnx.ModelProto) -> Validation | None:
        if not validate:
            return None
        progress("validate", 0, 1)
        return _check(source, result, seed)

    if target is not None:
        with _staged(target) as staged:
            with ModelWriter(
                rewritten.proto, staged, external=source.external, pending=set(rewritten.pending)
            ) as writer:
                fill(graph, rewritten.pending, writer.put, tell)
            seconds = time.perf_counter() - started
            checked = check(staged)
        size = read_model(target).size
        return Result(plan, rewritten.proto, target, None, checked, seconds, size)
    memory = ProtoWriter(rewritten.proto, set(rewritten.pending))
    fill(graph, rewritten.pending, memory.put, tell)
    seconds = time.perf_counter() - started
    proto = memory.result()
    checked = check(proto)
    given = proto if isinstance(model, onnx.ModelProto) else _to_graphsurgeon(proto)
    return Result(plan, rewritten.proto, None, given, checked, seconds, proto.ByteSize())


_SEPARATIONS = 8  # each tells apart what does not overlap


def _plan(graph: Graph, block: tuple[str, ...], residual: tuple[str, ...], request: Request) -> Plan:
    """The plan, for a graph in which numbers with two meanings are two numbers if need be."""
    for _ in range(_SEPARATIONS):
        structure = find_structure(graph, block, residual)
        try:
            return make_plan(structure, request)
        except Parted as parted:
            separated = separate(structure.analysis, parted.partings)
            if separated is None:
                raise
            graph = separated
    return make_plan(find_structure(graph, block, residual), request)


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
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


def _check(source: ModelFile, result: Path | onnx.ModelProto, seed: int) -> Validation:
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


def validate(model: Any, *, like: Any = None, inputs: dict[str, np.ndarray] | None = None, seed: int = 0) -> Validation:
    """Check a model: full checker, strict shape inference, an onnxruntime session, a run, finite outputs.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        like: a model whose interface is compared.
        inputs: arrays by input name; made up where missing.
        seed: for the inputs that are made up.
    """
    given = model if isinstance(model, str | os.PathLike) else _read(model).proto
    reference = None if like is None else _read(like).proto
    return validate_model(given, like=reference, inputs=inputs or {}, seed=seed)


def default_output(plan: Plan) -> Path:
    """Beside the source: model.onnx becomes model-d6-w384.onnx."""
    source = plan.structure.graph.model.path
    assert source is not None
    parts = []
    if any(a != b for a, b in plan.depths):
        parts.append("d" + "-".join(str(after) for _, after in plan.depths))
    request = plan.request
    if request.width is not None:
        axes = [*plan.structure.residuals, plan.structure.loose]
        widths = {plan.size(axis): None for axis in axes if axis is not None}
        parts.append("w" + "-".join(map(str, widths)))
    if request.width_mult is not None:
        parts.append(f"x{request.width_mult}")
    for letter, value in (("h", request.heads), ("hd", request.head_dim)):
        if value is not None:
            parts.append(f"{letter}{value}".replace(",", "-").replace("=", ""))
    parts += [f"{name}{size}" for name, size in request.dims.items()]
    if request.ratio != 1:
        parts.append(f"r{request.ratio:g}")
    name = "-".join([source.stem, *(parts or ["resized"])])
    return source.with_name(name.replace("/", "_").replace(os.sep, "_") + (source.suffix or ".onnx"))


def _refuse_overwriting(source: ModelFile, target: Path | None) -> None:
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


def _refuse_too_large(proto: onnx.ModelProto, target: Path | None) -> None:
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


def _read(model: Any) -> ModelFile:
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


def _to_graphsurgeon(proto: onnx.ModelProto) -> Any:
    import onnx_graphsurgeon as gs

    return gs.import_onnx(proto)
