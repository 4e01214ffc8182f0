"""A model card beside a result, in Markdown: what it is, of which model, what it keeps, how to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from front_onnx.provenance import provenance
from front_onnx.read.model_file import read_model
from front_onnx.report.page import Page, Table
from front_onnx.store.atomic import atomic_write

__all__ = ["card", "card_path", "write_card"]

_IN_CARD = ("What was asked", "Before and after", "Agreement with the source", "Starts that were compared", "Checks")


def card_path(output: Path) -> Path:
    """OUT.onnx has its card in OUT.md."""
    return output.with_suffix(".md")


def write_card(page: Page, output: Path) -> Path:
    """Write the card of a model that was written; what a page says in few words.

    Raises:
        OutputError: it cannot be written.
    """
    path = card_path(output)
    with atomic_write(path) as staged, staged.writing():
        staged.path.write_text(card(page, output), encoding="utf-8")
    return path


def card(page: Page, output: Path) -> str:
    """The text of a card."""
    told = provenance(read_model(output).proto)
    lines = [f"# {_cell(output.name)}", "", f"{_cell(page.title)}, {page.subtitle}.", ""]
    lines += [f"- **{_cell(figure)}** {_cell(what)}" for figure, what in page.numbers]
    lines += [f"- warning: {_cell(warning)}" for warning in page.warnings]
    for section in page.sections:
        if section.title not in _IN_CARD:
            continue
        lines += ["", f"## {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        lines += _table(section.table) if section.table is not None else []
        lines += [f"- {_cell(line)}" for line in section.lines]
    steps = [line for section in page.sections for line in section.code]
    lines += ["", "## How to train on", "", *(f"    {line}" for line in steps)] if steps else []
    if told:
        lines += ["", "## Where it comes from", "", "As in the metadata of the file:", ""]
        lines += [f"- `front_onnx.{name}`: `{_cell(str(value))}`" for name, value in told.items()]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    header: Sequence[str] = [cell or " " for cell in table.header]
    rows = [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *rows]


def _cell(text: str) -> str:
    """A text that cannot end its cell or line, or begin markup of its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
