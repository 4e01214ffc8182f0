"""The Python interface to models that there already are: `init_into` and `calibrate` give them weights of another one.

Weights are matched by structure and role, whatever exporters called things.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from front_onnx.api import write_decoder
from front_onnx.calibration.goals import Standing
from front_onnx.calibration.settings import DEFAULT, CalibrationSettings, calibrated
from front_onnx.calibration.starts import Outcome
from front_onnx.check.validate import Validation, check_result
from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError, RequestError
from front_onnx.gene.expand import GeneModel
from front_onnx.gene.file import is_gene, read_gene
from front_onnx.match.describe import by_hand
from front_onnx.match.into import moved_weights, resize_request
from front_onnx.match.matching import Match, match
from front_onnx.methods.calibrated import Calibrated
from front_onnx.methods.registry import choose
from front_onnx.plan.request import Request
from front_onnx.provenance import origin, requested
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.roles.piece import Piece
from front_onnx.samples.inputs import Inputs
from front_onnx.samples.samples import Data
from front_onnx.session import Session, read_any
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.types import ModelLike, PathLike, Progress, silent
from front_onnx.write.replace import made_with, write_with
from front_onnx.write.unshare import unshared

__all__ = ["Moved", "calibrate", "init_into"]


@dataclass(frozen=True, eq=False)
class Moved:
    """What `init_into` or `calibrate` did.

    Attributes:
        matches: one for each piece of the target's weights; those without a source keep the target's own values.
        unused: pieces of the source that went nowhere.
        arrays: the tensors of the target that changed.
        output: the file written, or None.
        validation: the checks of the result, or None if they were left out.
        model: the target with its weights, if it was given in memory and nothing was written.
        calibration: the starts that were compared, if there was data to calibrate on.
        decoder: the file with the matrices that take outputs back to the source's sizes, if any have others.
    """

    matches: list[Match]
    unused: list[Piece]
    arrays: dict[str, np.ndarray]
    output: Path | None
    validation: Validation | None
    model: onnx.ModelProto | None = None
    calibration: Outcome | None = None
    decoder: Path | None = None


def init_into(
    source: ModelLike,
    target: ModelLike,
    *,
    output: PathLike | None = None,
    mapping: PathLike | Mapping[str, str | None] | None = None,
    scale: str | None = None,
    method: str = "front",
    symmetry: float = 0.0,
    dry_run: bool = False,
    validate: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Moved:
    """Initialise a model that was exported elsewhere from a learngene or a trained model.

    Weights are matched by structure and role, not by name; what has no counterpart keeps the target's values.

    Args:
        source: the path of a learngene, or a model: a path, an onnx.ModelProto, an onnx_graphsurgeon.Graph.
        target: the model to initialise.
        output: where to write; TARGET-init.onnx beside a target given by path if this is None.
        mapping: matches by hand: {"TARGET TENSOR[:ROLE]": "SOURCE TENSOR[:ROLE]" or None}, or a JSON file of it.
        scale: scale convention; that of the learngene, or "auto", if this is None.
        method: how weights are carried over, see `resize`; one that changes weights only.
        symmetry: see `resize`.
        dry_run: match only.
        validate: check the result.
        seed: for the synthetic inputs of the validation.
        progress: called with (stage, done, total).

    Raises:
        FileError: a model cannot be read.
        FrontError: nothing matches, or the source cannot have the target's sizes.
    """
    _refuse_edits(Request(method=method, symmetry=symmetry, seed=seed))
    progress("understand", 0, 1)
    wanted = by_hand(mapping)
    if is_gene(source):
        gene = read_gene(source)
        model: ModelFile = GeneModel(gene, Path(os.fspath(source)))
        scale = scale or gene.about["scale"]
    else:
        model = read_any(source)
    target_file = read_any(target)
    own, before = unshared(Graph(target_file))
    session = Session(model)
    other = Session(own).structure
    matching = match(session.structure, other, wanted)
    if not any(entry.source is not None for entry in matching.matches):
        reason = matching.matches[0].reason if matching.matches else "it has no weights"
        raise FrontError(f"nothing of the source goes into this target: {reason}")
    if dry_run:
        return Moved(matching.matches, matching.unused, {}, None, None)
    progress("transform", 0, 1)
    sizes = resize_request(session.structure, matching, scale or "auto")
    request = replace(sizes, method=method, symmetry=symmetry, seed=seed)
    resized = Session(session.resized(request)).structure
    arrays, done = moved_weights(resized, matching, other)
    place = _place(output, model, target_file)
    moved = Moved(done, matching.unused, arrays, place, None)
    asked = requested(request, into=True)
    told = origin(model, method=method, request=asked) if _changed(arrays, other) else None
    return _written(moved, model, target_file, other, before, told, validate, seed, progress)


def calibrate(
    source: ModelLike,
    target: ModelLike,
    data: Data,
    *,
    output: PathLike | None = None,
    mapping: PathLike | Mapping[str, str | None] | None = None,
    scale: str | None = None,
    method: str = "front",
    symmetry: float = 0.0,
    calibration: CalibrationSettings = DEFAULT,
    dry_run: bool = False,
    validate: bool = True,
    seed: int = 0,
    progress: Progress = silent,
) -> Moved:
    """Give a model that there already is weights that compute what another one of its architecture computes.

    The source is calibrated at the target's sizes, and its weights are moved by structure and role. Several starts are
    compared in the target's own graph on samples that were held out, what it holds among them; the best one is written.

    Args:
        source: a trained model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph; samples run through it.
        target: a model of the same architecture and another size: resized earlier, or exported by whatever exporter.
        data: unlabeled inputs of the source, or "synthetic", see `front_onnx/samples/samples.py`.
        output: where to write; TARGET-init.onnx beside a target given by path if this is None.
        mapping: matches by hand: {"TARGET TENSOR[:ROLE]": "SOURCE TENSOR[:ROLE]" or None}, inputs and outputs too, or
            a JSON file of it.
        scale: scale convention of the method without samples; "auto" if this is None.
        method: what to compare with that looks at no samples, see `resize`; one that changes weights only.
        symmetry: see `resize`.
        calibration: how many samples, ridges, memory; see `front_onnx/calibration/settings.py`.
        dry_run: match only.
        validate: check the result.
        seed: of which samples are taken, and of what is made up.
        progress: called with (stage, done, total).

    Raises:
        FileError: a model or the samples cannot be read.
        RequestError: the source is a learngene, or the data are no inputs of it, or too few.
        FrontError: nothing matches, or the source cannot have the target's sizes.
    """
    how = Request(method=method, symmetry=symmetry, seed=seed)
    _refuse_edits(how)
    if is_gene(source):
        raise RequestError(
            "calibration runs the source on samples, and a learngene does not run",
            got=str(source),
            hint="name the model it was cut out of: front-onnx init SOURCE.onnx --into TARGET.onnx --data SAMPLES",
        )
    progress("understand", 0, 1)
    model, target_file = read_any(source), read_any(target)
    session = Session(unshared(Graph(model), vectors=True)[0])
    own, before = unshared(Graph(target_file), vectors=True)
    other = Session(own).structure
    standing = Standing(session.structure, other, by_hand(mapping))
    matching = standing.matching
    if dry_run:
        return Moved(matching.matches, matching.unused, {}, None, None)
    sizes = standing.request(scale or "auto")
    plan = session.plan(replace(sizes, method=method, symmetry=symmetry, seed=seed))
    standing.meet(session.rewrite(plan))
    place = _place(output, model, target_file)
    ours, theirs = Inputs.of(session.graph).batch, Inputs.of(other.graph).batch
    batch = theirs if ours is None else None
    outcome = calibrated(plan, data, calibration, seed, progress, goal=standing, batch=batch)
    moved = Moved(standing.matches, matching.unused, dict(outcome.arrays), place, None, calibration=outcome)
    asked = {"into": True, "seed": seed}
    told = None
    if _changed(outcome.arrays, other):
        start = None if outcome.best.calibrated else "carried"
        told = origin(model, method=Calibrated.name, request=asked, samples=outcome.samples, start=start)
    return _written(moved, model, target_file, other, before, told, validate, seed, progress)


def _refuse_edits(how: Request) -> None:
    """Refuse methods that change more than weights.

    Raises:
        RequestError: it is one.
    """
    if edits := [name for name, _ in how.methods.values() if choose(name).edits]:
        raise RequestError(f"method {edits[0]} changes more than weights", hint="front-onnx resize resizes a model")


def _place(output: PathLike | None, source: ModelFile, target: ModelFile) -> Path | None:
    """Where to write; None for a target in memory."""
    place = named_file(output) if output is not None else None
    if place is None and target.path is not None:
        place = target.path.with_name(f"{target.path.stem}-init{target.path.suffix or '.onnx'}")
    for read in (source, target) if place is not None else ():
        refuse_overwriting(read, place)
    return place


def _changed(arrays: Mapping[str, np.ndarray], target: Structure) -> bool:
    """True if anything of a target is to be other than it is."""
    return any(not np.array_equal(array, target.graph.array(name)) for name, array in arrays.items())


def _written(
    moved: Moved,
    source: ModelFile,
    target: ModelFile,
    structure: Structure,
    before: Mapping[str, str],
    told: Mapping[str, str] | None,
    validate: bool,
    seed: int,
    progress: Progress,
) -> Moved:
    """The target with its weights: written, or in memory."""
    if moved.output is None:
        return replace(moved, model=made_with(structure.graph, moved.arrays, before, told))
    checked = None
    with atomic_write(moved.output, read=source.files | target.files) as staged:
        write_with(structure.graph, moved.arrays, staged, before, told)
        if validate:
            progress("validate", 0, 1)
            checked = check_result(target, staged.path, seed)
    decoder = None if moved.calibration is None else write_decoder(moved.calibration.decoders, moved.output)
    return replace(moved, validation=checked, decoder=decoder)
