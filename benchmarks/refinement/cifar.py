"""A small vision transformer for CIFAR-10, trained from scratch: the source of the second half of the benchmark.

python benchmarks/refinement/cifar.py --data cifar10-jpeg.npz --out FOLDER
"""

import argparse
import io
import math
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

IMAGE, PATCH, CLASSES = 32, 4, 10


def load(path: Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` pictures of a split, float32 [n, 3, 32, 32] with values in -1..1, and labels int64 [n].

    The archive holds `SPLIT_jpeg` (all files one after another), `SPLIT_ends` and `SPLIT_labels`.
    """
    with np.load(path) as archive:
        blob, ends = archive[f"{split}_jpeg"], archive[f"{split}_ends"][:count]
        labels = archive[f"{split}_labels"][:count].astype(np.int64)
    starts = [0, *ends[:-1]]
    pictures = [
        np.asarray(Image.open(io.BytesIO(blob[start:end].tobytes())).convert("RGB"))
        for start, end in zip(starts, ends, strict=True)
    ]
    images = np.stack(pictures).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images, np.float32) / 127.5 - 1, labels


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = width // head_dim, head_dim
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, tokens, width] to the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class PictureViT(nn.Module):
    """A vision transformer with a stem of two convolutions, which learns faster from few pictures."""

    def __init__(self, depth: int = 6, width: int = 96, head_dim: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 2, 3, stride=2, padding=1)
        self.patches = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (IMAGE // PATCH) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, head_dim) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Map images [batch, 3, 32, 32] to logits [batch, 10]."""
        x = self.patches(functional.relu(self.stem(image))).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, batch: int = 128, lr: float = 1e-3) -> None:
    """AdamW with a short warm-up and a cosine decay; pictures are mirrored and moved by up to 4 pixels."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    total = epochs * (len(images) // batch)
    warm = total // 20
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / total)))
    )
    model.train()
    for epoch in range(epochs):
        started, seen = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for picked in order[: len(order) // batch * batch].split(batch):
            x = functional.pad(images[picked], (4, 4, 4, 4))
            top, left = torch.randint(0, 9, (2,), generator=generator).tolist()
            x = x[:, :, top : top + IMAGE, left : left + IMAGE]
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
            loss = functional.cross_entropy(model(x), labels[picked], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += loss.item()
        print(
            f"epoch {epoch + 1}: {seen / (len(order) // batch):.3f}, {time.perf_counter() - started:.0f} s", flush=True
        )
    model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar10-jpeg.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for cifar.onnx, train.npz and test.npz")
    parser.add_argument("--count", type=int, default=20_000, help="pictures to learn from")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    images, labels = load(options.data, "train", options.count)
    test_images, test_labels = load(options.data, "test", 2_000)
    np.savez(options.out / "train.npz", image=images[:10_000], labels=labels[:10_000])
    np.savez(options.out / "test.npz", image=test_images, labels=test_labels)
    model = PictureViT()
    train(model, torch.from_numpy(images), torch.from_numpy(labels), options.epochs)
    with torch.no_grad():
        right = (model(torch.from_numpy(test_images)).argmax(1) == torch.from_numpy(test_labels)).float().mean()
    print(f"accuracy on {len(test_labels)} test pictures: {right:.3f}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, IMAGE, IMAGE),),
            options.out / "cifar.onnx",
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )


if __name__ == "__main__":
    main()
