"""The plan's own proof: the rewritten graph is understood again, and has to have the sizes that were planned.

Sizes known only at run time are primes in both analyses, so a stale constant cannot hide in them: a Reshape that would
mix batch and channels has no integer solution, and one that would give another shape does not give the planned one.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from front_onnx.errors import FrontError
from front_onnx.plan.contents import Original
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph, label
from front_onnx.read.model_file import ModelFile
from front_onnx.understand.analysis import Analysis
from front_onnx.understand.atoms import size_of
from front_onnx.write.rewrite import Rewritten

__all__ = ["verify"]


class _Skeleton(ModelFile):
    """A rewritten model before its weights are computed: pending floats read as zeros."""

    def __init__(self, plan: Plan, rewritten: Rewritten) -> None:
        super().__init__(rewritten.proto, None, {}, b"")
        self._source, self._rewritten = plan.structure.graph, rewritten

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values of a constant, as far as they are known."""
        content = self._rewritten.pending.get(tensor.name)
        if content is None:
            return super().array(tensor)
        if isinstance(content, Original):
            return self._source.array(content.name)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return np.broadcast_to(np.zeros((), dtype), tuple(tensor.dims))


def verify(plan: Plan, rewritten: Rewritten) -> None:
    """Understand the rewritten graph and compare every size with the plan.

    Raises:
        FrontError: a node cannot be followed any more, or a tensor has another size than planned.
    """
    before = plan.structure.analysis
    after = Analysis(Graph(_Skeleton(plan, rewritten)), before.baked)
    after.run()
    lost = {before.graph.nodes[trouble.node].op_type for trouble in before.troubles}
    for trouble in after.troubles:
        if after.graph.nodes[trouble.node].op_type not in lost:
            raise _refusal(after.graph.nodes[trouble.node], trouble.reason)
    for node in after.graph.nodes:
        for name in node.output:
            mine, planned = after.facts.get(name), before.facts.get(rewritten.like.get(name, name))
            if mine is None or planned is None or mine.axes is None or planned.axes is None:
                continue
            got = [size_of(axis) for axis in mine.axes]
            wanted = [plan.size(axis) for axis in planned.axes]
            if got != wanted:
                raise _refusal(node, f"{name} would be {got}, and {wanted} was planned")


def _refusal(node: onnx.NodeProto, reason: str) -> FrontError:
    return FrontError(
        f"the resized graph does not hold together, so nothing was written: {reason}",
        node=label(node),
        hint="this model is not understood well enough; please report it",
    )
