"""front-onnx inspect"""

from __future__ import annotations

import json

import click

from front_onnx.api import inspect
from front_onnx.commands.tables import print_structure
from front_onnx.summary import describe_structure

__all__ = ["inspect_command"]


@click.command("inspect")
@click.argument("model", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def inspect_command(model: str, as_json: bool) -> None:
    """Show the blocks and named dims of MODEL, what can be resized, and why the rest cannot.

    \b
    front-onnx inspect model.onnx
    front-onnx inspect model.onnx --json | jq .dims
    """
    about = describe_structure(inspect(model))
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        print_structure(about)
