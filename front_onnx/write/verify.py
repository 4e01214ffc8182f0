"""The plan's own proof: the rewritten graph is understood again, and has to have the sizes that were planned.

Sizes known only at run time are primes in both analyses, so a stale constant cannot hide in them: a Reshape that would
mix batch and channels has no integer solution, and one that would give another shape does not give the planned one.
Blocks are compared with each other, and what every constant is is asked again: a mask is a mask at every size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from onnx import TensorProto, helper

from front_onnx.axes.size import Axis, size_of
from front_onnx.blocks.alike import tensors_alike
from front_onnx.constants.classify import classify
from front_onnx.constants.kinds import RESAMPLED, Constant
from front_onnx.errors import FrontError
from front_onnx.operators.analysis import Analysis, analyse
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge, Graph, label
from front_onnx.read.model_file import ModelFile
from front_onnx.read.node import Node
from front_onnx.transform.contents import Drawn, Filled, Original, Repeated, Resampled
from front_onnx.understand import tie_constants
from front_onnx.write.rewrite import Rewritten

__all__ = ["verify"]

_LARGE = 4096  # elements of a tensor that no shape arithmetic reads
_CORNER = 32


class _Skeleton(ModelFile):
    """A rewritten model before its weights are computed: pending floats read as zeros, and what is to stay unread."""

    def __init__(self, plan: Plan, rewritten: Rewritten) -> None:
        super().__init__(rewritten.proto, None, {}, b"")
        self.settled = False
        self._source, self._rewritten = plan.structure.graph, rewritten
        self.unread: set[str] = set()

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values of a constant, as far as they are known."""
        content = self._rewritten.pending.get(tensor.name)
        if tensor.name not in self.unread:
            if content is None:
                return super().array(tensor)
            if isinstance(content, Original):
                return self._source.array(content.name)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        large = math.prod(tensor.dims) > _LARGE  # zeros everywhere: a corner shows as much, and costs nothing
        return np.zeros([min(size, _CORNER) for size in tensor.dims] if large else [*tensor.dims], dtype)


def verify(plan: Plan, rewritten: Rewritten) -> None:
    """Understand the rewritten graph, and compare sizes and constants with the plan, and blocks with each other.

    Raises:
        FrontError: a node cannot be followed any more, a tensor has another size than planned, a block another one
            than its siblings, or a constant is not of the kind that it was planned as.
    """
    before = plan.structure.analysis
    skeleton = _Skeleton(plan, rewritten)
    after = analyse(Graph(skeleton), before.symbols.settled)
    tie_constants(after)
    lost = {before.graph.nodes[trouble.node].op_type for trouble in before.troubles}
    for trouble in after.troubles:
        if after.graph.nodes[trouble.node].op_type not in lost:
            raise _refusal(trouble.reason, after.graph.nodes[trouble.node])
    proof = _Proof(plan, rewritten, after)
    proof.sizes()
    if plan.resizes:
        proof.blocks()
        proof.unread = skeleton.unread = proof.learned()
        proof.kinds()


class _Proof:
    """What the rewritten graph is found to be, beside what was planned."""

    def __init__(self, plan: Plan, rewritten: Rewritten, after: Analysis) -> None:
        self.plan, self.after, self.before = plan, after, plan.structure.analysis
        self.constants = plan.structure.constants
        self.like = rewritten.like
        self.pending = rewritten.pending
        self.inputs = [info.name for info in after.graph.inputs]
        self.unread: set[str] = set()

    @cached_property
    def _known(self) -> list[tuple[str, Node | None, list[int], Sequence[Axis]]]:
        """The tensors of both graphs: name, node, sizes in the result, axes in the source."""
        found: list[tuple[str, Node | None, list[int], Sequence[Axis]]] = []
        made = [(name, node) for node in self.after.graph.nodes for name in node.output]
        for name, node in (*((name, None) for name in self.inputs), *made):
            mine, planned = self.after.facts.get(name), self.before.facts.get(self.like.get(name, name))
            if mine is not None and planned is not None and mine.axes is not None and planned.axes is not None:
                found.append((name, node, [*map(size_of, mine.axes)], planned.axes))
        return found

    def sizes(self) -> None:
        """Every tensor has the size that was planned."""
        for name, node, got, axes in self._known:
            wanted = [self.plan.size(axis) for axis in axes]
            if got != wanted:
                raise _refusal(f"{name} would be {got}, and {wanted} was planned", node)

    def blocks(self) -> None:
        """Tensors in one place of the blocks, those of added blocks too, have one size where the source has one."""
        place = {
            name: (number, names[0])
            for number, chain in enumerate(self.plan.structure.chains)
            for names in tensors_alike(self.before, chain.nodes)
            for name in names
        }
        first: dict[object, tuple[str, list[int]]] = {}
        for name, node, got, axes in self._known:
            where = place.get(self.like.get(name, name))
            if where is None:
                continue
            other, wanted = first.setdefault((where, tuple(map(size_of, axes))), (name, got))
            if got != wanted:
                raise _refusal(f"{name} would be {got}, and {other} in another block {wanted}", node)

    def learned(self) -> set[str]:
        """Weights of the source that are in the result as they were: their contents had no say, and are large."""
        held = {self.before.graph.read_by(edge): fact.value is None for edge, fact in self.before.uses.items()}
        own = {*self.after.graph.initializers}
        names = {name: content.name for name, content in self.pending.items() if isinstance(content, Original)}
        names |= {name: name for name in own if name not in self.pending}
        return {name for name, old in names.items() if held.get(old) and self.constants.of(old).kind in RESAMPLED}

    def kinds(self) -> None:
        """Constants are still what they were planned as.

        Contents that are not computed yet, and those of weights, say nothing: their use alone is compared.
        """
        found_constants = classify(self.after)
        for index, node in enumerate(self.after.graph.nodes):
            source = self._source(node)
            for slot, name in enumerate(node.input if source is not None else ()):
                here, there = Edge(index, slot), Edge(source or 0, slot)
                if here not in self.after.uses or there not in self.before.uses:
                    continue
                planned, found = self.constants[there], found_constants[here]
                if planned.by_hand or not self._parts(planned, found, name):
                    continue
                raise _refusal(
                    f"{name} would be read as {found.kind.value} ({found.evidence}), and was planned as "
                    f"{planned.kind.value} ({planned.evidence})",
                    node,
                )

    def _source(self, node: Node) -> int | None:
        """The node of the source that a node is, or is a copy of."""
        graph = self.before.graph
        index = next((graph.producer.get(self.like.get(name, name)) for name in node.output if name), None)
        same = index is not None and graph.nodes[index].op_type == node.op_type
        return index if same and len(graph.nodes[index].input) == len(node.input) else None  # type: ignore[index]

    def _parts(self, planned: Constant, found: Constant, name: str) -> bool:
        """True if a kind contradicts the plan's."""
        if planned.kind is found.kind:
            return False
        constant = self.after.graph.constant_name(name)
        if planned.is_resampled and math.prod(self.after.graph.constants[constant].dims) == 1:
            return False  # a weight with one entry left may look like any number
        if constant in self.unread or isinstance(self.pending.get(constant), Resampled | Filled | Repeated | Drawn):
            return planned.is_resampled != found.is_resampled
        return planned.is_resampled != found.is_resampled or planned.is_kept != found.is_kept


def _refusal(reason: str, node: Node | None) -> FrontError:
    return FrontError(
        f"the resized graph does not hold together, so nothing was written: {reason}",
        node=label(node) if node is not None else None,
        hint="this model is not understood well enough; please report it",
    )
