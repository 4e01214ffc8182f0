"""What became of a folder, printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from front_onnx.api import Result
from front_onnx.calibration.report import describe_calibration
from front_onnx.commands.fitting import print_table
from front_onnx.commands.output import console, plain
from front_onnx.commands.tables import plan_table, print_calibration, print_validation
from front_onnx.folders.resizing import FolderResult
from front_onnx.summary import describe_plan, describe_validation

__all__ = ["tell_folder"]

_LONGEST = 2000  # characters of a line that lists things


def _for_transformers(folder: Path, output: str) -> dict[str, Any]:
    """Write a folder for `transformers`, as plain data what was done."""
    from front_onnx.adapters.transformers import to_transformers  # torch and transformers are slow to import

    loaded = to_transformers(folder, output)
    return {
        "output": str(loaded.output),
        "architecture": loaded.architecture,
        "parameters_set": len(loaded.report.set),
        "parameters_kept": dict(loaded.report.kept),
        "difference": loaded.difference,
    }


def tell_folder(made: FolderResult, as_json: bool, also: str | None) -> None:
    """Print what became of a folder; write it for `transformers` too, if a place for that is named."""
    wanted = None if also is None or made.output is None else (made.output, also)
    if as_json:
        loaded = _for_transformers(*wanted) if wanted is not None else None
        click.echo(json.dumps({**_folder(made), "transformers": loaded}, indent=2))
        return
    _print(made)
    if wanted is not None:
        loaded = _for_transformers(*wanted)
        kept = "".join(f"; {escape(plain(name))} is new" for name in loaded["parameters_kept"])
        console.print(
            f"wrote [bold]{escape(loaded['output'])}[/] for {loaded['architecture']}.from_pretrained: "
            f"{loaded['parameters_set']} parameters set{kept}; outputs differ by {loaded['difference']:.1e}"
        )


def _print(made: FolderResult) -> None:
    for name, result in made.results.items():
        about = _about(result)
        console.print(f"[bold]{escape(plain(str(name)))}[/]")
        print_table(plan_table(about, tuple(about["bytes"]) if about["bytes"] else None))
        for warning in about["warnings"]:
            console.print(f"[yellow]warning[/] {escape(plain(warning))}")
        if result.calibration is not None:
            print_calibration(describe_calibration(result.calibration) or {})
        if result.validation is not None and not result.validation.passed:
            print_validation(describe_validation(result.validation) or {})
        console.print()
    for name, changes in made.configs.items():
        said = ", ".join(f"{change.key} {change.before} -> {change.after}" for change in changes.changed)
        console.print(escape(plain(f"{name}: {said or 'nothing to change'}", _LONGEST)))
        for change in changes.doubtful:
            line = f"{name}: {change.key} is {change.before} and was not changed, though a size that it may be did"
            console.print(f"[yellow]warning[/] {escape(plain(line))}")
    for name, why in made.left.items():
        console.print(f"left out {escape(plain(str(name)))}: {escape(plain(why))}")
    if made.copied:
        console.print(f"copied {escape(plain(', '.join(map(str, made.copied)), _LONGEST))}")
    console.print(
        "dry run: nothing was written" if made.output is None else f"wrote [bold]{escape(str(made.output))}[/]"
    )


def _folder(made: FolderResult) -> dict[str, Any]:
    return {
        "output": str(made.output) if made.output else None,
        "models": {str(name): _about(result) for name, result in made.results.items()},
        "configs": {
            str(name): {
                "changed": {change.key: [change.before, change.after] for change in changes.changed},
                "doubtful": {change.key: change.before for change in changes.doubtful},
            }
            for name, changes in made.configs.items()
        },
        "left_out": {str(name): why for name, why in made.left.items()},
        "copied": [str(name) for name in made.copied],
    }


def _about(result: Result) -> dict[str, Any]:
    return {
        **describe_plan(result.plan, result.skeleton),
        "bytes": [result.plan.structure.graph.model.size, result.size] if result.output else None,
        "validation": describe_validation(result.validation),
    }
