"""front-onnx init"""

from __future__ import annotations

from typing import Any

import click

from front_onnx.commands.options import BY_HAND, CHECKS, SIZES, dims, options
from front_onnx.commands.progress import shown
from front_onnx.commands.resize import tell
from front_onnx.learngenes import init
from front_onnx.plan.scale import SCALES

__all__ = ["init_command"]


@click.command("init")
@click.argument("gene", type=click.Path())
@options(SIZES, BY_HAND)
@click.option("--scale", type=click.Choice(SCALES), help="How values are scaled; as the learngene says otherwise.")
@options(CHECKS)
def init_command(gene: str, sets: tuple[str, ...], as_json: bool, no_validate: bool, **given: Any) -> None:
    """Make a model of any size of the learngene GENE.

    \b
    front-onnx extract model.onnx --ratio 0.5 -o model.safetensors
    front-onnx init model.safetensors --depth 6 --width 384 -o small.onnx
    front-onnx init model.safetensors --depth 12 -o deep.onnx
    """
    given = {name: value or None if name in ("block", "residual") else value for name, value in given.items()}
    with shown(quiet=as_json) as progress:
        result = init(gene, dims=dims(sets), validate=not no_validate, progress=progress, **given)
    tell(result, as_json)
