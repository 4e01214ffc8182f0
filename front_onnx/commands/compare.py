"""front-onnx compare"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from front_onnx.commands.fitting import print_table
from front_onnx.commands.help import Command, Section, options
from front_onnx.commands.needs import needing_torch
from front_onnx.commands.options import ASKED, BY_HAND, CALIBRATION, SIZES, TREAT, calibration, dims
from front_onnx.commands.output import console, print_steps, shortened
from front_onnx.commands.progress import shown
from front_onnx.commands.reports import check_reports, write_reports
from front_onnx.commands.tables import count
from front_onnx.comparison.curves import plot_comparison
from front_onnx.comparison.describe import describe_comparison
from front_onnx.comparison.run import Comparison, compare
from front_onnx.comparison.teaching import Trainer
from front_onnx.pictures import check_picture
from front_onnx.report.content import comparison_page
from front_onnx.report.steps import after_compare

__all__ = ["compare_command"]

_LESS = ("KL", "cosine", "seconds", "lr", "same top", "")  # columns that go first where there is little room

COMPARED = Section(
    "What is compared",
    click.option(
        "--at",
        multiple=True,
        metavar="SIZES",
        help="One of several sizes: 'depth=3 width=192', params=30M, width-mult=0.5. Repeatable.",
    ),
    click.option(
        "--methods",
        multiple=True,
        metavar="A,B",
        help="These alone: methods, calibrated, made-up, best; with ; between them where one has a comma.",
    ),
    click.option("--validation", metavar="SAMPLES", help="Compare on these, instead of on a part of --data."),
    click.option("--labels", metavar="NAME", help="The array of labels in the .npz; 'labels' where there is one."),
)
TRAINING = Section(
    "Training",
    click.option(
        "--train",
        type=click.IntRange(min=1),
        metavar="STEPS",
        help="Also train each start for a moment: on labels, else with MODEL as teacher (needs torch).",
    ),
    click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings of each start."),
    click.option(
        "--lr",
        default="auto",
        show_default=True,
        metavar="RATE",
        help="auto (1e-3, a tenth for exact starts, a fifth for calibrated ones), auto:BASE, or one rate for all.",
    ),
    click.option("--train-device", default="auto", show_default=True, help="Of the trainings: cpu, cuda, cuda:1."),
)
FILES = Section(
    "Output",
    click.option("-o", "--output", type=click.Path(), help="Write the best one."),
    click.option("--work", type=click.Path(), metavar="DIR", help="Keep finished results; a second run goes on."),
    click.option("--plot", type=click.Path(), metavar="FILE", help="A picture of trainings and of what sizes keep."),
    click.option("--report", type=click.Path(), metavar="FILE.html", help="A page of all of it (needs jinja2)."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts."),
)


@click.command("compare", cls=Command)
@click.argument("model", type=click.Path())
@options(SIZES, COMPARED, CALIBRATION, TRAINING, FILES, BY_HAND, TREAT)
def compare_command(
    model: str,
    sets: tuple[str, ...],
    train: int | None,
    train_device: str,
    plot: str | None,
    report: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make MODEL's other sizes by every method that fits, side by side: what is each start worth?

    \b
    front-onnx compare model.onnx --depth 3 --width 192 --data samples.npz
    front-onnx compare model.onnx --depth 3 --data train.npz --train 80 --seeds 3 --plot curves.png
    front-onnx compare model.onnx --at params=30M --at params=60M --work compared
    front-onnx compare model.onnx --width 192 --methods calibrated,front,random -o best.onnx

    Each is run on samples that were held out (--hold-out, --validation), beside the source: relative error and cosine
    of every output, how often the largest entry is the same, KL, and accuracy where there are labels.
    """
    given = {name: value or None if name in ("block", "residual", "treat") else value for name, value in given.items()}
    settings = calibration(given)
    trainer = _trainer(train, train_device) if train is not None else None
    check_reports(report, card=False)
    if plot:
        check_picture(Path(plot))
    with shown(quiet=as_json, each=True) as progress:
        found = compare(model, dims=dims(sets), calibration=settings, trainer=trainer, progress=progress, **given)
    if plot:
        plot_comparison(found, Path(plot))
    about = describe_comparison(found)
    steps = after_compare(found, given["data"], _said(sets, given))
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        _print(found, about)
    if report is not None:
        write_reports(comparison_page(found, steps), report, card=False, output=None, quiet=as_json)
    if as_json:
        return
    if plot:
        console.print(f"wrote [bold]{escape(plot)}[/]")
    if found.output is not None and found.best is not None:
        console.print(f"wrote [bold]{escape(str(found.output))}[/]: {escape(found.best.method)}")
    print_steps(steps)


def _said(sets: tuple[str, ...], given: dict[str, Any]) -> list[str]:
    """The options that said the size."""
    said = [f"--{name.replace('_', '-')} {shlex.quote(str(given[name]))}" for name in ASKED if given[name] is not None]
    return [*said, *(f"--set {shlex.quote(pair)}" for pair in sets)]


def _trainer(steps: int, device: str) -> Trainer:
    """Who trains, in torch.

    Raises:
        RequestError: it is not installed.
    """
    with needing_torch("--train"):
        from front_onnx.adapters.refine.short import Short
    trainer: Trainer = Short(steps, device)
    return trainer


def _print(found: Comparison, about: dict[str, Any]) -> None:
    about = shortened(about)
    source = about["source"]
    right = "" if source["accuracy"] is None else f", accuracy {_percent(source['accuracy'])}"
    made_up = " made-up" if source["made_up"] else ""
    console.print(
        f"[bold]{escape(source['model'] or 'the source')}[/]: {count(source['parameters'])} parameters{right}; "
        f"compared on {source['held_out']}{made_up} samples, {source['samples']} others to fit on"
    )
    for warning in source["warnings"]:
        console.print(f"[yellow]warning[/] {escape(warning)}")
    for size in about["sizes"]:
        sizes = ", ".join(f"{name} {before} to {after}" for name, (before, after) in size["sizes"].items())
        console.print(f"\n[bold]{escape(sizes)}[/]: {count(size['parameters'])} parameters", soft_wrap=True)
        print_table(_table(size), drop=_LESS)
        if size["chance"]:
            console.print(size["chance"], soft_wrap=True)
        for entry in size["left_out"]:
            console.print(f"not {escape(entry['method'])}: {escape(entry['why'])}", style="dim", soft_wrap=True)
    if len(about["sizes"]) > 1:
        console.print()
        print_table(_curve(about), drop=("", "parameters"))
    if about["resumed"]:
        console.print(f"\n{about['resumed']} results are of a run before")


def _table(size: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    several = any(len(row["at_once"]["outputs"]) > 1 for row in size["methods"])
    labelled = any(row["at_once"]["accuracy"] is not None for row in size["methods"])
    trained = any(row["trained"] or row["untrained"] for row in size["methods"])
    headers = ["method", *(["output"] if several else []), "error", "cosine", "same top", "KL"]
    headers += (["accuracy"] if labelled else []) + (["trained", "lr"] if trained else []) + ["seconds", ""]
    for header in headers:
        left = header in ("method", "output", "")
        table.add_column(header, justify="left" if left else "right", overflow="fold")
    for place, row in enumerate(size["methods"]):
        equal = row["method"] in size["as_good_as_the_best"]
        name = f"[bold]{escape(row['method'])}[/]" if place == 0 or equal else escape(row["method"])
        note = "; ".join(filter(None, ("as good as the best" if equal and place else "", row["note"])))
        rest = [_percent(row["at_once"]["accuracy"])] if labelled else []
        rest += [_trained(row), f"{row['trained']['lr']:.2g}" if row["trained"] else ""] if trained else []
        rest += [f"{row['seconds']:.2f}", escape("; ".join(filter(None, (note, row["untrained"]))))]
        for output, values in row["at_once"]["outputs"].items():
            top, apart = values["top"], values["divergence"]
            cells = [name, *([escape(output)] if several else []), _number(values["error"]), _number(values["cosine"])]
            table.add_row(*cells, _percent(top), _number(apart), *rest)
            name, rest = "", [""] * len(rest)
    return table


def _trained(row: dict[str, Any]) -> str:
    """What is kept after the training, and the deviation over the seeds."""
    trained = row["trained"]
    if trained is None:
        return ""
    spread = "" if trained["deviation"] is None else f" ± {100 * trained['deviation']:.1f}"
    return f"{_percent(trained['kept'])}{spread}"


def _curve(about: dict[str, Any]) -> Table:
    """What each size keeps at best."""
    table = Table(title=f"{about['worth']} by parameters", title_justify="left", box=None, header_style="bold")
    for header in ("size", "parameters", "best method", about["worth"], ""):
        table.add_column(header, justify="right" if header in ("parameters", about["worth"]) else "left")
    for size in about["sizes"]:
        best = size["methods"][0] if size["methods"] else None
        kept = (best["trained"] or best["at_once"])["kept"] if best else None
        bar = "█" * round(20 * (kept or 0))
        name = escape(best["method"]) if best else ""
        table.add_row(escape(size["size"]), count(size["parameters"]), name, _percent(kept), bar)
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
