"""The methods by name, and what `--method` says."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import entry_points

from front_onnx.errors import FrontError, RequestError
from front_onnx.methods.average import Average
from front_onnx.methods.calibrated import Calibrated
from front_onnx.methods.copy import Copying
from front_onnx.methods.dft import Dft
from front_onnx.methods.duplicate import Duplicate
from front_onnx.methods.dwt import Dwt
from front_onnx.methods.fold import Fold
from front_onnx.methods.front import Front
from front_onnx.methods.interpolate import Interpolate
from front_onnx.methods.lossless import Lossless
from front_onnx.methods.method import Method
from front_onnx.methods.mimetic import Mimetic
from front_onnx.methods.principal import Pca, Svd
from front_onnx.methods.random import Random
from front_onnx.methods.select import Selecting
from front_onnx.methods.zero import Zero

__all__ = ["DIRECTIONS", "choose", "methods", "parse"]

DIRECTIONS = ("depth", "width")
_OWN: tuple[type[Method], ...] = (
    Front,
    Dft,
    Dwt,
    Pca,
    Svd,
    Selecting,
    Fold,
    Copying,
    Interpolate,
    Duplicate,
    Average,
    Lossless,
    Zero,
    Random,
    Mimetic,
)


@cache
def methods() -> dict[str, type[Method]]:
    """All methods by name: the project's own, and those of other packages (entry points `front_onnx.methods`).

    Raises:
        FrontError: a package cannot be loaded, or has a name twice.
    """
    found = {method.name: method for method in _OWN}
    for entry in entry_points(group="front_onnx.methods"):
        try:
            method = entry.load()
        except Exception as error:
            raise FrontError(f"the method {entry.name} cannot be loaded: {error}") from error
        if entry.name in found:
            raise FrontError(f"two methods are called {entry.name}")
        found[entry.name] = method
    return found


def parse(text: str) -> dict[str, tuple[str, str | None]]:
    """What `--method` says, by direction: (name, variant). One name alone is for both, where it has both.

    Raises:
        RequestError: no such method or direction.
    """
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    named = dict(piece.split("=", 1) for piece in pieces if "=" in piece)
    alone = [piece for piece in pieces if "=" not in piece]
    if len(alone) > 1 or (alone and named) or not pieces or len(named) + len(alone) < len(pieces):
        raise RequestError("--method takes one method, or depth=METHOD,width=METHOD", got=text)
    if unknown := [key for key in named if key not in DIRECTIONS]:
        raise RequestError(f"no method is for {unknown[0]!r}", got=text, wanted="depth=METHOD,width=METHOD")
    out = {}
    for direction in DIRECTIONS:
        name, _, variant = (alone[0] if alone else named.get(direction, Front.name)).partition(":")
        method = methods().get(name, Calibrated if name == Calibrated.name else None)
        if method is None:
            near = difflib.get_close_matches(name, known := (*(["best"] if alone else []), *methods()), 1)
            hint = f"did you mean {near[0]}?" if near else None
            raise RequestError("no such method", got=name, wanted=", ".join(known), hint=hint)
        if method.whole and named and len(set(named.values())) + len(DIRECTIONS) - len(named) > 1:
            raise RequestError(f"method {name} is for all directions or none", got=text, wanted=f"--method {name}")
        if direction in method.directions:
            out[direction] = (name, variant or None)
        elif alone:
            out[direction] = (Front.name, None)  # it says nothing of this direction
        else:
            raise RequestError(f"method {name} has nothing for {direction}", wanted=_having(direction))
    return out


def _having(direction: str) -> str:
    return ", ".join(name for name, method in methods().items() if direction in method.directions)


def choose(name: str) -> type[Method]:
    """A method by its name; also the one that only a calibration can choose."""
    return Calibrated if name == Calibrated.name else methods()[name]
