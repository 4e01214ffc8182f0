"""front-onnx resize"""

from __future__ import annotations

import json
from typing import Any

import click
from rich.markup import escape

from front_onnx.api import Result, inspect, resize
from front_onnx.axes.size import size_of
from front_onnx.calibration.report import describe_calibration
from front_onnx.check.apart import start_ahead
from front_onnx.commands.fitting import print_table
from front_onnx.commands.folder import tell_folder
from front_onnx.commands.help import Command, Section, options
from front_onnx.commands.options import (
    ASKED,
    BY_HAND,
    CALIBRATION,
    CHECKS,
    METHOD,
    ORDERS,
    RATIO,
    REPORT,
    SIZES,
    TREAT,
    calibration,
    dims,
)
from front_onnx.commands.output import console, plain, print_steps
from front_onnx.commands.progress import shown
from front_onnx.commands.reports import check_reports, write_reports
from front_onnx.commands.tables import plan_table, print_calibration, print_inlined, print_validation
from front_onnx.errors import RequestError
from front_onnx.folders.folder import holds_models
from front_onnx.folders.resizing import resize_folder
from front_onnx.methods.scale import SCALES
from front_onnx.plan.plan import Plan
from front_onnx.report.content import resized_page
from front_onnx.report.steps import after_resize
from front_onnx.summary import describe_method, describe_plan, describe_validation

__all__ = ["resize_command", "tell"]


SCALE = Section(
    "Method",
    click.option(
        "--scale",
        type=click.Choice(SCALES),
        default="auto",
        show_default=True,
        help="How values are scaled; ortho is the paper's.",
    ),
)
FOLDERS = Section(
    "Folders",
    click.option("--skip", metavar="PATTERN", multiple=True, help="ONNX files to leave out. Repeatable."),
    click.option("--to-transformers", metavar="DIR", help="Write one that from_pretrained loads, too."),
)


@click.command("resize", cls=Command)
@click.argument("model", type=click.Path())
@options(SIZES, METHOD, ORDERS, RATIO, SCALE, CALIBRATION, CHECKS, REPORT, FOLDERS, BY_HAND, TREAT)
def resize_command(
    model: str,
    sets: tuple[str, ...],
    as_json: bool,
    no_validate: bool,
    report: str | None,
    card: bool,
    **given: Any,
) -> None:
    """Resize MODEL and carry its weights over.

    MODEL is a file, or a folder of Hugging Face or Optimum: all its ONNX files are resized alike, its config.json
    with them, and the rest is copied.

    \b
    front-onnx resize model.onnx --depth 6 --width 384 --data samples.npz
    front-onnx resize model.onnx --depth 6 --width 384 --method best
    front-onnx resize resnet101.onnx --depth 3,4,6,3
    front-onnx resize resnet50.onnx --width-mult 0.5
    front-onnx resize whisper.onnx --depth-mult 0.5 --width-mult 0.75
    front-onnx resize model.onnx --params 60M --dry-run
    front-onnx resize model.onnx --size 20MB
    front-onnx resize model.onnx --depth encoder=4,decoder=2 -o small.onnx
    front-onnx resize model.onnx --width 512 --set vocabulary=8000 --dry-run
    front-onnx resize model.onnx --depth 8 --method depth=copy,width=front
    front-onnx resize model.onnx --width 500 --round-to 8
    front-onnx resize model.onnx --width 384 --freeze ffn
    front-onnx resize model.onnx --width 96 --residual /stem/Add_output_0:1
    front-onnx resize gpt2-onnx/ --depth 6 --width 384 -o gpt2-small/
    front-onnx resize model.onnx --depth 4 --block /layer.0/norm/Div../layer.0/Add_1
    """
    skip, also, folder = given.pop("skip"), given.pop("to_transformers"), holds_models(model)
    if (skip or also) and not folder:
        raise RequestError(f"{'--skip' if skip else '--to-transformers'} is for folders, and this is none", got=model)
    if folder and (report is not None or card):
        raise RequestError("--report and --card are of one file, and this is a folder", got=model)
    check_reports(report, card, given["output"])
    if not (no_validate or given["dry_run"]):
        start_ahead()
    with shown(quiet=as_json) as progress:
        settings = calibration(given)
        if not (sets or given["ratio"] != 1 or any(given[option] is not None for option in ASKED)):
            raise _nothing_asked(model, given)
        how = {"dims": dims(sets), "calibration": settings, "validate": not no_validate, "progress": progress, **given}
        if folder:
            made = resize_folder(model, skip=skip, **how)
        else:
            result = resize(model, **how)
    if folder:
        tell_folder(made, as_json, also)
    else:
        tell(result, as_json, report, card, given["data"])


def _nothing_asked(model: str, given: dict[str, Any]) -> RequestError:
    """The error for a request without a size: what can be asked of this model."""
    structure = inspect(model, residual=given["residual"], block=given["block"])
    widths = {size_of(axis): None for axis in (*structure.residuals, structure.loose) if axis is not None}
    ways = [f"--depth ({', '.join(f'{chain.name} has {chain.depth}' for chain in structure.chains)})"]
    ways = ways if structure.chains else []
    ways += [f"--width (now {', '.join(map(str, widths))})"] if widths else []
    ways += ["--width-mult 0.5", "--params N", "--size BYTES", "or --set DIM=SIZE"]
    return RequestError("no size is asked for", hint=f"{', '.join(ways)}; front-onnx inspect {model} shows all dims")


def tell(result: Result, as_json: bool, report: str | None = None, card: bool = False, data: str | None = None) -> None:
    """Print what was done, and write the page and the card of it if they are asked for."""
    about = _about(result)
    steps = after_resize(result, data)
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        _print(result, about)
    if report is not None or card:
        write_reports(resized_page(result, steps), report, card, result.output, quiet=as_json)
    if not as_json:
        print_steps(steps)


def _about(result: Result) -> dict[str, Any]:
    source = result.plan.structure.graph.model
    return {
        "source": str(source.path),
        "output": str(result.output) if result.output else None,
        **describe_plan(result.plan, result.skeleton),
        "bytes": [source.size, result.size] if result.output else None,
        "seconds": round(result.seconds, 3),
        "validation": describe_validation(result.validation),
        "difference": dict(result.agreement.differences) if result.agreement else None,
        "calibration": describe_calibration(result.calibration),
        "grown": describe_plan(result.grown, result.skeleton) if result.grown else None,
        "decoder": str(result.decoder) if result.decoder else None,
    }


def _print(result: Result, about: dict[str, Any]) -> None:
    sizes = about["bytes"]
    if result.grown is not None:
        print_table(plan_table(about["grown"], None))
        console.print("grown without loss first, then:\n")
    print_table(plan_table(about, tuple(sizes) if sizes else None))
    console.print(
        f"\n{about['weights_resized']} weights resized, {about['weights_copied']} copied; "
        f"{about['constants_rewritten']} shape constants and {about['attributes_rewritten']} attributes rewritten; "
        f"{'to be calibrated when it is written' if result.to_fit else _methods(result.plan)}"
    )
    print_inlined(about["functions_inlined"])
    for warning in about["warnings"]:
        console.print(f"[yellow]warning[/] {escape(plain(warning))}")
    if result.output is None:
        console.print("dry run: nothing was written")
        return
    if about["validation"]:
        print_validation(about["validation"])
        if not about["validation"]["passed"]:
            console.print("[yellow]warning[/] the source model fails this check too, so the result was kept")
    if result.agreement:
        worst = result.agreement.worst
        said = "ok  " if worst <= result.agreement.rounding else "near"
        console.print(f"{said} source: outputs differ by {worst:.1e} of the largest value")
    if about["calibration"]:
        print_calibration(about["calibration"])
    if result.decoder:
        console.print(f"wrote {escape(str(result.decoder))}: outputs back to the source's sizes, one matrix for each")
    console.print(f"wrote [bold]{escape(str(result.output))}[/] in {about['seconds']:.2f} s")


def _methods(plan: Plan) -> str:
    """The methods that were used, in words."""
    deeper = any(before != after for before, after in plan.depths)
    wider = any(var.size != size for var, size in plan.sizes.items())
    used = [d for d, changed in (("depth", deeper), ("width", wider)) if changed] or ["depth", "width"]
    said = {direction: describe_method(plan, direction) for direction in used}
    scaled = any(getattr(plan.methods, direction).scaled for direction in used)
    settings = f"; scale {plan.request.scale}, ratio {plan.request.ratio:g}" if scaled else ""
    if len(set(said.values())) == 1:
        return f"method {said[used[0]]}{settings}"
    return ", ".join(f"{direction} by {name}" for direction, name in said.items()) + settings
