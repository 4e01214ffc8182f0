"""Which methods take part: all that say something of what changes, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from front_onnx.calibration.best import BEST
from front_onnx.errors import RequestError
from front_onnx.methods.calibrated import Calibrated
from front_onnx.methods.registry import choose, methods, parse
from front_onnx.plan.plan import Plan
from front_onnx.types import Names, several

__all__ = ["MADE_UP", "Contender", "contenders", "named_methods"]

MADE_UP = "made-up"
_CALIBRATED = (Calibrated.name, MADE_UP)
_COPIES = "depth=copy,width=select:norm"  # of the methods for one direction, the pair that keeps most


@dataclass(frozen=True)
class Contender:
    """One method in a comparison.

    Attributes:
        name: as `--methods` has it: a method, "calibrated", "made-up" or "best".
        why: why it takes no part, in one line; empty if it does.
    """

    name: str
    why: str = ""

    @property
    def calibrates(self) -> bool:
        """True if weights are fitted to samples."""
        return self.name in (*_CALIBRATED, BEST)


def named_methods(given: Names | None) -> list[str]:
    """What `--methods` says: names with commas between them, or with semicolons where one has a comma itself.

    Raises:
        RequestError: no such method.
    """
    found: list[str] = []
    for text in several(given):
        pieces = text.split(";") if ";" in text or "=" in text else text.split(",")
        if not all(piece.strip() for piece in pieces):
            wanted = "names with commas between them" if "=" not in text else "names with ; between them"
            raise RequestError("--methods has an empty name", got=repr(text), wanted=wanted)
        found += [piece.strip() for piece in pieces]
    for name in found:
        if name not in (*_CALIBRATED, BEST):
            parse(name)
    return list(dict.fromkeys(found))


def contenders(plan: Plan, named: Sequence[str], data: bool) -> list[Contender]:
    """Who takes part for one size.

    Args:
        plan: of the size, by any method.
        named: methods that were asked for; all if there are none.
        data: True if there are samples; calibration makes some up otherwise.

    Raises:
        RequestError: calibration on samples was asked for, and there are none.
    """
    if Calibrated.name in named and not data:
        raise RequestError("calibrated on which samples?", hint="--data SAMPLES, or made-up among the --methods")
    changed = [direction for direction, changes in _changes(plan).items() if changes]
    if not changed:
        raise RequestError("this size is the source's: there is nothing to compare")
    names = list(named) or [*(_CALIBRATED if data else (MADE_UP,)), *methods(), _COPIES, BEST]
    seen: dict[object, str] = {}
    found = []
    for name in names:
        if name in _CALIBRATED:
            found.append(Contender(name))
            continue
        if name == BEST:
            if named or _is_mixed(plan):
                found.append(Contender(name))
            continue
        what = _does(name, changed)
        if not named and all(choose(part).directions and part == "front" for part, _ in what) and name != "front":
            why = f"it has nothing for the {changed[0]}, so it would be front"
            found.append(Contender(name, "" if len(changed) > 1 else why))
            continue
        key = tuple(what)
        if key in seen and name != seen[key]:
            if name != _COPIES or named:
                found.append(Contender(name, f"it is the same as {seen[key]} here"))
            continue
        seen[key] = name
        found.append(Contender(name))
    return found


def _changes(plan: Plan) -> dict[str, bool]:
    structure = plan.structure
    return {
        "depth": any(before != after for before, after in plan.depths),
        "width": any(var.size != size for var, size in plan.sizes.items() if var not in structure.depths),
    }


def _is_mixed(plan: Plan) -> bool:
    """True if the depth grows and the width shrinks, or the other way round: then `best` takes two steps."""
    sizes = [(v.size, n) for v, n in plan.sizes.items() if v not in plan.structure.depths]
    pairs = [*plan.depths, *sizes]
    return any(a < b for a, b in pairs) and any(a > b for a, b in pairs)


def _does(name: str, changed: Sequence[str]) -> list[tuple[str, str]]:
    """What a method does in the directions that change: (method, variant), the usual variant by its name."""
    parsed = parse(name)
    out = []
    for direction in changed:
        method, variant = parsed[direction]
        variants = choose(method).variants
        out.append((method, variant or (variants[0] if variants else "")))
    return out
