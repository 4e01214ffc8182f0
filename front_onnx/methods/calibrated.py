"""Calibrated: maps that activations of the source have shown to be the best, before weights are fitted to them."""

from __future__ import annotations

import numpy as np

from front_onnx.errors import RequestError
from front_onnx.methods.copies import copied
from front_onnx.methods.copy import blocks
from front_onnx.methods.evidence import Evidence
from front_onnx.methods.method import Method, Use
from front_onnx.methods.private import Private
from front_onnx.read.graph import Edge
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["Calibrated"]


class Calibrated(Method):
    """Principal directions of activations where any map will do, chosen units, heads and channels elsewhere.

    Chosen by `calibration/choosing.py`. A size that nothing was found out about is spread evenly.
    """

    name = "calibrated"
    apart = True
    parts = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.setting.evidence is None:
            raise RequestError("method calibrated looks at activations", wanted="--data SAMPLES, or --data synthetic")
        self._private = Private(self.setting.structure)

    @property
    def _evidence(self) -> Evidence:
        assert self.setting.evidence is not None
        return self.setting.evidence

    def axis(self, use: Use) -> AxisMap:
        """What was found for a size variable, in one unit or in all."""
        source, target = use.var.size, use.target
        even = np.arange(target) * source // target
        if target > source:
            return copied(self.setting, use, even)
        units = {self._private.unit(edge) for edge in use.edges}
        unit = units.pop() if len(units) == 1 and self._private.chain(use.var) is not None else None
        found = self._evidence.axes.get((use.var, unit)) or self._evidence.axes.get((use.var, None))
        return found if found is not None else Select(source, even, np.ones(target))

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """The blocks that are kept."""
        chain = self.setting.structure.chain_of.get(self.setting.structure.graph.order.home(edges[0].node))
        chosen = self._evidence.blocks.get(chain) if chain is not None else None
        if chosen is None or len(chosen) != target:
            chosen = blocks("even", len(names), target)
        return Select(len(names), chosen, np.ones(target))
