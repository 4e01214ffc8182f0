"""What the task asks for: a loss as a sum and a count, so that processes can share one mean, and a metric.

Every loss reads the outputs of the graph by name and the batch by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from front_onnx.errors import FrontError, RequestError
from front_onnx.samples.callables import called

__all__ = ["IGNORED", "LOSSES", "Loss", "Task", "distillation"]

IGNORED = -100  # labels that do not count, as in torch
LOSSES = ("cross-entropy", "next-token", "masked-token", "mse")


@dataclass
class Loss:
    """A loss and a metric as sums over what counts, which may be samples, tokens or elements.

    Attributes:
        total: sum of the losses, differentiable.
        count: how many there are.
        metric: sum of the metric (hits, or squared errors), or None.
        metric_count: what it is divided by.
    """

    total: Tensor
    count: Tensor
    metric: Tensor | None = None
    metric_count: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """A loss by its name, and what it reads.

    Attributes:
        kind: one of `LOSSES`, or "callable".
        output: the output that it reads.
        ids: the input that holds tokens, for losses on tokens.
        smoothing: of labels.
        function, name: for "callable": function(outputs, batch) -> mean loss, and how messages call it.
        mask_token, mask_share: for masked-token where the data has no labels.
    """

    kind: str
    output: str
    ids: str | None = None
    smoothing: float = 0.0
    function: Any = None
    name: str = ""
    mask_token: int | None = None
    mask_share: float = 0.15

    @property
    def metric(self) -> str:
        """The name of the metric, a share of hits for classes."""
        return {"mse": "mse", "callable": "loss"}.get(self.kind, "accuracy")

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Mask tokens where the loss wants that: 80 % become the mask, 10 % another token, 10 % stay (BERT)."""
        if self.kind != "masked-token" or "labels" in batch:
            return batch
        assert self.ids is not None and self.mask_token is not None
        ids = batch[self.ids].cpu()
        drawn = torch.rand(ids.shape, generator=generator)
        chosen = drawn < self.mask_share
        visible = batch.get("attention_mask")
        if visible is not None and visible.shape == ids.shape:
            chosen &= visible.cpu().bool()
        labels = torch.where(chosen, ids, IGNORED)
        others = ids.reshape(-1)[torch.randint(0, ids.numel(), ids.shape, generator=generator)]
        masked = torch.where(chosen & (drawn < 0.8 * self.mask_share), torch.full_like(ids, self.mask_token), ids)
        masked = torch.where(chosen & (drawn >= 0.9 * self.mask_share), others, masked)
        device = batch[self.ids].device
        return {**batch, self.ids: masked.to(device), "labels": labels.to(device)}

    def __call__(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Loss:
        """The loss of a batch.

        Raises:
            FrontError: labels are missing, or have shapes or values that do not go with the output.
        """
        made = outputs[self.output]
        if self.kind == "callable":
            value = called(self.name, self.function, dict(outputs), dict(batch))
            if not isinstance(value, Tensor) or value.dim():
                raise FrontError("a loss callable returns one number as a tensor", got=type(value).__name__)
            size = torch.full((), float(len(next(iter(batch.values())))), device=value.device)
            return Loss(value * size, size, value.detach() * size, size)
        if self.kind == "mse":
            labels = self._labels(batch)
            if labels.shape != made.shape:
                raise FrontError(
                    "labels have another shape than the output", got=list(labels.shape), wanted=list(made.shape)
                )
            total = functional.mse_loss(made.float(), labels.float(), reduction="sum")
            count = torch.full((), float(made.numel()), device=made.device)
            return Loss(total, count, total.detach(), count)
        if self.kind == "next-token":
            assert self.ids is not None
            labels = batch["labels"] if "labels" in batch else self._visible(batch)
            made, labels = made[:, :-1], labels[:, 1:]
        else:
            labels = self._labels(batch)
        return _classes(made, labels, self.smoothing)

    def check(self, made: Tensor, some: Tensor | None, labels: np.ndarray | None, vocabulary: int | None) -> None:
        """Compare the output with all labels, and with the vocabulary, before the first step.

        Args:
            made: the output for a few samples.
            some: their labels.
            labels: all labels that are known.
            vocabulary: how many tokens there are, for losses on tokens.

        Raises:
            RequestError: the output is of no use for the loss, a label is no class, no label counts.
        """
        if self.kind in ("mse", "callable"):
            return
        if made.dim() < 2 or (self.kind != "cross-entropy" and made.dim() != 3):
            wanted = "[batch, classes]" if self.kind == "cross-entropy" else "[batch, tokens, classes]"
            shape = list(made.shape)
            raise RequestError(f"{self.kind} cannot read {self.output}", got=shape, wanted=wanted)
        classes = made.shape[_class_axis(made, some)]
        if labels is None and vocabulary is not None and vocabulary > classes:
            raise RequestError(f"{self.output} has fewer classes than there are tokens", got=classes, wanted=vocabulary)
        if labels is None or labels.dtype.kind not in "iu":
            return
        counted = labels[labels != IGNORED]
        if not counted.size:
            raise RequestError("no label counts", got=f"{IGNORED} everywhere")
        if counted.max() >= classes or counted.min() < 0:
            got, wanted = f"{counted.min()} to {counted.max()}", f"0 to {classes - 1}"
            raise RequestError("labels that are no classes of the output", got=got, wanted=wanted)

    def class_axis(self, made: Tensor, batch: Mapping[str, Tensor]) -> int | None:
        """The axis of the output that holds classes; None where the task knows none."""
        if self.kind in ("mse", "callable"):
            return None
        return _class_axis(made, batch.get("labels") if self.kind == "cross-entropy" else None)

    def _labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        if "labels" not in batch:
            raise RequestError(f"the loss {self.kind} needs an array called labels", got=", ".join(batch))
        return batch["labels"]

    def _visible(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Tokens as labels; those that are padded away do not count."""
        assert self.ids is not None
        ids, mask = batch[self.ids], batch.get("attention_mask")
        return ids if mask is None or mask.shape != ids.shape else torch.where(mask.bool(), ids, IGNORED)


def _class_axis(made: Tensor, labels: Tensor | None) -> int:
    """The last axis, or the second if labels say so: [B, C, ...]."""
    if labels is None or labels.shape == made.shape[:-1] or made.dim() < 3:
        return made.dim() - 1
    return 1


def _classes(logits: Tensor, labels: Tensor, smoothing: float) -> Loss:
    """Cross-entropy over the last axis of logits [..., C], or the second of [B, C, ...]; labels [...]."""
    if labels.is_floating_point():
        raise RequestError("labels of classes are whole numbers", got=labels.dtype)
    logits = logits.movedim(_class_axis(logits, labels), -1)
    flat = logits.reshape(-1, logits.shape[-1])
    if labels.shape != logits.shape[:-1]:
        raise RequestError("labels do not go with the output", got=list(labels.shape), wanted=list(logits.shape[:-1]))
    wanted = labels.reshape(-1).to(torch.int64)
    try:
        total = functional.cross_entropy(
            flat.float(), wanted, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum"
        )
    except IndexError as error:
        raise RequestError(f"labels that are no classes of the output: {error}") from None
    counted = wanted != IGNORED
    count = counted.sum().float()
    hits = ((flat.argmax(-1) == wanted) & counted).sum().float()
    return Loss(total, count, hits.detach(), count)


def distillation(made: Tensor, taught: Tensor, temperature: float, axis: int | None) -> tuple[Tensor, Tensor]:
    """The teacher's term as a sum and a count: KL(teacher || student) on logits, or squared error on hidden outputs.

    Args:
        made, taught: outputs of the model and the teacher.
        temperature: of both distributions.
        axis: that of the classes; None where there are none.

    Raises:
        RequestError: the outputs have different shapes.
    """
    if made.shape != taught.shape:
        raise RequestError(
            "the teacher's output has another shape than the model's",
            got=list(taught.shape),
            wanted=list(made.shape),
        )
    if axis is None:
        total = functional.mse_loss(made.float(), taught.float(), reduction="sum")
        return total, torch.full((), float(made.numel()), device=made.device)
    student = functional.log_softmax(made.float() / temperature, axis)
    teacher = functional.log_softmax(taught.float() / temperature, axis)
    total = functional.kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2
    return total, torch.full((), float(made.numel() // made.shape[axis]), device=made.device)
