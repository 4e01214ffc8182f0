"""front-onnx extract"""

from __future__ import annotations

import json
from typing import Any

import click
from rich.markup import escape

from front_onnx.commands.help import Command, options
from front_onnx.commands.options import BY_HAND, TREAT
from front_onnx.commands.output import console, print_steps
from front_onnx.commands.progress import shown
from front_onnx.commands.tables import count
from front_onnx.gene.basis import BANDS
from front_onnx.gene.describe import describe_gene
from front_onnx.learngenes import DEFAULT_RATIO, extract
from front_onnx.methods.scale import SCALES
from front_onnx.report.steps import after_extract

__all__ = ["extract_command"]


@click.command("extract", cls=Command)
@click.argument("model", type=click.Path())
@click.option(
    "-o", "--output", type=click.Path(), help="Where to write; MODEL-rR.safetensors beside the model otherwise."
)
@click.option(
    "--ratio", default=DEFAULT_RATIO, show_default=True, help="Part of the frequencies kept along every axis."
)
@click.option(
    "--band",
    type=click.Choice(BANDS),
    default="low",
    show_default=True,
    help="Which frequencies; mid and high are there to compare with.",
)
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="auto",
    show_default=True,
    help="How `init` scales values unless told otherwise; ortho is the paper's.",
)
@options(BY_HAND, TREAT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def extract_command(model: str, as_json: bool, **given: Any) -> None:
    """Cut the learngene out of MODEL: a small file from which models of any size are made.

    \b
    front-onnx extract model.onnx --ratio 0.5 -o model.safetensors
    front-onnx init model.safetensors --depth 6 --width 384 -o small.onnx
    front-onnx inspect model.safetensors
    """
    with shown(quiet=as_json) as progress:
        extracted = extract(model, progress=progress, **given)
    about = {"output": str(extracted.output), "bytes": extracted.size, **describe_gene(extracted.gene)}
    if as_json:
        click.echo(json.dumps(about, indent=2))
        return
    share = about["kept"] / about["parameters"] if about["parameters"] else 1.0
    energy = "" if about["energy"] is None else f", {about['energy']:.1%} of the energy of what was cut"
    console.print(
        f"kept {count(about['kept'])} of {count(about['parameters'])} parameters ({share:.1%}) in "
        f"{len(about['stacks'])} stacks and {len(about['whole'])} whole tensors{energy}"
    )
    console.print(f"wrote [bold]{escape(about['output'])}[/], {count(about['bytes'])}B")
    print_steps(after_extract(extracted.output))
