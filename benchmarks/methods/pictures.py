"""Pictures: a small residual network with BatchNorm on CIFAR-10."""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from task import Samples, Task, module_of
from torch import Tensor, nn
from torch.nn import functional

LEARNED, HELD_OUT, BATCH, SAMPLES = 8_000, 2_000, 128, 1_000
EPOCHS = 12  # of the source
ESTIMATED = 20  # batches that running statistics are re-estimated on


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a projection where the size changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.down: nn.Module | None = None
        if stride != 1 or before != after:
            self.down = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, before, h, w] to [batch, after, h / stride, w / stride]."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.down is None else self.down(x)))


class ResNet(nn.Module):
    """Stages of basic blocks behind a stem of stride 2, so that a short training takes seconds and not minutes."""

    def __init__(self, depth: tuple[int, ...] = (3, 3, 3), width: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width[0], 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(width[0])
        before, stages = width[0], []
        for number, (blocks, after) in enumerate(zip(depth, width, strict=True)):
            strides = [1 if number == 0 else 2, *[1] * (blocks - 1)]
            stages.append(nn.Sequential(*(Basic(before if n == 0 else after, after, s) for n, s in enumerate(strides))))
            before = after
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Map images [batch, 3, 32, 32] to logits [batch, 10]."""
        return self.head(self.stages(functional.relu(self.bn(self.stem(image)))).mean((2, 3)))


class Pictures(Task):
    """Accuracy on 2,000 held-out pictures: at once, with re-estimated statistics, after 62 steps of 128 at rate .02."""

    name = "resnet"
    figures = ("at once", "re-estimated", "trained")
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "fewer layers": {"depth": (2, 2, 2)},
        "narrower": {"width": (8, 16, 32)},
        "both smaller": {"depth": (2, 2, 2), "width": (8, 16, 32)},
        "more layers": {"depth": (4, 4, 4)},
        "wider": {"width": (24, 48, 96)},
        "both larger": {"depth": (4, 4, 4), "width": (24, 48, 96)},
    }

    def prepare(self) -> Path:
        """Train the source where it is not there yet."""
        path, held = self.cache / "resnet.onnx", self.cache / "resnet.npz"
        if not held.exists():
            assert self.data is not None, "resnet needs --data"
            images, labels = _load(self.data, "train", LEARNED)
            others, truth = _load(self.data, "test", HELD_OUT)
            np.savez(held, images=images, labels=labels, held_out=others, truth=truth)
        if not path.exists():
            torch.manual_seed(0)
            module = ResNet()
            images, labels, *_ = self._data()
            _train(module, images, labels, EPOCHS * (LEARNED // BATCH), 0.1, 0)
            _export(module.eval(), path)
        return path

    def samples(self) -> Samples:
        """1,000 of the pictures that trainings see."""
        images, *_ = self._data()
        return {"image": images[:SAMPLES].numpy()}

    def measure(self, path: Path, seed: int, *, fresh: dict[str, Any] | None = None, train: bool = True) -> list[float]:
        """Three accuracies; training starts from the weights as they were, with the statistics re-estimated."""
        torch.manual_seed(seed)
        drawn = None if fresh is None else {n: t.numpy() for n, t in ResNet(**fresh).state_dict().items()}
        module = module_of(path, drawn)
        images, labels, others, truth = self._data()
        found = [_accuracy(module, others, truth)]
        _estimate(module, images)
        found.append(_accuracy(module, others, truth))
        steps = 62 if self.steps is None else self.steps
        if train and steps:
            _train(module, images, labels, steps, self.rate or 0.02, seed)
            found.append(_accuracy(module, others, truth))
        return found

    def _data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with np.load(self.cache / "resnet.npz") as archive:
            images, labels, others, truth = (torch.from_numpy(archive[n]) for n in archive.files)
        return images.float() / 64 - 2, labels, others.float() / 64 - 2, truth


def _load(path: Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` pictures of an archive with SPLIT_jpeg (files one after another), SPLIT_ends, SPLIT_labels."""
    from PIL import Image

    with np.load(path) as archive:
        blob, ends = archive[f"{split}_jpeg"], archive[f"{split}_ends"][:count]
        labels = archive[f"{split}_labels"][:count].astype(np.int64)
    parts = zip([0, *ends[:-1]], ends, strict=True)
    images = [np.asarray(Image.open(io.BytesIO(blob[a:b].tobytes())).convert("RGB")) for a, b in parts]
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)), labels


def _train(module: nn.Module, images: Tensor, labels: Tensor, steps: int, rate: float, seed: int) -> None:
    """SGD with momentum and a cosine decay; pictures are mirrored and moved by up to 2 pixels."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(module.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    module.train()
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(images), generator=generator)
        picked, order = order[:BATCH], order[BATCH:]
        top, left = torch.randint(0, 5, (2,), generator=generator).tolist()
        x = functional.pad(images[picked], (2, 2, 2, 2))[:, :, top : top + 32, left : left + 32]
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = functional.cross_entropy(module(x), labels[picked])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
    module.eval()


@torch.no_grad()
def _estimate(module: nn.Module, images: Tensor) -> None:
    """Running statistics of the weights as they are; 0.9 to the power of the batches is left of the old ones."""
    module.train()
    for batch in images[: 2 * ESTIMATED * BATCH].split(BATCH):
        module(batch)
    module.eval()


@torch.no_grad()
def _accuracy(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    right = [module(x).argmax(1) == y for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return torch.cat(right).float().mean().item()


def _export(module: nn.Module, path: Path) -> None:
    """With BatchNorm left beside its convolution, and the names of the module."""
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, 32, 32),),
            partial,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    os.replace(partial, path)
