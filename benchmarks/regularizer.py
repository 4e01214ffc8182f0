"""What L_reg costs: a training step of a ViT-Ti-sized model with it and without, as a ratio in one run.

python benchmarks/regularizer.py [--batch 64] [--rounds 5] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from front_onnx.adapters.spectral.regularizer import SpectralRegularizer
from torch import Tensor, nn


class ViT(nn.Module):
    """A vision transformer without its stem: 197 tokens through pre-norm blocks."""

    def __init__(self, depth: int = 12, width: int = 192, heads: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [batch, 197, width] to logits [batch, 1000]."""
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(options.device)
    model = ViT().to(device)
    x = torch.randn(options.batch, 197, 192, device=device)
    labels = torch.randint(0, 1000, (options.batch,), device=device)
    optimizer = torch.optim.AdamW(model.parameters())
    regularizers = {f"every {k}": SpectralRegularizer(model, every=k).to(device) for k in (1, 4)}

    def step(regularizer: SpectralRegularizer | None) -> float:
        started = time.perf_counter()
        loss = nn.functional.cross_entropy(model(x), labels)
        if regularizer is not None:
            loss = regularizer.total(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    step(None), step(regularizers["every 1"])
    times: dict[str, list[float]] = {"without": [], **{name: [] for name in regularizers}}
    for _ in range(options.rounds):
        times["without"].append(step(None))
        times["every 1"].append(step(regularizers["every 1"]))
        times["every 4"].append(statistics.mean(step(regularizers["every 4"]) for _ in range(4)))
    base = statistics.median(times["without"])
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, batch {options.batch}, {options.device}"
    )
    print(f"without L_reg: {base:.3f} s a step")
    for name in regularizers:
        ratios = [a / b for a, b in zip(times[name], times["without"], strict=True)]
        print(f"with it, {name}: {statistics.median(ratios):.3f} times as long")


if __name__ == "__main__":
    main()
