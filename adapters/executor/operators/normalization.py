"""Normalisations."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor
from torch.nn import functional

__all__: list[str] = []


def _per_channel(x: Tensor, values: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (x.dim() - 2))


@operator("BatchNormalization", updates={3: 1, 4: 2})
def batch_norm(step: Step, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Any:
    """With the statistics of the batch where the graph says that it trains and the module does, else the running ones.

    Running statistics follow the specification: momentum times the old ones, and the variance over all of the batch.
    Data-parallel processes share their sums, so that the batch is the global one.
    """
    asked = step.get("training_mode") if step.version >= 14 else len(step.outputs) == 5
    if step.training and asked:
        mean_now, variance_now = _moments(x)
        keep = step.get("momentum")
        running = mean * keep + mean_now.detach() * (1 - keep), variance * keep + variance_now.detach() * (1 - keep)
        y = _normalised(x, scale, bias, mean_now, variance_now, step.get("epsilon"))
        return y, *running, *running
    if mean.requires_grad or variance.requires_grad:  # weights that are standardised: statistics of their own
        return _normalised(x, scale, bias, mean, variance, step.get("epsilon")), mean, variance, mean, variance
    mean, variance, scale, bias = (v.to(_wide(x).dtype) for v in (mean, variance, scale, bias))
    y = functional.batch_norm(_wide(x), mean, variance, scale, bias, eps=step.get("epsilon"))
    return y.to(x.dtype), mean, variance, mean, variance


def _wide(x: Tensor) -> Tensor:
    """In single precision at least: sums of half-precision numbers overflow."""
    return x if x.dtype == torch.float64 else x.float()


def _normalised(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    factor = scale * torch.rsqrt(variance + epsilon)
    return (_wide(x) * _per_channel(x, factor) + _per_channel(x, bias - mean * factor)).to(x.dtype)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel, over all processes."""
    x = _wide(x)
    axes = [0, *range(2, x.dim())]
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        variance, mean = torch.var_mean(x, axes, correction=0)
        return mean, variance
    from torch.distributed.nn.functional import all_reduce  # its sum has a gradient

    sums = all_reduce(torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])]))
    mean, count = sums[:-1] / sums[-1], sums[-1].detach()
    return mean, all_reduce((x - _per_channel(x, mean)).square().sum(axes)) / count


@operator("InstanceNormalization")
def instance_norm(step: Step, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Over the sides of each channel."""
    axes = list(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    normal = (x - mean) * torch.rsqrt(variance + step.get("epsilon"))
    return normal * _per_channel(x, scale) + _per_channel(x, bias)


@operator("GroupNormalization")
def group_norm(step: Step, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Over groups of channels; before version 21 there is one scale for each group."""
    groups = step.get("num_groups")
    if step.version < 21:
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, step.get("epsilon"))


@operator("LayerNormalization")
def layer_norm(step: Step, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Any:
    """Over the axes from the given one on; mean and 1 / deviation are outputs too."""
    axis, epsilon = step.get("axis") % x.dim(), step.get("epsilon")
    sides = x.shape[axis:]
    if scale.shape == sides and (bias is None or bias.shape == sides):
        y = functional.layer_norm(x, sides, scale, bias, epsilon)
    else:
        y = functional.layer_norm(x, sides, eps=epsilon) * scale
        y = y if bias is None else y + bias
    if not (step.wants(1) or step.wants(2)):
        return y
    variance, mean = torch.var_mean(x, list(range(axis, x.dim())), correction=0, keepdim=True)
    return y, mean, torch.rsqrt(variance + epsilon)


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_norm(step: Step, x: Tensor, scale: Tensor) -> Any:
    """Over the axes from the given one on, without a mean."""
    axes = list(range(step.get("axis", -1) % x.dim(), x.dim()))
    root = torch.rsqrt(
        (x.float() if x.dtype != torch.float64 else x).square().mean(axes, True) + step.get("epsilon", 1e-5)
    )
    y = (x * root).to(x.dtype) * scale
    return (y, root) if step.wants(1) else y


@operator("LpNormalization")
def lp_norm(step: Step, x: Tensor) -> Tensor:
    """Divided by the norm along one axis; 0 where that is 0."""
    axis = step.get("axis")
    norm = torch.linalg.vector_norm(x, ord=step.get("p"), dim=axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))


@operator("LRN")
def lrn(step: Step, x: Tensor) -> Tensor:
    """Divided by a power of the sum of squares of neighbouring channels."""
    count = step.get("size")
    before = (count - 1) // 2
    squares = functional.pad(x.square(), [0, 0] * (x.dim() - 2) + [before, count - 1 - before])
    total = squares.unfold(1, count, 1).sum(-1)
    return x / (step.get("bias") + step.get("alpha") / count * total) ** step.get("beta")


@operator("MeanVarianceNormalization")
def mean_variance_norm(step: Step, x: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over the given axes."""
    axes = list(step.get("axes"))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance.sqrt() + 1e-9)
