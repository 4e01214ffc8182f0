"""Equations of Einsum: the letters of each operand and of the result."""

from __future__ import annotations

__all__ = ["parse"]


def parse(equation: str) -> tuple[list[str], str]:
    """The terms of the operands and of the result, an ellipsis as three dots.

    Without an arrow, the result has the ellipsis and the letters that occur once, in alphabetical order. Source: ONNX,
    Einsum, and numpy.einsum.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    if not arrow:
        letters = sorted(letter for letter in set(left) - {",", "."} if left.count(letter) == 1)
        right = "..." * ("..." in left) + "".join(letters)
    return left.split(","), right
