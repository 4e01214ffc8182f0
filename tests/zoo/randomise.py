"""Weights that tell every tensor apart.

A fresh model has equal tensors everywhere (zero biases, unit gains), which exporters store once. Random ones
make a resizer that confuses two tensors visible.
"""

import torch
import torch.nn as nn


@torch.no_grad()
def randomise(module: nn.Module, seed: int, *, scalars: bool = False) -> None:
    """Replace every floating parameter and running statistic by seeded normal values of a sane scale.

    `scalars`: those of one element too. Parameters that ask for no gradient are computed tables (sines of positions)
    and stay.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    for name, parameter in module.named_parameters():  # a tied parameter appears once
        if not parameter.requires_grad or not parameter.numel():
            continue
        noise = normal(parameter)
        if parameter.numel() == 1 and not scalars:
            continue  # without a twin the oracle compares single values, so they have to be the same at every size
        if parameter.dim() >= 2:
            # Keeps activations near one whichever axis is contracted.
            parameter.copy_(noise * (parameter.numel() / parameter.shape[0]) ** -0.5)
        elif name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        else:
            parameter.copy_(1 + 0.1 * noise)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * normal(buffer))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


@torch.no_grad()
def coarsen(module: nn.Module, steps: int = 256) -> None:
    """Round parameters and running statistics to multiples of `1 / steps`: different as before, and easy to pack."""
    statistics = (b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    for tensor in (*module.parameters(), *statistics):
        tensor.copy_(torch.round(tensor * steps) / steps)
