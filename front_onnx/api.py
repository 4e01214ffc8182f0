"""The Python interface beside the command line: `inspect`, `resize`, `validate`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from front_onnx.calibration.best import BEST, Steps, steps
from front_onnx.calibration.settings import DEFAULT, CalibrationSettings, calibrated
from front_onnx.calibration.starts import Outcome
from front_onnx.check.agreement import Agreement, agreement, stands_for
from front_onnx.check.validate import Validation, check_result, validate_model
from front_onnx.dims.structure import Structure
from front_onnx.errors import RequestError
from front_onnx.gene.file import is_gene
from front_onnx.methods.calibrated import Calibrated
from front_onnx.plan.plan import Plan
from front_onnx.plan.ports import decoders
from front_onnx.plan.request import Request
from front_onnx.provenance import changes, origin, requested, sign
from front_onnx.read.merged import joined_name
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.samples.reading import SYNTHETIC
from front_onnx.samples.samples import Data
from front_onnx.session import Session, read_any, to_graphsurgeon
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.model_writer import ModelWriter, ProtoWriter
from front_onnx.store.refusals import refuse_overwriting, refuse_too_large
from front_onnx.transform.contents import Drawn
from front_onnx.transform.weights import fill
from front_onnx.types import ModelLike, Names, PathLike, Progress, Sizes, several, silent
from front_onnx.write.rewrite import Rewritten
from front_onnx.write.unshare import unshared

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

__all__ = ["Result", "default_output", "inspect", "resize", "validate", "write_decoder"]


@dataclass(eq=False)
class Result:
    """What `resize` did.

    Attributes:
        plan: every edit, as data.
        output: the file written, or None.
        skeleton: the resized model without its large weights.
        model: the resized model, if the source was given in memory; a gs.Graph if the source was one.
        validation: the checks of the result, or None if they were left out.
        agreement: how far the outputs are from the source's, for methods that are to keep them; None for others.
        decoder: the file with the matrices that take outputs back to the source's sizes, if any have others.
        calibration: the starts that were compared, if there was data to calibrate on.
        grown: the lossless growth before `plan`, where some sizes grow and others shrink.
        to_fit: True after a dry run of what would be calibrated.
        seconds: time taken, without the validation.
        size: bytes of the result.
    """

    plan: Plan
    skeleton: onnx.ModelProto
    output: Path | None
    model: onnx.ModelProto | gs.Graph | None
    validation: Validation | None
    seconds: float
    size: int
    agreement: Agreement | None = None
    decoder: Path | None = None
    calibration: Outcome | None = None
    grown: Plan | None = None
    to_fit: bool = False


def inspect(model: ModelLike, *, residual: Names | None = None, block: Names | None = None) -> Structure:
    """Chains of blocks, named dims and what can be resized.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        residual: the tensor, or "TENSOR:AXIS", whose axis is the residual width, instead of what is found.
        block: the repeated unit of each chain by hand, "NODE..NODE", instead of what is found.

    Raises:
        FileError: the model cannot be read.
        RequestError: what is named by hand is not there.
    """
    return Session(model, block=block, residual=residual).structure


def resize(
    model: ModelLike,
    *,
    depth: Sizes | None = None,
    width: Sizes | None = None,
    width_mult: float | str | None = None,
    heads: Sizes | None = None,
    head_dim: Sizes | None = None,
    dims: Mapping[str, int] | None = None,
    freeze: Names | None = None,
    round_to: int | None = None,
    depth_mult: float | str | None = None,
    exact: bool = False,
    params: int | str | None = None,
    size: int | str | None = None,
    residual: Names | None = None,
    block: Names | None = None,
    treat: Mapping[str, str] | None = None,
    method: str = "front",
    ratio: float = 1.0,
    band: str = "low",
    scale: str = "auto",
    symmetry: float = 0.0,
    align: bool = False,
    order: bool = False,
    data: Data | None = None,
    calibration: CalibrationSettings = DEFAULT,
    output: PathLike | None = None,
    dry_run: bool = False,
    validate: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Resize a trained model.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        depth: layers: a number, one per chain ("3,4,6,3"), or by name ("encoder=4,decoder=2").
        width: the residual width, or one per stage.
        width_mult: a factor for all inner dims, rounded to whole sizes and heads; what cannot follow is kept, and told.
        heads: number of attention heads.
        head_dim: size of each head.
        dims: sizes of named dims, fixed ones included.
        freeze: named dims that keep their size whatever the width does.
        round_to: round widths that follow to multiples of this, heads to whole heads.
        depth_mult: a factor for the depth of every chain, rounded to one that it can have.
        exact: refuse what would have to be rounded or kept under a factor.
        params: a number of parameters (60000000 or "60M") instead of sizes: the nearest that keep the proportions.
        size: bytes of the result ("20MB"), likewise.
        residual: the tensor, or "TENSOR:AXIS", whose axis is the residual width, instead of what is found.
        block: the repeated unit of each chain by hand, "NODE..NODE", instead of what is found.
        treat: what constants are, by patterns of their names ("weight", "bias", "embedding", "mask" or "fixed"),
            where what is found is wrong: weights are resampled, masks and fixed tables stay as they are.
        method: how weights are carried over: one method, or "depth=METHOD,width=METHOD"; see docs/methods.md. "best"
            is lossless growth of what grows, and calibration of what shrinks, on `data` or on made-up inputs.
        ratio: part of the low frequencies kept along every axis (Eq. 4); for FRONT and other bases.
        band: which frequencies the ratio keeps: "low", or "mid" or "high" to compare with.
        scale: scale convention: "auto", "ortho" (the paper's), "amp", "variance" or "fan-in", see
            `front_onnx/methods/scale.py`.
        symmetry: how unequal the shares of copies are, 0 to below 1, where a method makes copies: they can then part
            in training.
        align: before blocks are mixed, put units and heads where those of the block before are that are most like them.
        order: before their number changes, put units and heads beside those that are most like them.
        data: unlabeled inputs to calibrate on, "synthetic" to make some up: weights are fitted in closed form to what
            the source computes, several starts are compared on held-out inputs and the best is written; see
            `front_onnx/samples/samples.py` for where they may come from.
        calibration: how many samples, ridges, memory; see `front_onnx/calibration/settings.py`.
        output: where to write. A model given by path is written to `default_output` if this is None;
            a model given in memory is returned and not written.
        dry_run: plan only.
        validate: check the result (see `validate`).
        seed: for the synthetic inputs of the validation, and for methods that draw numbers.
        progress: called with (stage, done, total).

    Raises:
        RequestError: a size is impossible; the message lists the nearest possible ones.
        UnsupportedError: the model holds what cannot be carried to these sizes.
        FileError: the model cannot be read.
        OutputError: the result cannot be written.
        FrontError: the result did not pass its checks, so nothing was written.
    """
    started = time.perf_counter()
    asked = Request(depth, width, width_mult, heads, head_dim, dims or {}, ratio, scale, several(freeze), round_to)
    asked = replace(asked, depth_mult=depth_mult, exact=exact, params=params, size=size)
    how = {"band": band, "symmetry": symmetry, "seed": seed, "align": align, "order": order}
    best = method == BEST
    how |= {} if best or (data is not None and method == Calibrated.name) else {"method": method}
    request = replace(asked, treat=dict(treat or {}), **how)  # type: ignore[arg-type]
    session = Session(model, block=block, residual=residual)
    source = session.source
    refuse_overwriting(source, None if output is None else named_file(output))
    progress("understand", 0, 1)
    parted = steps(_parted(session, block, residual), request) if best else None
    plan = parted.session.plan(parted.last) if parted is not None else session.plan(request)
    if data is not None and not best and plan.methods.exact:
        hint = "--method best calibrates what shrinks and grows the rest without loss"
        raise RequestError("growth without loss looks at no samples: --data is for others", got=method, hint=hint)
    if data is not None and not best and plan.resizes:
        plan = _parted(session, block, residual).plan(request)
    if best and data is None and parted is not None and parted.calibrated:
        data = SYNTHETIC
    rewritten = session.rewrite(plan)
    if dry_run:
        seconds, fits = time.perf_counter() - started, data is not None and plan.resizes and not plan.methods.exact
        return Result(plan, rewritten.proto, None, None, None, seconds, 0, grown=_grown(parted), to_fit=fits)
    whole = plan if parted is None else parted.whole
    target = named_file(output) if output is not None else None
    if target is None and source.path is not None:
        target = default_output(whole, BEST if best else request.method)
    refuse_overwriting(source, target)
    size = refuse_too_large(rewritten.proto, target)
    progress(f"make {size / 1e6:,.1f} MB of weights", 0, 1)
    outcome = None
    if data is not None and plan.resizes and not plan.methods.exact:
        outcome = calibrated(plan, data, calibration, seed, progress)
        plan, rewritten = outcome.plan, outcome.rewritten
    fitted = outcome.arrays if outcome is not None else {}
    if changes(whole) or changes(plan):
        by_hand = {"block": list(several(block)), "residual": list(several(residual))}
        told = requested(request, **by_hand, **({"seed": seed} if _draws(plan, outcome) else {}))
        told |= {} if source.runs else {"learngene": True}
        way = BEST if best else Calibrated.name if outcome is not None else request.method
        fitted_to = outcome.samples if outcome is not None else None
        start = "carried" if outcome is not None and not outcome.best.calibrated else None
        sign(rewritten.proto, origin(source, method=way, request=told, samples=fitted_to, start=start))
    pending = set(rewritten.pending) | set(fitted)
    total = len(pending)

    def tell(done: int) -> None:
        progress("transform", done, total)

    def check(result: Path | onnx.ModelProto) -> Validation | None:
        if not validate:
            return None
        progress("validate", 0, 1)
        return check_result(source, result, seed)

    def put_all(put: Callable[[str, np.ndarray], None]) -> None:
        fill(plan.structure.graph, rewritten.pending, lambda name, array: put(name, fitted.get(name, array)), tell)
        for name in fitted.keys() - rewritten.pending.keys():
            put(name, fitted[name])

    if target is not None:
        with atomic_write(target, read=source.files) as staged:
            with ModelWriter(rewritten.proto, staged, external=source.external, pending=pending) as writer:
                put_all(writer.put)
            seconds = time.perf_counter() - started
            checked = check(staged.path)
        size = read_model(target).size
        agreed, decoder = None, None
        if plan.methods.exact and plan.resizes:
            decoder = write_decoder(_by_output(plan, rewritten), target)
            agreed = _agreed(source, target, plan, rewritten, seed) if validate else None
        elif outcome is not None:
            grown_by = decoders(parted.grown) if parted is not None and parted.grown is not None else {}
            decoder = write_decoder({**grown_by, **outcome.decoders}, target)
        return Result(
            plan, rewritten.proto, target, None, checked, seconds, size, agreed, decoder, outcome, _grown(parted)
        )
    memory = ProtoWriter(rewritten.proto, pending)
    put_all(memory.put)
    seconds = time.perf_counter() - started
    proto = memory.result()
    checked = check(proto)
    given = proto if isinstance(model, onnx.ModelProto) else to_graphsurgeon(proto)
    agreed = _agreed(source, proto, plan, rewritten, seed) if validate and plan.methods.exact and plan.resizes else None
    return Result(
        plan, rewritten.proto, None, given, checked, seconds, proto.ByteSize(), agreed, None, outcome, _grown(parted)
    )


def _draws(plan: Plan, outcome: Outcome | None) -> bool:
    """True if the seed has a part in the result."""
    contents = (*plan.contents.values(), *(c for unit in plan.clones.values() for c in unit.values()))
    return outcome is not None or plan.request.symmetry > 0 or any(isinstance(each, Drawn) for each in contents)


def _parted(session: Session, block: Names | None, residual: Names | None) -> Session:
    """The same model; weights that are one tensor only because they happen to be equal have one each."""
    model, before = unshared(session.graph, vectors=True)
    return Session(model, block=block, residual=residual) if before else session


def _grown(parted: Steps | None) -> Plan | None:
    return None if parted is None else parted.grown


def _agreed(
    source: ModelFile, result: Path | onnx.ModelProto, plan: Plan, rewritten: Rewritten, seed: int
) -> Agreement | None:
    """How far a result is from its source; what is not exact for no known reason is told as a warning."""
    if not source.runs:
        return None
    try:
        agreed = agreement(source, result, plan, rewritten, seed)
    except Exception as error:  # whatever onnxruntime raises: some sources run with inputs of one size only
        plan.warnings.append(
            f"how far it is from the source could not be measured: {' '.join(str(error).split())[:200]}"
        )
        return None
    if agreed.left_out:
        names = ", ".join(agreed.left_out)
        plan.warnings.append(f"not compared with the source's, as nothing says how their sizes correspond: {names}")
    if agreed.worst > agreed.rounding and not any("not exact" in warning for warning in plan.warnings):
        cause = plan.methods.width.doubt or "something in this graph depends on its sizes"
        plan.warnings.append(f"not exact: {cause}")
    return agreed


def _by_output(plan: Plan, rewritten: Rewritten) -> dict[str, dict[int, np.ndarray]]:
    """D [N, M] of every axis of an output that changes, by the output's name in the result."""
    known, stands = decoders(plan), stands_for(plan, rewritten)
    names = [(output.name, stands.get(output.name, (output.name, False))[0]) for output in rewritten.proto.graph.output]
    return {joined_name(name): known[old] for name, old in names if old in known}


def write_decoder(matrices: Mapping[str, Mapping[int, np.ndarray]], target: Path) -> Path | None:
    """Write the matrices that take outputs back to the source's sizes, `OUTPUT.AXIS` [N, M], beside the model."""
    found = {f"{name}.{axis}": d for name, axes in matrices.items() for axis, d in axes.items()}
    if not found:
        return None
    path = target.with_name(f"{target.stem}.decode.npz")
    with atomic_write(path) as staged, open(staged.path, "wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]
    return path


def validate(
    model: ModelLike,
    *,
    like: ModelLike | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Validation:
    """Check a model: full checker, strict shape inference, an onnxruntime session, a run, finite outputs.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        like: a model whose interface is compared.
        inputs: arrays by input name; made up where missing.
        seed: for the inputs that are made up.

    Raises:
        FileError: the model cannot be read.
        RequestError: given inputs do not belong to the model.
    """
    given = model if isinstance(model, str | os.PathLike) else read_any(model).proto
    reference = None if like is None else read_any(like).proto
    return validate_model(given, like=reference, inputs=inputs or {}, seed=seed)


def default_output(plan: Plan, method: str | None = None) -> Path:
    """Beside the source: model.onnx becomes model-d6-w384.onnx; `method` if it is not that of the plan."""
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
        parts.append(f"x{float(request.factor or 1):.4g}")
    for letter, value in (("h", request.heads), ("hd", request.head_dim)):
        if value is not None:
            parts.append(f"{letter}{value}".replace(",", "-").replace("=", ""))
    parts += [f"{name}{size}" for name, size in request.dims.items()]
    method = request.method if method is None else method
    if method != "front":
        parts.append(re.sub(r"\W+", "-", method))
    if request.ratio != 1:
        parts.append(f"r{request.ratio:g}")
    name = "-".join([source.stem, *(parts or ["resized"])])
    suffix = ".onnx" if is_gene(source) else source.suffix or ".onnx"
    return source.with_name(name.replace("/", "_").replace(os.sep, "_") + suffix)
