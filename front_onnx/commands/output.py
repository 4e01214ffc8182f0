"""Everything that commands print: on one console, without control characters, at a sensible length.

Names come out of files that anybody may have written: a terminal is not to obey them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["Output", "any_encoding", "complain", "console", "new_console", "plain", "print_steps", "shortened"]

_LONGEST = 300  # characters of a name or a sentence that is shown
_LINE = 2000  # of a whole line
_PIPE = 1000  # columns where nobody looks at them: nothing is wrapped
_CONTROL = {code: "�" for code in (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F))}
_CONTROL |= {code: "�" for code in (0x200E, 0x200F, *range(0x2066, 0x206A), *range(0xD800, 0xE000))}
_IN_LINES = {code: sign for code, sign in _CONTROL.items() if code != 10}


def plain(text: str, longest: int = _LONGEST) -> str:
    """A text as one line that no terminal obeys, cut where it is too long."""
    if len(text) > longest:
        text = f"{text[: longest - 40]} ... ({len(text)} characters)"
    return text.translate(_CONTROL)


def shortened(data: Any) -> Any:
    """Plain data with every text in it made `plain`."""
    if isinstance(data, str):
        return plain(data)
    if isinstance(data, Mapping):
        return {shortened(key): shortened(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [shortened(entry) for entry in data]
    return data


class Output(Console):
    """A console that prints nothing a terminal would obey, and wraps nothing for a pipe."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and rows."""
        if (columns := os.environ.get("COLUMNS", "")).isdecimal():
            return ConsoleDimensions(int(columns), 25)
        if self.is_terminal:
            return super().size
        return ConsoleDimensions(_PIPE, 25)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        """Columns and rows that are wanted."""
        self._width, self._height = size

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of text of anything printable."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=piece.text.translate(_IN_LINES))


def new_console(stderr: bool = False) -> Output:
    """A console; with NO_COLOR in the environment it writes no escape code at all, bold and dim among them."""
    plainly = bool(os.environ.get("NO_COLOR"))
    return Output(stderr=stderr, highlight=False, color_system=None if plainly else "auto")


console = new_console()


def print_steps(steps: Iterable[str]) -> None:
    """What to do next: the last lines of a command."""
    for step in steps:
        console.print(f"next: {plain(step, _LINE)}", markup=False, soft_wrap=True)


def complain(message: str) -> None:
    """Print the one line that an error is told in."""
    click.echo(f"Error: {plain(message, _LINE)}", err=True)


def any_encoding() -> None:
    """Let streams escape what their encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
