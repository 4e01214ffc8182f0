"""Another order of a graph's nodes, as good as the file's: what meets does so as early as it can.

Blocks are told apart by the tensors that live between them. An exporter that adds up what all blocks give behind the
last one, and not along the way, keeps them all alive to the end, and nothing looks like a block any more.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

import onnx
from onnx import NodeProto

from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.read.subgraphs import reads_of

__all__ = ["with_early_sums"]

_FIRST, _MEETING, _OTHER = range(3)


def with_early_sums(graph: Graph) -> ModelFile | None:
    """The model with its nodes in another order; None if the file has it already.

    What depends on no input comes first; then each node in the file's order, and behind it whatever only adds or
    multiplies tensors that are all there.
    """
    nodes = list(graph.proto.node)
    order = _scheduled(nodes, {info.name for info in graph.inputs})
    if order == sorted(order):
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[index] for index in order)
    return graph.model.edited(proto)


def _scheduled(nodes: list[NodeProto], inputs: set[str]) -> list[int]:
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waiting: list[set[int]] = []
    readers = defaultdict[int, list[int]](list)
    urgency: list[int] = []
    fed = set(inputs)
    for index, node in enumerate(nodes):
        names = reads_of(node)
        waiting.append({producer[name] for name in names if name in producer})
        for need in waiting[index]:
            readers[need].append(index)
        if fed.isdisjoint(names):
            urgency.append(_FIRST)
            continue
        fed.update(node.output)
        meets = record_of(node).has(Trait.ARITHMETIC) and len(node.input) > 1
        urgency.append(_MEETING if meets else _OTHER)
    ready = [(urgency[index], index) for index, needs in enumerate(waiting) if not needs]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            waiting[reader].discard(index)
            if not waiting[reader]:
                heapq.heappush(ready, (urgency[reader], reader))
    return order
