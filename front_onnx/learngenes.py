"""The Python interface to learngenes: `extract` cuts one out of a model, `init` makes a model of any size of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from front_onnx.api import Result, resize
from front_onnx.errors import RequestError
from front_onnx.gene.basis import BANDS
from front_onnx.gene.expand import GeneModel
from front_onnx.gene.extract import cut_out
from front_onnx.gene.file import is_gene, read_gene, write_gene
from front_onnx.gene.gene import Gene
from front_onnx.gene.spectrum import StackSpectrum, spectra
from front_onnx.plan.request import Request
from front_onnx.session import Session
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.types import ModelLike, Names, PathLike, Progress, ResizeOptions, several, silent

__all__ = ["DEFAULT_RATIO", "DEFAULT_SPECTRUM", "Extracted", "extract", "init", "spectrum"]

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
