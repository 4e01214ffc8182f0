"""Tables at any width: cells break between words, columns that matter least go, and at last rows become lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from front_onnx.commands.output import console

__all__ = ["print_table"]

_PADDING = 2  # columns of each cell


def print_table(table: Table, drop: Sequence[str] = ()) -> None:
    """Print a table without breaking a word.

    Args:
        table: without a box.
        drop: headers of columns that can be left out where there is little room, in the order in which they go.
    """
    if table.title:  # as long as it is: a table's own title is no wider than the table
        console.print(table.title, style="italic", soft_wrap=True)
        table.title = None
    kept, left_out = [*table.columns], list[str]()
    for header in drop:
        if _fits(kept):
            break
        left_out += [header for column in kept if column.header == header]
        kept = [column for column in kept if column.header != header]
    if not _fits(kept):
        _print_lines(table)
        return
    table.columns = kept
    _fit(kept, console.width - _PADDING * len(kept))
    console.print(table)
    if any(left_out):
        console.print(f"left out, for want of room: {', '.join(filter(None, left_out))}", style="dim")


def _fits(columns: Sequence[Column]) -> bool:
    return sum(map(_least, columns)) + _PADDING * len(columns) <= console.width


def _texts(column: Column) -> list[Text]:
    return [Text.from_markup(str(cell)) for cell in (column.header, *column.cells)]


def _least(column: Column) -> int:
    """Its longest word; a number and its unit are one."""
    header, *cells = (text.plain for text in _texts(column))
    pieces = [*header.split(), *(line for cell in cells for line in _pieces(cell, column.justify == "right"))]
    return max(map(cell_len, pieces), default=0)


def _pieces(cell: str, whole: bool) -> list[str]:
    return cell.split("\n") if whole else cell.split()


def _fit(columns: Sequence[Column], room: int) -> None:
    """Give each column its longest word, and what is left to those that need the least to be on one line."""
    wanted = [max(cell_len(line) for text in _texts(column) for line in text.plain.split("\n")) for column in columns]
    if sum(wanted) <= room:
        return
    least = [_least(column) for column in columns]
    left = room - sum(least)
    order = sorted(range(len(columns)), key=lambda place: wanted[place] - least[place])
    for done, place in enumerate(order):
        more = min(wanted[place] - least[place], left // (len(order) - done))
        columns[place].width = least[place] + more
        left -= more


def _print_lines(table: Table) -> None:
    """Each row as a line for each of its cells; the terminal wraps what is longer than itself."""
    for row in zip(*(_texts(column)[1:] for column in table.columns), strict=True):
        first, *others = zip((str(column.header) for column in table.columns), row, strict=True)
        console.print(first[1], soft_wrap=True)
        for header, text in others:
            if text.plain:
                console.print(Text("  " + (f"{header}: " if header else "")).append_text(text), soft_wrap=True)
