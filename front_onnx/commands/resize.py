"""front-onnx resize"""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from front_onnx.api import Result, resize
from front_onnx.commands.inspect import BLOCK, RESIDUAL
from front_onnx.commands.tables import console, plan_table, print_inlined, print_validation
from front_onnx.errors import FrontError
from front_onnx.plan.scale import SCALES
from front_onnx.summary import describe_plan, describe_validation

__all__ = ["resize_command"]


def _dims(pairs: tuple[str, ...]) -> dict[str, int]:
    out: dict[str, int] = {}
    for pair in pairs:
        name, _, size = pair.partition("=")
        if not name or not size.isdecimal():
            raise FrontError("--set takes DIM=SIZE", got=pair, request=True)
        if out.get(name, int(size)) != int(size):
            raise FrontError("--set gives one dim two sizes", dim=name, got=f"{out[name]} and {size}", request=True)
        out[name] = int(size)
    return out


@click.command("resize")
@click.argument("model", type=click.Path())
@click.option(
    "--depth", metavar="N[,N...]", help="Layers: one number, one per chain (3,4,6,3), or encoder=4,decoder=2."
)
@click.option(
    "--width",
    metavar="W[,W...]",
    help="Residual width; other inner dims follow. One per stage where their widths differ.",
)
@click.option("--width-mult", metavar="F", help="A factor for all inner dims at once (0.5).")
@click.option("--heads", metavar="N", help="Attention heads; the inner width still follows the residual width.")
@click.option("--head-dim", metavar="N", help="Size of each head (kept otherwise).")
@click.option(
    "--set",
    "sets",
    metavar="DIM=SIZE",
    multiple=True,
    help="Size of any named dim, see `inspect`. Repeatable.",
)
@click.option("--freeze", metavar="DIM", multiple=True, help="Keep a named dim whatever the width does. Repeatable.")
@click.option(
    "--round-to",
    type=click.IntRange(min=1),
    metavar="N",
    help="Round widths that follow to multiples of N, heads to whole heads. Nothing is rounded otherwise.",
)
@click.option("--residual", metavar="TENSOR[:AXIS]", multiple=True, help=RESIDUAL)
@click.option("--block", metavar="NODE..NODE", multiple=True, help=BLOCK)
@click.option("--ratio", default=1.0, show_default=True, help="Part of the low frequencies kept along every axis.")
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="auto",
    show_default=True,
    help="How values are scaled; ortho is the paper's.",
)
@click.option("-o", "--output", type=click.Path(), help="Where to write; MODEL-dN-wW.onnx beside the model otherwise.")
@click.option("--dry-run", is_flag=True, help="Print the plan, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option("--no-validate", is_flag=True, help="Leave out the checks of the result.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="For the inputs of the checks; nothing else is random.",
)
def resize_command(model: str, sets: tuple[str, ...], as_json: bool, no_validate: bool, **options: Any) -> None:
    """Resize MODEL and carry its weights over.

    \b
    front-onnx resize model.onnx --depth 6 --width 384
    front-onnx resize resnet101.onnx --depth 3,4,6,3
    front-onnx resize resnet50.onnx --width-mult 0.5
    front-onnx resize model.onnx --depth encoder=4,decoder=2 -o small.onnx
    front-onnx resize model.onnx --width 512 --set vocabulary=8000 --dry-run
    front-onnx resize model.onnx --width 500 --round-to 8
    front-onnx resize model.onnx --width 384 --freeze ffn
    front-onnx resize model.onnx --width 96 --residual /stem/Add_output_0:1
    front-onnx resize model.onnx --depth 4 --block /blocks.0/norm1/LayerNormalization../blocks.0/Add_1
    """
    bars = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=bars,
        transient=True,
        disable=as_json or not bars.is_terminal,
    ) as bar:
        task = bar.add_task("read", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        result = resize(model, dims=_dims(sets), validate=not no_validate, progress=progress, **options)
    about = _about(result)
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        _print(result, about)


def _about(result: Result) -> dict[str, Any]:
    source = result.plan.structure.graph.model
    return {
        "source": str(source.path),
        "output": str(result.output) if result.output else None,
        **describe_plan(result.plan, result.skeleton),
        "bytes": [source.size, result.size] if result.output else None,
        "seconds": round(result.seconds, 3),
        "validation": describe_validation(result.validation),
    }


def _print(result: Result, about: dict[str, Any]) -> None:
    sizes = about["bytes"]
    console.print(plan_table(about, tuple(sizes) if sizes else None))
    console.print(
        f"\n{about['weights_resized']} weights resized, {about['weights_copied']} copied; "
        f"{about['constants_rewritten']} shape constants and {about['attributes_rewritten']} attributes rewritten; "
        f"scale {about['scale']}, ratio {about['ratio']:g}"
    )
    print_inlined(about["functions_inlined"])
    for warning in about["warnings"]:
        console.print(f"[yellow]warning[/] {escape(warning)}")
    if result.output is None:
        console.print("dry run: nothing was written")
        return
    if about["validation"]:
        print_validation(about["validation"])
        if not about["validation"]["passed"]:
            console.print("[yellow]warning[/] the source model fails this check too, so the result was kept")
    console.print(f"wrote [bold]{escape(str(result.output))}[/] in {about['seconds']:.2f} s")
