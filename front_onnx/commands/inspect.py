"""front-onnx inspect"""

from __future__ import annotations

import json

import click

from front_onnx.api import inspect
from front_onnx.commands.tables import print_structure
from front_onnx.summary import describe_structure

__all__ = ["BLOCK", "RESIDUAL", "inspect_command"]

BLOCK = "First and last node (or tensor) of one repeated unit, instead of what is found. Repeatable, one per chain."
RESIDUAL = "Tensor whose axis is the residual width, instead of what is found (number AXIS of several). Repeatable."


@click.command("inspect")
@click.argument("model", type=click.Path())
@click.option("--block", metavar="NODE..NODE", multiple=True, help=BLOCK)
@click.option("--residual", metavar="TENSOR[:AXIS]", multiple=True, help=RESIDUAL)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def inspect_command(model: str, block: tuple[str, ...], residual: tuple[str, ...], as_json: bool) -> None:
    """Show the blocks and named dims of MODEL, what can be resized, and why the rest cannot.

    \b
    front-onnx inspect model.onnx
    front-onnx inspect model.onnx --json | jq .dims
    front-onnx inspect model.onnx --block /blocks.0/norm1/LayerNormalization../blocks.0/Add_1
    """
    about = describe_structure(inspect(model, residual=residual, block=block))
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        print_structure(about)
