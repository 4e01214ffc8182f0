"""What activations of a source showed: the maps and blocks by which most of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from front_onnx.axes.size import SizeVar
from front_onnx.transform.maps import AxisMap

__all__ = ["Evidence"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What activations showed.

    Attributes:
        axes: the map of a size variable, P and the transpose of D alike: of one unit (chain, unit), or of all (None).
        blocks: by chain, the blocks that are kept.
    """

    axes: Mapping[tuple[SizeVar, tuple[int, int] | None], AxisMap] = field(default_factory=dict)
    blocks: Mapping[int, np.ndarray] = field(default_factory=dict)
