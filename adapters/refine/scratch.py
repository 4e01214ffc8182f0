"""Forgetting: random weights in the place of trained ones, for FRONT+ (`--from-scratch`)."""

from __future__ import annotations

import math

import torch
from front_onnx.adapters.executor.module import OnnxModule

from front_onnx.operators.analysis import analyse
from front_onnx.read.graph import Edge, Graph

__all__ = ["forget"]

# The input of an operator that multiplies what it has normalised.
_GAINS = {
    "LayerNormalization": 1,
    "BatchNormalization": 1,
    "InstanceNormalization": 1,
    "GroupNormalization": 1,
    "RMSNormalization": 1,
    "SimplifiedLayerNormalization": 1,
    "SkipLayerNormalization": 2,
    "SkipSimplifiedLayerNormalization": 2,
    "EmbedLayerNormalization": 5,
}
_MOVING = frozenset("Identity Cast Reshape Unsqueeze Squeeze Transpose Expand".split())
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
            if node.op_type not in _MOVING:
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
    op_type = module.graph.nodes[edge.node].op_type if edge is not None else ""
    slot = edge.slot if edge is not None else 0
    if edge is not None and op_type in ("LSTM", "GRU", "RNN"):
        recurrent = module.graph.constants.get(module.graph.nodes[edge.node].input[2])
        hidden = recurrent.dims[-1] if recurrent is not None else shape[-1]
        return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(hidden)
    if op_type in ("Conv", "FusedConv") and slot == 1:
        return torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
    if axis is not None and len(shape) > 1:
        return torch.randn(shape, generator=generator) / math.sqrt(shape[axis])
    if sum(n > 1 for n in shape) <= 1:
        gain = _GAINS.get(op_type) == slot or op_type in ("Mul", "Div")
        return torch.full(shape, 0.25 if op_type == "PRelu" else float(gain))
    if op_type == "ConvTranspose":
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape) / shape[1])
    return torch.randn(shape, generator=generator) * _EMBEDDING
