"""The digits that ship with scikit-learn, in one fixed stratified split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

HELD_OUT = 450
SPLIT_SEED = 0
BLANK = -1.0  # the value of empty paper; full ink is 1


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 8, 8] with values in -1..1, and their labels [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Digits:
        """Return the first `count` digits (the split is shuffled, so this is a random subset)."""
        return Digits(self.images[:count], self.labels[:count])


@cache
def load_split() -> tuple[Digits, Digits]:
    """Return the training digits and the held-out digits; always the same ones."""
    from sklearn.datasets import load_digits  # not needed by those who have the digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 8 - 1).reshape(-1, 1, 8, 8)
    x, x_held, y, y_held = train_test_split(
        images, labels, test_size=HELD_OUT, stratify=labels, random_state=SPLIT_SEED
    )
    return _digits(x, y), _digits(x_held, y_held)


def _digits(images: object, labels: object) -> Digits:
    return Digits(torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.int64))
