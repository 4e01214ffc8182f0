"""Pages and cards beside what a command prints."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from front_onnx.commands.output import console
from front_onnx.errors import RequestError
from front_onnx.report.card import card_path, write_card
from front_onnx.report.page import Page, check_page, write_page

__all__ = ["check_reports", "write_reports"]


def check_reports(report: str | None, card: bool, output: str | None = None) -> None:
    """Refuse before any work what could not be written after it.

    Raises:
        RequestError: jinja2 is not installed, there is no such folder, or the card would be the output.
    """
    if report is not None:
        check_page(Path(report))
    if card and output is not None and card_path(Path(output)) == Path(output):
        raise RequestError("--card would be the output itself", got=output, hint="-o with a name that ends in .onnx")


def write_reports(page: Page, report: str | None, card: bool, output: Path | None, quiet: bool) -> None:
    """Write what was asked for, and say so."""
    written = []
    if card and output is not None:
        written.append(write_card(page, output))
    if report is not None:
        write_page(page, Path(report))
        written.append(Path(report))
    for path in written if not quiet else ():
        console.print(f"wrote [bold]{escape(str(path))}[/]")
