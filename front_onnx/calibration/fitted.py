"""What became of one layer or norm of a target."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """What became of one layer or norm.

    Attributes:
        node: its label.
        level: "fitted" to what it is to make; "decoded": to what its weights make of what the source reads, as it is
            not known what the node makes of that; or "kept".
        before: what it missed with the weights it had, as a part of the square of what it was to make.
        after: what it misses now.
        rows: samples of it: tokens, or places of pictures.
        columns: unknowns of each of its outputs.
        ridge: toward the weights that it had.
        why: of what was kept.
    """

    node: str
    level: str
    before: float = float("nan")
    after: float = float("nan")
    rows: int = 0
    columns: int = 0
    ridge: float | None = None
    why: str = ""
