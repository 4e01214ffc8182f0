"""Train the model that ships, and write digits.onnx and inputs.npz beside this file.

Run `python models/digits/train.py`; it takes about a minute on one core.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from data import Digits, load_split
from learn import accuracy, train
from model import DigitViT
from torch import nn

HERE = Path(__file__).resolve().parent
STEPS = 2000
SEED = 0
INPUTS = 40


def export(model: nn.Module, path: Path) -> None:
    """Write the model as ONNX whose initializers have the names of the module's state_dict.

    Constant folding is off so that each weight stays whole, under its own name and as the module stores it
    (the graph transposes it), and can be trained on and read back.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 1, 8, 8),),
            path,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    onnx.checker.check_model(str(path), full_check=True)
    names = {tensor.name for tensor in onnx.load(path).graph.initializer}
    missing = sorted(set(model.state_dict()) - names)
    if missing:
        raise RuntimeError(f"weights that are not initializers of their own: {', '.join(missing)}")


def save_inputs(digits: Digits, path: Path) -> None:
    """Write real digits as the graph's input, with their labels beside them."""
    np.savez_compressed(path, image=digits.images.numpy(), labels=digits.labels.numpy())


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this file)")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()

    # One thread: sums are then made in one order, and a second run writes the same weights.
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    digits, held_out = load_split()
    model = DigitViT()
    start = time.perf_counter()
    train(model, digits, steps=args.steps, seed=args.seed)
    print(f"trained {args.steps} steps on {len(digits)} digits in {time.perf_counter() - start:.0f} s")
    print(f"accuracy on {len(held_out)} held-out digits: {accuracy(model, held_out):.2%}")

    args.out.mkdir(parents=True, exist_ok=True)
    export(model, args.out / "digits.onnx")
    save_inputs(held_out.first(INPUTS), args.out / "inputs.npz")
    print(f"wrote digits.onnx ({(args.out / 'digits.onnx').stat().st_size / 1e3:.0f} kB) and inputs.npz")


if __name__ == "__main__":
    main()
