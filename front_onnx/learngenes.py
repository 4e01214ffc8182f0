"""The Python interface to learngenes: `extract` cuts one out of a model, `init` makes a model of any size of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from front_onnx.api import Result, resize
from front_onnx.check.validate import Validation, check_result
from front_onnx.errors import FrontError, RequestError
from front_onnx.gene.basis import BANDS
from front_onnx.gene.expand import GeneModel
from front_onnx.gene.extract import cut_out
from front_onnx.gene.file import is_gene, read_gene, write_gene
from front_onnx.gene.gene import Gene
from front_onnx.gene.spectrum import StackSpectrum, spectra
from front_onnx.match.describe import by_hand
from front_onnx.match.into import moved_weights, resize_request
from front_onnx.match.matching import Match, match
from front_onnx.methods.registry import choose
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.roles.piece import Piece
from front_onnx.session import Session, read_any
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.types import ModelLike, Names, PathLike, Progress, ResizeOptions, several, silent
from front_onnx.write.replace import write_with
from front_onnx.write.unshare import unshared

__all__ = ["DEFAULT_RATIO", "DEFAULT_SPECTRUM", "Extracted", "Moved", "extract", "init", "init_into", "spectrum"]

DEFAULT_RATIO = 0.67  # the paper's Table 7: little is gained above, much is lost below
DEFAULT_SPECTRUM = 0.5  # white noise has half of its energy in half of the frequencies


@dataclass(frozen=True, eq=False)
class Extracted:
    """What `extract` did: the learngene, and the file that holds it."""

    gene: Gene
    output: Path
    size: int


def extract(
    model: ModelLike,
    *,
    output: PathLike | None = None,
    ratio: float = DEFAULT_RATIO,
    band: str = "low",
    scale: str = "auto",
    residual: Names | None = None,
    block: Names | None = None,
    treat: Mapping[str, str] | None = None,
    progress: Progress = silent,
) -> Extracted:
    """Cut a learngene out of a trained model: the low frequencies of every stack and tensor (Eq. 3 and 4).

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        output: the file to write; MODEL-rR.safetensors beside the model if this is None.
        ratio: part of the frequencies kept along the depth and along every axis that can be resized.
        band: which ones: "low", or "mid" or "high" to compare with (Table 13).
        scale: the scale convention that `init` uses unless told otherwise.
        residual: see `resize`.
        block: see `resize`.
        treat: see `resize`.
        progress: called with (stage, done, total).

    Raises:
        FileError: the model cannot be read.
        RequestError: the request is impossible.
    """
    if band not in BANDS:
        raise RequestError("no such band", got=band, wanted=" or ".join(BANDS))
    request = Request(ratio=ratio, scale=scale, treat=dict(treat or {}))
    session = Session(model, block=block, residual=residual)
    source = session.source
    if output is None and source.path is None:
        raise RequestError("a model in memory has no place to write beside", hint="name the output")
    if output is None:
        assert source.path is not None
        suffix = f"-r{ratio:g}" + (f"-{band}" if band != "low" else "")
        output = source.path.with_name(f"{source.path.stem}{suffix}.safetensors")
    target = named_file(output)
    refuse_overwriting(source, target)
    if not is_gene(target):
        raise RequestError("a learngene's file ends in .safetensors", got=str(target))
    progress("understand", 0, 1)
    plan = session.plan(request)
    rewritten = session.rewrite(plan)
    gene = cut_out(plan, rewritten, band, lambda done, total: progress("transform", done, total))
    by_hand = {"block": list(several(block)), "residual": list(several(residual)), "treat": dict(treat or {})}
    gene = Gene(gene.template, gene.stacks, gene.values, gene.arrays, {**gene.about, **by_hand})
    with atomic_write(target, read=source.files) as staged:
        write_gene(gene, staged)
    return Extracted(gene, target, target.stat().st_size)


def init(
    gene: PathLike,
    *,
    scale: str | None = None,
    residual: Names | None = None,
    block: Names | None = None,
    treat: Mapping[str, str] | None = None,
    **options: Unpack[ResizeOptions],
) -> Result:
    """Make a model of any size of a learngene (Eq. 8). With ratio 1 it is what `resize` makes of the source.

    Args:
        gene: the path of a learngene.
        scale: scale convention; that of the learngene if this is None.
        residual: see `resize`; what was said at the extraction if this is None.
        block: see `resize`; what was said at the extraction if this is None.
        treat: see `resize`; what was said at the extraction if this is None.
        options: sizes and everything else that `resize` takes.

    Raises:
        FileError: the file is no learngene or is damaged.
        FrontError: what `resize` raises.
    """
    found = read_gene(gene)
    return resize(
        GeneModel(found, Path(os.fspath(gene))),
        scale=scale or found.about["scale"],
        residual=residual if residual is not None else found.about.get("residual"),
        block=block if block is not None else found.about.get("block"),
        treat=treat if treat is not None else found.about.get("treat"),
        **options,
    )


@dataclass(frozen=True, eq=False)
class Moved:
    """What `init_into` did.

    Attributes:
        matches: one for each piece of the target's weights; those without a source keep the target's own values.
        unused: pieces of the source that went nowhere.
        arrays: the tensors of the target that changed.
        output: the file written, or None.
        validation: the checks of the result, or None if they were left out.
    """

    matches: list[Match]
    unused: list[Piece]
    arrays: dict[str, np.ndarray]
    output: Path | None
    validation: Validation | None


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
    how = Request(method=method, symmetry=symmetry, seed=seed)
    if edits := [name for name, _ in how.methods.values() if choose(name).edits]:
        raise RequestError(f"method {edits[0]} changes more than weights", hint="front-onnx resize resizes a model")
    progress("understand", 0, 1)
    wanted = by_hand(mapping)
    if is_gene(source):
        gene = read_gene(source)
        model: ModelFile = GeneModel(gene, Path(os.fspath(source)))
        scale = scale or gene.about["scale"]
    else:
        model = read_any(source)
    goal = read_any(target)
    own, before = unshared(Graph(goal))
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
    place = named_file(output) if output is not None else None
    if place is None and goal.path is not None:
        place = goal.path.with_name(f"{goal.path.stem}-init{goal.path.suffix or '.onnx'}")
    if place is None:
        return Moved(done, matching.unused, arrays, None, None)
    for read in (model, goal):
        refuse_overwriting(read, place)
    checked = None
    with atomic_write(place, read=model.files | goal.files) as staged:
        write_with(other.graph, arrays, staged, before)
        if validate:
            progress("validate", 0, 1)
            checked = check_result(goal, staged.path, seed)
    return Moved(done, matching.unused, arrays, place, checked)


def spectrum(
    model: ModelLike, *, ratio: float = DEFAULT_SPECTRUM, residual: Names | None = None, block: Names | None = None
) -> list[StackSpectrum]:
    """How much of the energy of a model's weights is in the low frequencies, beside noise and permuted weights.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        ratio: the part of the frequencies called low, below 1.
        residual: see `resize`.
        block: see `resize`.

    Raises:
        FileError: the model cannot be read.
        RequestError: a ratio of 1, which all frequencies are.
    """
    if ratio >= 1:
        raise RequestError("all frequencies are no low ones", got=ratio, wanted="a ratio below 1")
    return spectra(Session(model, block=block, residual=residual).plan(Request(ratio=ratio)))
