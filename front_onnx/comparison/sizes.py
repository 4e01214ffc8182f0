"""Which sizes are compared: one that is asked for as in `resize`, or several, each in words ("depth=3 width=192")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from front_onnx.errors import RequestError
from front_onnx.types import Names, SizeOptions

__all__ = ["Asked", "Wish", "wishes"]


class Asked(SizeOptions, total=False):
    """The options of `resize` that say sizes, and what goes with them; see there."""

    residual: Names | None
    block: Names | None
    treat: Mapping[str, str] | None


_IN_WORDS = ("depth", "width", "width_mult", "heads", "head_dim", "depth_mult", "params", "size")


class Wish:
    """One size: how users said it, and as options of `resize`."""

    def __init__(self, label: str, options: Mapping[str, Any]) -> None:
        self.label, self.options = label, dict(options)


def wishes(common: Asked, at: Sequence[str] = ()) -> list[Wish]:
    """The sizes to compare.

    Args:
        common: what goes for all of them; the one size itself if `at` is empty.
        at: several sizes, each "NAME=VALUE NAME=VALUE ...", where a name is that of an option (depth, width, params
            ...) or of a dim; what it says stands in the place of what `common` says.

    Raises:
        RequestError: not of this form, or no size at all.
    """
    held: dict[str, Any] = {name: value for name, value in common.items() if value not in (None, False, ())}
    if not at:
        if not any(held.get(name) for name in (*_IN_WORDS, "dims")):
            hint = "--depth 3 --width 192, or several: --at 'depth=3 width=192' --at params=30M"
            raise RequestError("no size is asked for", hint=hint)
        return [Wish(_label(held), held)]
    found = []
    for text in at:
        said = _parsed(text)
        dims = {**held.get("dims", {}), **said.pop("dims", {})}
        options = {**_without_rivals(held, said), **said, **({"dims": dims} if dims else {})}
        found.append(Wish(" ".join(text.split()), options))
    if twice := {wish.label for wish in found if sum(other.label == wish.label for other in found) > 1}:
        raise RequestError("--at names one size twice", got=min(twice))
    return found


def _parsed(text: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for piece in text.split():
        name, _, value = piece.partition("=")
        name = name.removeprefix("--").replace("-", "_")
        if not name or not value:
            raise RequestError("--at takes NAME=VALUE ...", got=text, wanted="for example 'depth=3 width=192'")
        if name in _IN_WORDS:
            said[name] = value
        elif value.isdecimal():
            said.setdefault("dims", {})[piece.partition("=")[0]] = int(value)
        else:
            raise RequestError("--at gives a dim a whole number", dim=name, got=value)
    if not said:
        raise RequestError("--at takes NAME=VALUE ...", got=repr(text), wanted="for example 'depth=3 width=192'")
    return said


def _without_rivals(held: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What goes for all, less what a size of its own excludes."""
    rivals = {"depth": "depth_mult", "width": "width_mult", "params": "size"}
    rivals |= {other: name for name, other in rivals.items()}
    return {name: value for name, value in held.items() if rivals.get(name) not in said}


def _label(held: Mapping[str, Any]) -> str:
    said = [f"{name.replace('_', '-')} {held[name]}" for name in _IN_WORDS if held.get(name)]
    return " ".join([*said, *(f"{name} {size}" for name, size in (held.get("dims") or {}).items())])
