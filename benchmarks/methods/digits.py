"""Digits: the vision transformer that ships, and what it is worth after a short training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from task import Samples, Task, module_of

SAMPLES = 500
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models" / "digits"))


class Digits(Task):
    """Accuracy on 450 held-out digits, at once and after 80 steps of 64 at the rate of the demo."""

    name = "digits"
    figures = ("at once", "trained")
    seeds = 3
    sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "fewer layers": {"depth": 3},
        "narrower": {"width": 24},
        "both smaller": {"depth": 3, "width": 24},
        "more layers": {"depth": 8},
        "wider": {"width": 60},
        "both larger": {"depth": 8, "width": 60},
    }

    def prepare(self) -> Path:
        """The file that ships; the split is kept where scikit-learn may be missing later."""
        held = self.cache / "digits.npz"
        if not held.exists():
            from data import load_split

            digits, held_out = load_split()
            parts = {
                "images": digits.images,
                "labels": digits.labels,
                "held": held_out.images,
                "truth": held_out.labels,
            }
            np.savez(held, **{name: tensor.numpy() for name, tensor in parts.items()})
        return ROOT / "models" / "digits" / "digits.onnx"

    def samples(self) -> Samples:
        """500 of the digits that trainings see."""
        with np.load(self.cache / "digits.npz") as archive:
            images = archive["images"]
        return {"image": images[np.random.default_rng(0).permutation(len(images))[:SAMPLES]]}

    def measure(self, path: Path, seed: int, *, fresh: dict[str, Any] | None = None, train: bool = True) -> list[float]:
        """Accuracy at once, and trained; the seed decides the order of the digits."""
        from data import Digits as Split
        from demo import LEARNING_RATE
        from learn import accuracy
        from learn import train as train_digits
        from model import DigitViT

        torch.manual_seed(seed)
        drawn = None if fresh is None else {n: t.numpy() for n, t in DigitViT(**fresh).state_dict().items()}
        module = module_of(path, drawn)
        with np.load(self.cache / "digits.npz") as archive:
            images, labels, held, truth = (torch.from_numpy(archive[n]) for n in ("images", "labels", "held", "truth"))
        digits, held_out = Split(images, labels), Split(held, truth)
        found = [accuracy(module, held_out)]
        steps = 80 if self.steps is None else self.steps
        if train and steps:
            train_digits(module, digits, steps=steps, seed=seed, lr=self.rate or LEARNING_RATE)
            found.append(accuracy(module, held_out))
        return found
