"""Helps: options in sections, examples that can be pasted, exit codes; whole words at any width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from front_onnx.commands.output import console

__all__ = ["Command", "Formatter", "Section", "options", "write_codes", "write_commands", "write_help"]

_Decorator = Callable[[Any], Any]
_NARROW = 76  # columns: below, what an option means stands under it
_AS_IS = "\b"  # click's mark of a paragraph that is not filled
_PAIR = re.compile(r"(?<= )(--?[a-z-]+) (?!-)")  # an option and the space before its value
_SECTION = "front_onnx_section"  # of an option
_CODES = "0 done, 2 wrong request, 1 failure, 130 interrupted"


class Section:
    """Options under one title in a help.

    Args:
        title: what they are about.
        options: made by `click.option`.
    """

    def __init__(self, title: str, *options: _Decorator) -> None:
        self.title, self.options = title, options

    def __call__(self, command: Any) -> Any:
        """Add them to a command that is being declared, the last one first, as decorators go."""
        for option in reversed(self.options):
            command = option(command)
            setattr(command.__click_params__[-1], _SECTION, self.title)
        return command


def options(*sections: Section) -> _Decorator:
    """Add sections of options to a command, in their order in the help."""

    def add(command: Any) -> Any:
        for section in reversed(sections):
            command = section(command)
        return command

    return add


class Formatter(click.HelpFormatter):
    """Breaks lines between words alone."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        self._lines(text.split("\n"), self.current_indent)

    def write_example(self, lines: Iterable[str]) -> None:
        """Write commands, one a line; what is too long goes on behind a backslash, as a shell reads it."""
        for line in lines:
            bound = _PAIR.sub("\\1\N{NO-BREAK SPACE}", line)
            pieces = _whole(bound, self.width - self.current_indent - 2, "    ")
            for place, piece in enumerate(pieces):
                end = " \\\n" if place + 1 < len(pieces) else "\n"
                self.write(f"{'':>{self.current_indent}}{piece}{end}".replace("\N{NO-BREAK SPACE}", " "))

    def _lines(self, lines: Iterable[str], indent: int) -> None:
        for piece in _whole(" ".join(" ".join(lines).split()), self.width - indent):
            self.write(f"{'':>{indent}}{piece}\n")

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how a command is called."""
        self._lines([f"{prefix or 'Usage: '}{prog} {args}"], self.current_indent)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what they are: side by side, or one under the other where there is little room."""
        rows = [*rows]
        names = [len(name) for name, _ in rows if len(name) <= col_max - col_spacing]
        side = self.width >= _NARROW
        start = self.current_indent + (max(names, default=0) + col_spacing if side else 4)
        for name, text in rows:
            lead = f"{'':>{self.current_indent}}{name}"
            lines = _whole(" ".join(text.split()), self.width - start)
            if side and lines and len(lead) + col_spacing <= start:
                self.write(f"{lead:<{start}}{lines.pop(0)}\n")
            else:
                self.write(f"{lead}\n")
            for line in lines:
                self.write(f"{'':>{start}}{line}\n")


def _whole(text: str, width: int, after: str = "") -> list[str]:
    """Lines of whole words."""
    return textwrap.wrap(text, width, subsequent_indent=after, break_long_words=False, break_on_hyphens=False)


class Context(click.Context):
    """Where helps are written by a `Formatter`."""

    formatter_class = Formatter


class Command(click.Command):
    """A command that has --quiet, and whose help has sections, whole words and exit codes."""

    context_class = Context

    def __init__(self, *args: Any, codes: str = _CODES, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.codes = codes
        quiet = click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_hush,
            help="Print nothing but errors, and JSON if it is asked for.",
        )
        self.params.append(quiet)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, and its examples."""
        write_help(self.help or "", formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section; those of none come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, _SECTION, ""), []).append(record)
        others = sections.pop("", [])
        for title, records in [*sections.items(), ("Other options" if sections else "Options", others)]:
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what exit codes mean."""
        write_codes(formatter, self.codes)


def write_help(text: str, formatter: click.HelpFormatter) -> None:
    """Write what a command does, and its examples."""
    assert isinstance(formatter, Formatter)
    with formatter.indentation():
        for paragraph in text.strip().split("\n\n"):
            lines = [line.strip() for line in paragraph.strip().split("\n")]
            formatter.write_paragraph()
            if lines[0] == _AS_IS:
                formatter.write_example(lines[1:])
            else:
                formatter.write_text("\n".join(lines))


def write_codes(formatter: click.HelpFormatter, codes: str = _CODES) -> None:
    """Write what exit codes mean."""
    formatter.write_paragraph()
    formatter.write_text(f"Exit codes: {codes}.")


def write_commands(rows: Sequence[tuple[str, click.Command]], formatter: click.HelpFormatter) -> None:
    """Write what each command does: the first sentence of its help, whole."""
    with formatter.section("Commands"):
        formatter.write_dl([(name, (command.help or "").strip().split("\n\n")[0]) for name, command in rows])


def _hush(context: click.Context, option: click.Parameter, value: bool) -> None:
    console.quiet = console.quiet or value
