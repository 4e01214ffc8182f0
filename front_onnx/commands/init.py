"""front-onnx init"""

from __future__ import annotations

import json
from typing import Any

import click
from rich.markup import escape

from front_onnx.calibration.report import describe_calibration
from front_onnx.commands.help import Command, Section, options
from front_onnx.commands.options import (
    BY_HAND,
    CALIBRATION,
    CHECKS,
    METHOD,
    REPORT,
    SIZES,
    TREAT,
    calibration,
    dims,
)
from front_onnx.commands.output import console, print_steps
from front_onnx.commands.progress import shown
from front_onnx.commands.reports import check_reports, write_reports
from front_onnx.commands.resize import tell
from front_onnx.commands.tables import print_calibration, print_matches, print_validation
from front_onnx.errors import RequestError
from front_onnx.into import Moved, calibrate, init_into
from front_onnx.learngenes import init
from front_onnx.match.describe import describe_matches
from front_onnx.methods.scale import SCALES
from front_onnx.report.content import moved_page
from front_onnx.report.steps import after_init_into
from front_onnx.summary import describe_validation

__all__ = ["init_command"]

_ONLY_SIZES = (
    "depth",
    "width",
    "width_mult",
    "heads",
    "head_dim",
    "freeze",
    "round_to",
    "depth_mult",
    "exact",
    "params",
    "size",
    "block",
    "residual",
    "treat",
)


INTO = Section(
    "Into a model that you exported",
    click.option(
        "--into", type=click.Path(), metavar="TARGET.onnx", help="The model: its weights are set by their role."
    ),
    click.option(
        "--from", "source", type=click.Path(), metavar="SOURCE.onnx", help="Take a model's weights, not a learngene's."
    ),
    click.option("--map", "mapping", type=click.Path(), metavar="FILE", help="JSON: target to source tensor."),
)
SCALE = Section(
    "Method",
    click.option("--scale", type=click.Choice(SCALES), help="How values are scaled; as the learngene says otherwise."),
)


@click.command("init", cls=Command)
@click.argument("gene", type=click.Path(), required=False)
@options(INTO, SIZES, METHOD, SCALE, CALIBRATION, CHECKS, REPORT, BY_HAND, TREAT)
def init_command(
    gene: str | None,
    into: str | None,
    source: str | None,
    mapping: str | None,
    sets: tuple[str, ...],
    as_json: bool,
    no_validate: bool,
    report: str | None,
    card: bool,
    **given: Any,
) -> None:
    """Make a model of any size of the learngene GENE, or initialise a model that you exported.

    \b
    front-onnx extract model.onnx --ratio 0.5 -o model.safetensors
    front-onnx init model.safetensors --depth 6 --width 384 -o small.onnx
    front-onnx init model.safetensors --depth 12 -o deep.onnx
    front-onnx init model.safetensors --into mine.onnx --dry-run
    front-onnx init --from bert.onnx --into gpt2-small.onnx -o gpt2-init.onnx
    front-onnx init --from bert.onnx --into small-bert.onnx --data texts.txt

    With --into weights are matched by structure and role (query, key, value, norms ...), not by name. What has no
    counterpart keeps the target's values and is listed; --map overrides: {"TARGET TENSOR": "SOURCE TENSOR" or null}.

    With --data they are calibrated: fitted to what the source computes of the samples. That takes the source model; of
    several starts, the target's own values among them, the one that keeps most on held-out samples is written.
    """
    check_reports(report, card, given["output"])
    start = source if gene is None else gene
    if start is None or (gene is not None and source is not None):
        raise RequestError("name one source: a learngene, or --from SOURCE.onnx")
    given = {name: value or None if name in ("block", "residual", "treat") else value for name, value in given.items()}
    settings, data = calibration(given), given.pop("data")
    if into is None:
        if data is not None:
            hint = "front-onnx resize SOURCE.onnx --data SAMPLES, or init SOURCE.onnx --into TARGET.onnx --data SAMPLES"
            raise RequestError("calibration runs the source on samples, and a learngene does not run", hint=hint)
        if gene is None or mapping is not None:
            wrong = "--from" if gene is None else "--map"
            raise RequestError(f"{wrong} goes with --into", hint="front-onnx resize resizes a model")
        with shown(quiet=as_json) as progress:
            result = init(gene, dims=dims(sets), validate=not no_validate, progress=progress, **given)
        tell(result, as_json, report, card)
        return
    asked = [name for name in _ONLY_SIZES if given.pop(name)] + ["set"] * bool(sets)
    if asked:
        wrong = f"--{asked[0].replace('_', '-')}"
        raise RequestError(f"{wrong} says nothing with --into: the target has its sizes")
    with shown(quiet=as_json) as progress:
        given |= {"mapping": mapping, "validate": not no_validate, "progress": progress}
        if data is None:
            moved = init_into(start, into, **given)
        else:
            moved = calibrate(start, into, data, calibration=settings, **given)
    steps = after_init_into(moved, start, into)
    _tell(moved, as_json)
    if report is not None or card:
        write_reports(moved_page(moved, start, into, steps), report, card, moved.output, quiet=as_json)
    if not as_json:
        print_steps(steps)


def _tell(moved: Moved, as_json: bool) -> None:
    rows = describe_matches(moved.matches)
    unused = [{"where": piece.where, "role": str(piece.role), "source": piece.tensors[0]} for piece in moved.unused]
    output = str(moved.output) if moved.output else None
    about: dict[str, Any] = {
        "output": output,
        "matches": rows,
        "unused": unused,
        "validation": describe_validation(moved.validation),
        "calibration": describe_calibration(moved.calibration),
        "decoder": str(moved.decoder) if moved.decoder else None,
    }
    if as_json:
        click.echo(json.dumps(about, indent=2))
        return
    print_matches(rows, unused)
    if output is None:
        console.print("dry run: nothing was written")
        return
    if about["validation"]:
        print_validation(about["validation"])
    if about["calibration"]:
        print_calibration(about["calibration"])
    if moved.decoder:
        console.print(f"wrote {escape(str(moved.decoder))}: outputs back to the source's sizes, one matrix for each")
    console.print(f"wrote [bold]{escape(output)}[/]")
