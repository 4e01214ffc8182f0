"""Names of repeated blocks: finding the number that counts, and continuing the pattern.

Structure decides what is a block; names only name. `/encoder/layer.3/attention/MatMul` and its namesakes in other
blocks differ in numbers that grow evenly with the block, and a new block takes the next ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

__all__ = [
    "Count",
    "common_stem",
    "continued",
    "counts",
    "follows",
    "prefix",
    "renumbered",
    "sequence",
    "texts",
    "unused",
]

_DIGITS = re.compile(r"(\d+)")


def _split(name: str) -> tuple[list[str], list[str]]:
    pieces = _DIGITS.split(name)
    return pieces[::2], pieces[1::2]


def _moved(digits: str, ahead: int) -> str:
    """The number moved ahead, as wide as before if it was filled up with zeros."""
    return str(int(digits) + ahead).zfill(len(digits) if digits.startswith("0") else 1)


def _steps(names: Sequence[str]) -> list[int | None] | None:
    """For each number in the names, by how much it grows from one to the next; None where it is uneven."""
    texts, numbers = zip(*map(_split, names), strict=True)
    if any(text != texts[0] for text in texts):
        return None
    steps: list[int | None] = []
    for column in zip(*numbers, strict=True):
        differences = {b - a for a, b in pairwise(map(int, column))}
        steps.append(differences.pop() if len(differences) == 1 else None)
    return steps


def counts(names: Sequence[str]) -> bool:
    """True if the names are one but for numbers that grow evenly, at least one of them."""
    return _counting(names) is not None


def _counting(names: Sequence[str]) -> list[int | None] | None:
    """The steps of names that are one but for numbers that grow evenly, at least one of them; None for others."""
    steps = _steps(names) if len(names) > 1 else None
    return steps if steps is not None and None not in steps and any(steps) else None


def follows(first: str, second: str) -> bool:
    """True if the second name is the first with one of its numbers (perhaps written more than once) one higher."""
    steps = _steps((first, second))
    return steps is not None and {step for step in steps if step} == {1}


@dataclass(frozen=True)
class Count:
    """Names that are one but for one number: `present.0.key`, `present.1.key`, ...

    Attributes:
        head: what stands before the number.
        tail: what stands behind it.
        first: the number of the first name, as written.
        step: by how much it grows from name to name.
    """

    head: str
    tail: str
    first: str
    step: int

    @classmethod
    def of(cls, names: Sequence[str], step: int = 1) -> Self | None:
        """How names count, None if they do not; one name counts by its only number, with the given step."""
        texts, numbers = _split(names[0])
        steps = [step] * len(numbers) if len(names) == 1 else _steps(names)
        if steps is None or None in steps or sum(map(bool, steps)) != 1:
            return None
        place = next(i for i, size in enumerate(steps) if size)
        size = steps[place]
        if size is None or size < 0:
            return None
        pieces = [piece for pair in zip(texts, [*numbers, ""], strict=True) for piece in pair]
        at = 2 * place + 1
        return cls("".join(pieces[:at]), "".join(pieces[at + 1 :]), numbers[place], size)

    def at(self, index: int) -> str:
        """The name at a place of the sequence."""
        return self.head + _moved(self.first, index * self.step) + self.tail

    def number(self, name: str) -> int | None:
        """The number of a name, None if it does not belong to the sequence."""
        digits = name[len(self.head) : len(name) - len(self.tail)]
        found = name == self.head + digits + self.tail and digits.isascii() and digits.isdigit()
        return int(digits) if found else None

    def beginning(self, name: str) -> Self:
        """The same count from another name on."""
        return replace(self, first=name[len(self.head) : len(name) - len(self.tail)])

    def moved(self, name: str, last: int, by: int) -> str:
        """A name moved by so many places, if it counts on behind the number `last`."""
        number = self.number(name)
        return self.beginning(name).at(by) if number is not None and number > last else name


def texts(name: str) -> tuple[str, ...]:
    """What is left of a name without its numbers."""
    return tuple(_split(name)[0])


def prefix(names: Sequence[str]) -> str | None:
    """All that stands before the first number that counts: `/encoder/layer.` of `/encoder/layer.0/ln`, ..."""
    steps = _counting(names)
    if steps is None:
        return None
    texts, numbers = _split(names[0])
    first = next(i for i, step in enumerate(steps) if step)
    return "".join(t + n for t, n in zip(texts[:first], numbers[:first], strict=True)) + texts[first]


def sequence(stacks: Iterable[Sequence[str]]) -> str | None:
    """What stands before the number that counts in most of some lists of names; exporters rename a few weights."""
    starts = Counter(start for names in stacks if (start := prefix(names)) is not None)
    return max(starts, key=lambda start: starts[start]) if starts else None


def common_stem(names: Sequence[str]) -> str | None:
    """What counts, without punctuation: `encoder.layer` of `encoder.layer.0.ln`, `encoder.layer.1.ln`."""
    return (prefix(names) or "").strip("./_: ") or None


def renumbered(name: str, prefixes: Sequence[str], ahead: int) -> str:
    """The name with the number behind one of the prefixes moved ahead; without one, the last number in its path."""
    for start in prefixes:
        if name.startswith(start) and (match := _DIGITS.match(name, len(start))):
            return name[: match.start()] + _moved(match[0], ahead) + name[match.end() :]
    found = list(re.finditer(r"(?<=[./])(\d+)(?=[./])", name))
    if not found:
        return name
    match = found[-1]
    return name[: match.start()] + _moved(match[0], ahead) + name[match.end() :]


def continued(names: Sequence[str], index: int) -> str:
    """The name at place `index` of a sequence that begins with two or more `names`.

    Numbers that grow evenly go on growing; others stay as they are in the last name.
    """
    last = names[-1]
    ahead = index - len(names) + 1
    steps = _steps(names)
    if steps is None:
        return last
    texts, numbers = _split(last)
    out = [texts[0]]
    for text, number, step in zip(texts[1:], numbers, steps, strict=True):
        out += [_moved(number, ahead * (step or 0)), text]
    return "".join(out)


def unused(name: str, taken: Container[str]) -> str:
    """The name, with a number behind it if it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
