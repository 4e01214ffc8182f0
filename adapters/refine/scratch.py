"""Forgetting: random weights in the place of trained ones, for FRONT+ (`--from-scratch`)."""

from __future__ import annotations

import math

import torch
from front_onnx.adapters.executor.module import OnnxModule

from front_onnx.operators.analysis import analyse
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge, Graph

__all__ = ["forget"]

_EMBEDDING = 0.02  # deviation of embeddings and learned tokens


@torch.no_grad()
def forget(module: OnnxModule, seed: int) -> None:
    """Initialise all learned weights anew.

    What is summed over is normal with variance 1 / fan-in (2 / fan-in for convolutions), recurrent weights are uniform
    in 1 / sqrt(hidden), embeddings and learned tokens normal with deviation 0.02; vectors that multiply are 1, those
    that add 0. Running statistics start at mean 0 and variance 1.
    """
    generator = torch.Generator().manual_seed(seed)
    graph = module.graph
    summed = {graph.read_by(edge): axis for edge, axis in analyse(graph).contractions.items()}
    for name, parameter in module.weights().items():
        edge = _use(graph, name)
        made = _made(module, name, parameter.shape, edge, summed.get(name), generator)
        parameter.copy_(made.to(parameter.device, parameter.dtype))
    for name in module.statistics():
        edge = _use(graph, name)
        assert edge is not None
        module.tensor(name).fill_(1.0 if edge.slot == 4 else 0.0)


def _use(graph: Graph, name: str) -> Edge | None:
    """Where a constant is used first, behind what only moves it."""
    waiting = [name, *(other for other, origin in graph.alias.items() if origin == name)]
    while waiting:
        for edge in graph.consumers.get(waiting.pop(0), ()):
            node = graph.nodes[edge.node]
            if not record_of(node).has(Trait.VIEW | Trait.REPEATS):
                return edge
            waiting.append(node.output[0])
    return None


def _made(
    module: OnnxModule,
    name: str,
    shape: torch.Size,
    edge: Edge | None,
    axis: int | None,
    generator: torch.Generator,
) -> torch.Tensor:
    record = record_of(module.graph.nodes[edge.node]) if edge is not None else None
    slot = edge.slot if edge is not None else 0
    if edge is not None and record is not None and record.has(Trait.RECURRENT):
        recurrent = module.graph.constants.get(module.graph.nodes[edge.node].input[2])
        hidden = recurrent.dims[-1] if recurrent is not None else shape[-1]
        return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(hidden)
    convolves = record is not None and record.has(Trait.CONVOLVES) and slot == 1
    if convolves and axis == 1:
        return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    if axis is not None and len(shape) > 1:
        return torch.randn(shape, generator=generator) / math.sqrt(shape[axis])
    if sum(n > 1 for n in shape) <= 1:
        gain = record is not None and (record.parameters.get(slot) == "gain" or record.has(Trait.SCALES))
        slope = record is not None and record.has(Trait.BENDS) and record.has(Trait.PARAMETERS)
        return torch.full(shape, 0.25 if slope else float(gain))
    if convolves:
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape) / shape[1])
    return torch.randn(shape, generator=generator) * _EMBEDDING
