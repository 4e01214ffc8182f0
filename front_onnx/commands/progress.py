"""The progress bar of every command that takes long, on stderr, and only where a person looks at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from front_onnx.types import Progress, silent

__all__ = ["shown"]


@contextlib.contextmanager
def shown(quiet: bool) -> Iterator[Progress]:
    """A function to be told (stage, done, total), while a bar shows it."""
    bars = Console(stderr=True)
    if quiet or not bars.is_terminal:
        yield silent  # rich below 15 ends even a disabled bar with an empty line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(compact=True))
    with Bar(*columns, console=bars, transient=True) as bar:
        task = bar.add_task("read", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield progress
