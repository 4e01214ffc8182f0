"""What the header of a learngene may hold: every entry, its type and its range, in one place.

A header is input from anywhere; whoever reads an entry behind this can rely on what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from front_onnx.errors import DamagedError
from front_onnx.gene.basis import BANDS
from front_onnx.methods.scale import SCALES

__all__ = ["check_header"]

_Form = Callable[[Any], str | None]  # where data do not fit, "" for all of it; None if they do
_LONGEST = 1 << 16  # of a text
_LARGEST = 1 << 40  # of a size


def _that(fits: Callable[[Any], bool]) -> _Form:
    return lambda data: None if fits(data) else ""


def _whole(least: int = 0, most: int = _LARGEST) -> _Form:
    return _that(lambda data: isinstance(data, int) and not isinstance(data, bool) and least <= data <= most)


def _number(least: float, most: float) -> _Form:
    return _that(lambda data: isinstance(data, int | float) and not isinstance(data, bool) and least <= data <= most)


def _one_of(known: Sequence[str]) -> _Form:
    return _that(lambda data: isinstance(data, str) and data in known)


def _maybe(form: _Form) -> _Form:
    return lambda data: None if data is None else form(data)


def _several(form: _Form, least: int = 0, most: int = _LARGEST) -> _Form:
    def misfit(data: Any) -> str | None:
        if not isinstance(data, list) or not least <= len(data) <= most:
            return ""
        found = ((place, form(entry)) for place, entry in enumerate(data))
        return next((f"[{place}]{at}" for place, at in found if at is not None), None)

    return misfit


def _row(*forms: _Form) -> _Form:
    """A list with one entry for each of the forms."""

    def misfit(data: Any) -> str | None:
        if not isinstance(data, list) or len(data) != len(forms):
            return ""
        found = ((place, form(entry)) for place, (form, entry) in enumerate(zip(forms, data, strict=True)))
        return next((f"[{place}]{at}" for place, at in found if at is not None), None)

    return misfit


def _named(form: _Form) -> _Form:
    def misfit(data: Any) -> str | None:
        if not isinstance(data, dict):
            return ""
        return next((f".{name}{at}" for name, entry in data.items() if (at := form(entry)) is not None), None)

    return misfit


def _with(optional: Mapping[str, _Form] | None = None, /, **forms: _Form) -> _Form:
    """An object that has these entries, and perhaps the optional ones, and others that nobody reads."""

    def misfit(data: Any) -> str | None:
        if not isinstance(data, dict):
            return ""
        given = {name: form for name, form in (optional or {}).items() if name in data}
        found = ((name, form(data[name]) if name in data else "") for name, form in {**forms, **given}.items())
        return next((f".{name}{at}" for name, at in found if at is not None), None)

    return misfit


_text = _that(lambda data: isinstance(data, str) and len(data) <= _LONGEST)
_flag = _that(lambda data: isinstance(data, bool))
_anything = _that(lambda data: True)  # axes are read by `basis.from_data`

_HEADER = _with(
    {
        "external": _flag,
        "block": _several(_text),
        "residual": _several(_text),
        "treat": _named(_text),
    },
    template=_text,
    ratio=_number(1e-9, 1),
    band=_one_of(BANDS),
    scale=_one_of(SCALES),
    source=_with(
        {"model": _maybe(_text)},
        parameters=_whole(),
        chains=_several(_with(name=_text, depth=_whole(), width=_maybe(_whole()))),
    ),
    stacks=_several(
        _with(
            members=_several(_row(_text, _whole(), _flag), 1),
            depth=_anything,
            axes=_several(_anything, most=32),
            lowest=_maybe(_number(-3.5e38, 3.5e38)),
            energy=_number(0, 1),
        )
    ),
)


def check_header(about: Any) -> None:
    """Refuse a header with an entry that is missing, of another type or out of range.

    Raises:
        DamagedError: names the entry.
    """
    at = _HEADER(about)
    if at is not None:
        raise DamagedError(f"its header has no proper entry {at.strip('.')[:80] or 'at all'}")
