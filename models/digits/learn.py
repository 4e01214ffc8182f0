"""The training loop and the accuracy, shared by the recipe and the demo."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from data import BLANK, Digits
from torch import Tensor, nn
from torch.nn import functional


def accuracy(model: nn.Module, digits: Digits) -> float:
    """Return the share of digits that the model names rightly."""
    model.eval()
    with torch.no_grad():
        return (model(digits.images).argmax(dim=1) == digits.labels).float().mean().item()


def train(
    model: nn.Module,
    digits: Digits,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    shift: bool = True,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Train in place with AdamW, a warm-up of a tenth of the steps and a cosine decay.

    The seed alone decides which digits are seen in which order and how they are shifted, so two models
    trained with the same seed see the same batches. `watch` is told of every step, the first being 1.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    warm_up = max(1, steps // 10)
    model.train()
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(len(digits), generator=generator)])
        picked, order = order[:batch], order[batch:]
        images = digits.images[picked]
        if shift:
            images = _shifted(images, generator)
        decay = 0.5 * (1 + math.cos(math.pi * max(0, step - warm_up) / max(1, steps - warm_up)))
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / warm_up, decay)
        loss = functional.cross_entropy(model(images), digits.labels[picked], label_smoothing=label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if watch is not None:
            watch(step + 1)
            model.train()
    model.eval()


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by at most one pixel along each side; what comes in is blank."""
    size = images.shape[-1]
    padded = functional.pad(images, (1, 1, 1, 1), value=BLANK)
    top, left = torch.randint(0, 3, (2, len(images)), generator=generator)
    rows = (top[:, None] + torch.arange(size))[:, :, None]
    columns = (left[:, None] + torch.arange(size))[:, None, :]
    return padded[torch.arange(len(images))[:, None, None], 0, rows, columns][:, None]
