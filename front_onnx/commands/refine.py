"""front-onnx refine"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from front_onnx.commands.fitting import print_table
from front_onnx.commands.help import Command, Section, options
from front_onnx.commands.needs import needing_torch
from front_onnx.commands.options import REPORT
from front_onnx.commands.output import console, new_console, plain, print_steps
from front_onnx.commands.progress import shows_bars
from front_onnx.commands.reports import check_reports, write_reports
from front_onnx.commands.tables import count, print_inlined
from front_onnx.report.content import refined_page
from front_onnx.report.refined import refined_figures, which_epoch
from front_onnx.report.steps import after_refine

__all__ = ["refine_command"]

TASK = Section(
    "Task and teacher",
    click.option(
        "--loss",
        default="cross-entropy",
        show_default=True,
        metavar="LOSS",
        help="cross-entropy, next-token, masked-token, mse, or package.module:function(outputs, batch).",
    ),
    click.option(
        "--output-name",
        "output_name",
        metavar="NAME",
        help="The graph's output that the loss reads; its first otherwise.",
    ),
    click.option("--label-smoothing", type=float, default=0.0, show_default=True, help="Of cross-entropies."),
    click.option(
        "--mask-token", type=int, metavar="ID", help="masked-token without labels: the token that masks 15 %."
    ),
    click.option("--mask-share", type=float, default=0.15, show_default=True, help="How many tokens are masked."),
    click.option(
        "--teacher",
        type=click.Path(),
        metavar="TEACHER.onnx",
        help="Imitate its outputs as well: KL on logits, or squared error where there are no labels.",
    ),
    click.option("--temperature", type=float, default=1.0, show_default=True, help="Of the teacher's logits."),
    click.option("--distill-weight", type=float, default=1.0, show_default=True, help="Of the teacher's term."),
)
SPECTRAL = Section(
    "Low frequencies",
    click.option(
        "--lambda",
        "lam",
        type=float,
        default=2e-3,
        show_default=True,
        help="Weight of the spectral penalty (Eq. 7); 0 trains without it.",
    ),
    click.option(
        "--gamma", type=float, default=0.25, show_default=True, help="Decay of its mask along widths (Eq. 6)."
    ),
    click.option("--gamma-depth", type=float, help="Along the depth; two layers otherwise, as in the paper."),
    click.option(
        "--reduction",
        type=click.Choice(("mean", "sum")),
        default="sum",
        show_default=True,
        help="Of the penalty over coefficients: with the mean, as in Eq. 5, it needs a far larger lambda.",
    ),
    click.option(
        "--every",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Evaluate the penalty in one of N steps.",
    ),
    click.option("--from-scratch", is_flag=True, help="FRONT+: start from random weights instead of the given ones."),
    click.option("--ratio", type=float, help="Also extract a learngene of this ratio from the result."),
)
TRAINING = Section(
    "Training",
    click.option("--epochs", type=int, default=20, show_default=True),
    click.option("--batch-size", type=int, default=128, show_default=True, help="Over all processes."),
    click.option(
        "--accumulate",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Batches of each step of the optimizer: the step of a batch N times as large, in the memory of one.",
    ),
    click.option(
        "--lr",
        default="auto",
        show_default=True,
        metavar="RATE",
        help="Of AdamW, after the warm-up. auto: 5e-4, a fifth for what was calibrated, a tenth for lossless growth.",
    ),
    click.option("--weight-decay", type=float, default=0.05, show_default=True),
    click.option(
        "--warmup", type=float, default=0.5, show_default=True, help="Epochs of warm-up before the cosine decay."
    ),
    click.option(
        "--clip", type=float, default=1.0, show_default=True, help="Largest norm of the gradients; 0 for none."
    ),
    click.option(
        "--train",
        multiple=True,
        metavar="PATTERN",
        help="Train constants of such names whatever they look like. Repeatable.",
    ),
    click.option(
        "--freeze", multiple=True, metavar="PATTERN", help="Leave weights of such names as they are. Repeatable."
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1."),
    click.option(
        "--amp", type=click.Choice(("off", "bf16", "fp16")), default="off", show_default=True, help="Mixed precision."
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
)
FILES = Section(
    "Data and output",
    click.option(
        "--data",
        required=True,
        metavar="TRAIN",
        help="An .npz with arrays named as the graph's inputs, and labels; or package.module:function for batches.",
    ),
    click.option(
        "--validation",
        metavar="DATA",
        help="Held out: measured before the first epoch and after each; the best epoch is written.",
    ),
    click.option("--last", is_flag=True, help="Write the last epoch, although another was better on --validation."),
    click.option(
        "-o", "--output", type=click.Path(), help="Where to write; MODEL-refined.onnx beside the model otherwise."
    ),
    click.option(
        "--run-dir",
        type=click.Path(),
        metavar="DIR",
        help="For checkpoint.pt and log.jsonl; OUTPUT-run beside the output otherwise.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the checkpoint in the run's folder."),
    click.option("--restart", is_flag=True, help="Begin anew although that folder holds a run that did not end."),
    click.option("--plot", type=click.Path(), metavar="FILE", help="A picture of losses, gradients and energies."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts."),
)


@click.command("refine", cls=Command)
@click.argument("model", type=click.Path())
@options(FILES, REPORT, TASK, SPECTRAL, TRAINING)
def refine_command(
    model: str, as_json: bool, output_name: str | None, report: str | None, card: bool, **given: Any
) -> None:
    """Train MODEL itself, without its source code: with a teacher, on labels, or both.

    It minimises (1 - lambda) L_task + lambda L_reg, so that its learngene is worth more, too (FRONT++); --lambda 0
    leaves that out.

    \b
    front-onnx refine model.onnx --data train.npz --validation test.npz -o refined.onnx
    front-onnx refine model.onnx --data train.npz -o refined.onnx --resume
    front-onnx refine bert.onnx --data tokens.npz --loss masked-token --mask-token 103
    front-onnx refine small.onnx --data inputs.npz --teacher model.onnx
    torchrun --nproc-per-node 2 -m front_onnx refine model.onnx --data train.npz

    What is written differs from MODEL in its weights, and says where it comes from. After each epoch a checkpoint is
    written; Ctrl-C keeps the last one. Needs PyTorch: pip install 'front-onnx[torch]'.
    """
    with needing_torch("refine"):
        from front_onnx.adapters.refine import refine
    leads = os.environ.get("RANK", "0") == "0"
    check_reports(report, card, given["output"])
    with _told(quiet=as_json or not leads) as tell:
        refined = refine(model, tell=tell, output_name=output_name, **given)
    if not leads:
        return
    about = {
        "inlined": refined.inlined,
        "output": str(refined.output),
        "log": str(refined.log),
        "checkpoint": str(refined.checkpoint),
        "learngene": str(refined.gene.output) if refined.gene else None,
        "trained": len(refined.learned),
        "kept": refined.kept,
        "run": refined.about,
        "history": refined.history,
        "rate": refined.rate,
        "epoch": refined.epoch,
        "labelled": refined.labelled,
        "teacher": str(refined.teacher) if refined.teacher else None,
    }
    steps = after_refine(about)
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        _summary(about, refined.single, refined.unsaid)
    if report is not None or card:
        write_reports(refined_page(about, model, steps), report, card, refined.output, quiet=as_json)
    if not as_json:
        print_steps(steps)


@contextlib.contextmanager
def _told(quiet: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What shows steps as a bar on stderr, and epochs as lines."""
    errors, quiet = new_console(stderr=True), quiet or console.quiet
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    watched = shows_bars(errors) and not quiet
    bar = Progress(*columns, console=errors, transient=True, disable=not watched)
    with bar if watched else contextlib.nullcontext():  # rich below 15 ends even a disabled bar with an empty line
        shown = bar.add_task("prepare", total=None, said="")

        def tell(event: dict[str, Any]) -> None:
            if event["event"] == "step":
                said = (
                    f"loss {event['task']:.4f}  "
                    f"{event['metric_name']} {event['metric']:.4f}  "
                    f"{event['samples_per_second']:.0f}/s  {event['seconds_left']:.0f} s left"
                )
                title = f"epoch {event['epoch']}"
                bar.update(shown, description=title, completed=event["step"], total=event["steps"], said=said)
            elif not quiet:
                errors.print(_line(event), highlight=False, soft_wrap=True)

        yield tell


def _line(record: dict[str, Any]) -> str:
    """One epoch in one line."""
    parts = [f"epoch {record['epoch']}"]
    for key, name, form in (
        ("task", "loss", ".4f"),
        ("teacher_error", "error to the teacher", ".4f"),
        ("metric", record["metric_name"], ".4f"),
        ("validation_loss", "validation loss", ".4f"),
        ("validation_metric", f"validation {record['metric_name']}", ".4f"),
        ("low_energy", "low band", ".4f"),
        ("samples_per_second", "samples/s", ".0f"),
    ):
        if record.get(key) is not None:
            parts.append(f"{name} {record[key]:{form}}")
    return "  ".join(parts)


def _summary(about: dict[str, Any], single: frozenset[str], unsaid: frozenset[str]) -> None:
    table = Table(
        title=f"{about['trained']} weights trained, {about['rate']}",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for header in ("", "before", "after"):
        table.add_column(header, justify="right" if header else "left")
    for row in refined_figures(about):
        table.add_row(*row)
    print_table(table)
    console.print(escape(plain(which_epoch(about))), soft_wrap=True)
    kept = about["kept"]
    if single:
        console.print(f"{count(len(single))} single numbers were left as they are (--train PATTERN trains them)")
    others = {name: why for name, why in kept.items() if name not in single | unsaid}
    for name, why in list(others.items())[:8]:
        console.print(f"left as it is: {escape(name)}: {escape(why)}", soft_wrap=True)
    if len(others) > 8:
        console.print(f"and {len(others) - 8} more")
    print_inlined(about["inlined"])
    console.print(f"wrote [bold]{escape(about['output'])}[/], log {escape(about['log'])}", soft_wrap=True)
    if about["learngene"]:
        console.print(f"wrote the learngene [bold]{escape(about['learngene'])}[/]", soft_wrap=True)
