"""Settings of configurations that follow a row's depth and width, as functions of both."""

from collections.abc import Callable

__all__ = ["of_depth", "of_width", "over", "times"]


def of_depth(depth: int, width: int) -> int:
    """The depth."""
    return depth


def of_width(depth: int, width: int) -> int:
    """The width."""
    return width


def times(factor: int) -> Callable[[int, int], int]:
    """The width times a factor."""
    return lambda depth, width: factor * width


def over(size: int) -> Callable[[int, int], int]:
    """How often a size fits into the width: heads of one size."""
    return lambda depth, width: width // size
