"""What every command that takes long shows on stderr: a bar where a person looks at it, lines in a log."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from front_onnx.commands.output import console, new_console, plain
from front_onnx.summary import duration
from front_onnx.types import Progress, silent

__all__ = ["Pace", "shown", "shows_bars"]

_SECONDS = 15.0  # between two lines of a log


@contextlib.contextmanager
def shown(quiet: bool, each: bool = False) -> Iterator[Progress]:
    """A function to be told (stage, done, total), while a bar shows it.

    Args:
        quiet: show nothing.
        each: in a log, write a line for everything that is done; else one now and then.
    """
    errors = new_console(stderr=True)
    if quiet or console.quiet:
        yield silent
    elif not shows_bars(errors):
        yield _Log(errors, each)  # rich below 15 ends even a disabled bar with an empty line
    else:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        with Bar(*columns, TextColumn("{task.fields[left]}"), console=errors, transient=True) as bar:
            task, pace = bar.add_task("read", total=None, left=""), Pace()

            def progress(stage: str, done: int, total: int) -> None:
                left = "" if " left" in stage else pace.left(stage, done, total)
                bar.update(task, description=plain(stage), completed=done, total=total or None, left=left)

            yield progress


def shows_bars(errors: Console) -> bool:
    """True if somebody looks at a console that may move its cursor."""
    return errors.is_terminal and not errors.is_dumb_terminal and not os.environ.get("NO_COLOR")


class Pace:
    """How long the rest of a stage takes, by what was done of it so far."""

    def __init__(self) -> None:
        self._stage, self._first, self._done, self._began = "", 0, 0, time.monotonic()

    def left(self, stage: str, done: int, total: int) -> str:
        """About so long; nothing where nothing is done yet."""
        now = time.monotonic()
        if stage != self._stage or done < self._done:
            self._stage, self._first, self._began = stage, done, now
        self._done = done
        if not self._first < done < total:
            return ""
        return f"about {duration((now - self._began) / (done - self._first) * (total - done))} left"


class _Log:
    """Progress as lines: what is done, of how much, and how long the rest takes."""

    def __init__(self, errors: Console, each: bool) -> None:
        self._errors, self._each, self._pace = errors, each, Pace()
        self._told, self._done = time.monotonic(), 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        left = self._pace.left(stage, done, total)
        if self._each and done > self._done:
            self._write(f"{done} of {total}: {stage}")
        elif not self._each and time.monotonic() - self._told >= _SECONDS:
            self._write(", ".join(filter(None, (f"{stage} {done} of {total}" if total > 1 else stage, left))))
        self._done = done

    def _write(self, line: str) -> None:
        self._told = time.monotonic()
        self._errors.print(plain(line), markup=False, soft_wrap=True)
