"""A page as data, and as one HTML file that needs no network: style and pictures are inside (jinja2, an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from front_onnx.errors import RequestError
from front_onnx.store.atomic import atomic_write

__all__ = ["Page", "Section", "Table", "check_page", "write_page"]

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Table:
    """Rows of texts below a header; the first column stands left, and `best` is the row to be seen first."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: int | None = None


@dataclass(frozen=True)
class Section:
    """A part of a page: a title, and any of a text, a table, a picture (SVG) and lines."""

    title: str
    text: str = ""
    table: Table | None = None
    pictures: Sequence[Any] = ()
    lines: Sequence[str] = ()
    code: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title, subtitle: what it is about.
        numbers: figures to be seen first: (figure, what it is).
        warnings: what has to be known.
        sections: the rest, in order.
    """

    title: str
    subtitle: str
    numbers: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Section]


def check_page(path: Path) -> None:
    """Refuse early what `write_page` would refuse late.

    Raises:
        RequestError: jinja2 is not installed, the name does not end in .html, or there is no such folder.
    """
    _environment()
    if path.suffix.lower() not in (".html", ".htm") or not path.parent.is_dir():
        raise RequestError(f"--report cannot write {path}", wanted="a folder that exists, and .html")


def write_page(page: Page, path: Path) -> None:
    """Write a page.

    Raises:
        RequestError: as by `check_page`.
        OutputError: it cannot be written.
    """
    text = _environment().from_string(_TEMPLATE.read_text(encoding="utf-8")).render(page=page)
    with atomic_write(path) as staged, staged.writing():
        staged.path.write_text(text, encoding="utf-8")


def _environment() -> Any:
    """Whatever a model's names hold is escaped."""
    try:
        import jinja2
    except ImportError:
        raise RequestError("--report needs jinja2", hint="pip install 'front-onnx[report]'") from None
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
