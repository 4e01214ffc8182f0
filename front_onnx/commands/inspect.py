"""front-onnx inspect"""

from __future__ import annotations

import json
from pathlib import Path

import click

from front_onnx.api import inspect
from front_onnx.check.baked import baked_sizes
from front_onnx.commands.help import Command, options
from front_onnx.commands.options import BY_HAND
from front_onnx.commands.output import console, print_steps
from front_onnx.commands.progress import shown
from front_onnx.commands.tables import print_gene, print_spectrum, print_structure
from front_onnx.errors import RequestError
from front_onnx.gene.describe import describe_gene
from front_onnx.gene.file import is_gene, read_gene
from front_onnx.gene.plot import plot_spectra
from front_onnx.gene.spectrum import describe_spectrum
from front_onnx.learngenes import DEFAULT_SPECTRUM, spectrum
from front_onnx.report.steps import after_inspect
from front_onnx.summary import describe_structure

__all__ = ["inspect_command"]


@click.command("inspect", cls=Command)
@click.argument("model", type=click.Path())
@options(BY_HAND)
@click.option("--spectrum", "audit", is_flag=True, help="Is there low-frequency structure in the weights?")
@click.option(
    "--ratio",
    default=DEFAULT_SPECTRUM,
    show_default=True,
    help="With --spectrum: the part of the frequencies called low.",
)
@click.option("--plot", type=click.Path(), metavar="FILE.png", help="With --spectrum: a picture (needs matplotlib).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def inspect_command(
    model: str,
    block: tuple[str, ...],
    residual: tuple[str, ...],
    audit: bool,
    ratio: float,
    plot: str | None,
    as_json: bool,
) -> None:
    """Show the blocks and named dims of MODEL, what can be resized, and why the rest cannot; or what a learngene holds.

    \b
    front-onnx inspect model.onnx
    front-onnx inspect model.onnx --json | jq .dims
    front-onnx inspect model.onnx --block /layer.0/norm/Div../layer.0/Add_1
    front-onnx inspect model.onnx --spectrum --ratio 0.5 --plot spectrum.png
    front-onnx inspect model-r0.5.safetensors
    """
    if plot and not audit:
        raise RequestError("--plot shows what --spectrum finds", hint="add --spectrum")
    steps: list[str] = []
    with shown(quiet=as_json) as progress:
        progress("understand", 0, 1)
        if audit:
            found = spectrum(model, ratio=ratio, residual=residual, block=block)
            about, show = describe_spectrum(found, ratio), print_spectrum
            if plot:
                plot_spectra(found, Path(plot))
        elif is_gene(model):
            about, show = describe_gene(read_gene(model)), print_gene
        else:
            structure = inspect(model, residual=residual, block=block)
            about, show = describe_structure(structure), print_structure
            about["baked"] = baked_sizes(model, structure.analysis)
            steps = after_inspect(structure)
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        show(about)
        if plot:
            console.print(f"wrote [bold]{plot}[/]")
        print_steps(steps)
