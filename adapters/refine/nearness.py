"""How near outputs are to a teacher's, over all batches that are measured."""

from __future__ import annotations

import torch
from front_onnx.adapters.refine.processes import Processes
from torch import Tensor

__all__ = ["Nearness"]

_CONSTANT = 1e-9  # of the squares, what is rounding


class Nearness:
    """Sums over rows (the last axis): as `compare` has them, so that figures mean the same."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # squares of differences, of the teacher's; hits, rows; sums by column

    def add(self, made: Tensor, taught: Tensor) -> None:
        """Count a batch.

        Args:
            made: the outputs [..., n].
            taught: the teacher's, of that shape.
        """
        mine, theirs = (each.double().reshape(-1, each.shape[-1] if each.dim() else 1) for each in (made, taught))
        hits = (mine.argmax(-1) == theirs.argmax(-1)).sum()
        apart = (mine - theirs).square().sum()
        first = torch.stack([apart, theirs.square().sum(), hits.double(), torch.full_like(apart, len(theirs))])
        sums = torch.cat([first, theirs.sum(0)]).cpu()
        self._sums = sums if self._sums is None else self._sums + sums

    def found(self, processes: Processes) -> dict[str, float]:
        """The relative error, as of `Likeness`, and how often the largest entry is the teacher's."""
        if self._sums is None:
            return {}
        apart, squares, hits, rows, *columns = processes.total(self._sums).tolist()
        about_mean = squares - sum(column**2 for column in columns) / max(rows, 1.0)
        whole = about_mean if about_mean > _CONSTANT * squares else squares
        return {"teacher_error": apart / whole if whole else 0.0, "teacher_top": hits / max(rows, 1.0)}
