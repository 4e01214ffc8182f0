"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import click

from front_onnx.calibration.candidates import RIDGES
from front_onnx.calibration.settings import CalibrationSettings, in_bytes
from front_onnx.commands.help import Section
from front_onnx.errors import RequestError
from front_onnx.plan.request import BANDS

__all__ = [
    "ASKED",
    "BY_HAND",
    "CALIBRATION",
    "CHECKS",
    "METHOD",
    "RATIO",
    "REPORT",
    "SIZES",
    "TREAT",
    "calibration",
    "dims",
]

BLOCK = "First and last node (or tensor) of one repeated unit, instead of what is found. Repeatable, one per chain."
RESIDUAL = "Tensor whose axis is the residual width, instead of what is found (number AXIS of several). Repeatable."

SIZES = Section(
    "Sizes",
    click.option(
        "--depth",
        metavar="N[,N...]",
        help="Layers: one number for chains of one depth, one per chain (3,4,6,3), or encoder=4,decoder=2.",
    ),
    click.option("--depth-mult", metavar="F", help="A factor for the depth of every chain (0.5), rounded."),
    click.option(
        "--width",
        metavar="W[,W...]",
        help="Residual width; other inner dims follow. One per stage where their widths differ.",
    ),
    click.option("--width-mult", metavar="F", help="A factor for all inner dims (0.5), rounded to whole sizes."),
    click.option("--heads", metavar="N", help="Attention heads; the inner width still follows the residual width."),
    click.option("--head-dim", metavar="N", help="Size of each head (kept otherwise)."),
    click.option(
        "--set",
        "sets",
        metavar="DIM=SIZE",
        multiple=True,
        help="Size of any named dim, see `inspect`. Repeatable.",
    ),
    click.option(
        "--freeze", metavar="DIM", multiple=True, help="Keep a named dim whatever the width does. Repeatable."
    ),
    click.option(
        "--round-to",
        type=click.IntRange(min=1),
        metavar="N",
        help="Round widths that follow to multiples of N, heads to whole heads.",
    ),
    click.option("--exact", is_flag=True, help="Refuse what a factor would round, or keep because it cannot follow."),
    click.option("--params", metavar="N", help="A number of parameters (60M): the nearest sizes of these proportions."),
    click.option("--size", metavar="BYTES", help="The size of the file (20MB), likewise."),
)

ASKED = ("depth", "depth_mult", "width", "width_mult", "heads", "head_dim", "params", "size")

BY_HAND = Section(
    "What is found, by hand",
    click.option("--residual", metavar="TENSOR[:AXIS]", multiple=True, help=RESIDUAL),
    click.option("--block", metavar="NODE..NODE", multiple=True, help=BLOCK),
)


def _treat(context: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """What `--treat NAME=KIND` says.

    Raises:
        RequestError: not of this form.
    """
    out: dict[str, str] = {}
    for pair in pairs:
        name, _, kind = pair.rpartition("=")
        if not name or not kind:
            raise RequestError("--treat takes NAME=KIND", got=pair)
        out[name] = kind
    return out


TREAT = Section(
    "What is found, by hand",
    click.option(
        "--treat",
        metavar="NAME=KIND",
        multiple=True,
        callback=_treat,
        help="What a constant is, instead of what is found: weight, bias, embedding, mask or fixed. Repeatable.",
    ),
)

METHOD = Section(
    "Method",
    click.option(
        "--method",
        default="front",
        show_default=True,
        metavar="NAME",
        help="How weights are carried over, or depth=NAME,width=NAME; best takes what serves each direction.",
    ),
    click.option(
        "--symmetry",
        default=0.0,
        show_default=True,
        metavar="S",
        help="How unequal the shares of copies are, from 0 to below 1, so that they part in training.",
    ),
)

ORDERS = Section(
    "Method",
    click.option(
        "--align", is_flag=True, help="Before blocks are mixed, match units and heads to those of the block before."
    ),
    click.option("--order", is_flag=True, help="Before their number changes, put units and heads beside those alike."),
)

RATIO = Section(
    "Method",
    click.option(
        "--ratio", default=1.0, show_default=True, help="Part of the frequencies kept along every axis (front, bases)."
    ),
    click.option(
        "--band",
        type=click.Choice(BANDS),
        default="low",
        show_default=True,
        help="Which frequencies those are; mid and high are to compare with.",
    ),
)

CALIBRATION = Section(
    "Calibration",
    click.option(
        "--data",
        metavar="SAMPLES",
        help="Unlabeled inputs to calibrate on: an .npz, a folder of arrays or pictures, a text file, "
        "package.module:function; or synthetic, which makes some up.",
    ),
    click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Samples to calibrate on at most."),
    click.option(
        "--ridge",
        "ridges",
        type=float,
        multiple=True,
        metavar="R",
        help="How far weights are held where they are; of several each layer takes the best [0.005, 0.05, 0.5].",
    ),
    click.option(
        "--hold-out", type=float, default=0.1, show_default=True, metavar="P", help="Part of the samples to compare on."
    ),
    click.option(
        "--memory",
        default="1G",
        show_default=True,
        metavar="SIZE",
        help="Activations kept in memory; more goes into temporary files.",
    ),
    click.option("--device", default="cpu", show_default=True, help="What onnxruntime runs on: cpu, cuda, cuda:1."),
)


def calibration(given: dict[str, Any]) -> CalibrationSettings:
    """What the options of a calibration say, taken out of what was given to a command.

    Raises:
        RequestError: a number is out of range.
    """
    return CalibrationSettings(
        samples=given.pop("samples"),
        hold_out=given.pop("hold_out"),
        memory=in_bytes(given.pop("memory")),
        ridges=tuple(given.pop("ridges")) or RIDGES,
        device=given.pop("device"),
    )


CHECKS = Section(
    "Output and checks",
    click.option(
        "-o", "--output", type=click.Path(), help="Where to write; MODEL-dN-wW.onnx beside the model otherwise."
    ),
    click.option("--dry-run", is_flag=True, help="Print the plan, write nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts."),
    click.option("--no-validate", is_flag=True, help="Leave out the checks of the result."),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="For the inputs of the checks, and for methods that draw numbers.",
    ),
)

REPORT = Section(
    "Output and checks",
    click.option(
        "--report", type=click.Path(), metavar="FILE.html", help="A page of all that was done (needs jinja2)."
    ),
    click.option("--card", is_flag=True, help="A model card OUT.md beside the output."),
)


def dims(pairs: tuple[str, ...]) -> dict[str, int]:
    """What `--set DIM=SIZE` says.

    Raises:
        RequestError: not of this form, or two sizes for one dim.
    """
    out: dict[str, int] = {}
    for pair in pairs:
        name, _, size = pair.partition("=")
        if not name or not size.isdecimal():
            raise RequestError("--set takes DIM=SIZE", got=pair)
        if out.get(name, int(size)) != int(size):
            raise RequestError("--set gives one dim two sizes", dim=name, got=f"{out[name]} and {size}")
        out[name] = int(size)
    return out
