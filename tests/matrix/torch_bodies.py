"""Control flow of torch: scripted loops and branches, `torch.cond`, and `scan` over layers stacked in one tensor."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch._higher_order_ops.scan import scan
from zoo.export import write
from zoo.randomise import randomise
from zoo.sizes import Size, uniform, widths

from matrix.entry import Entry

INPUTS, CLASSES = 5, 4
STACKED = uniform(depth=3, width=8, shallower=2, narrower=4, deeper=5, wider=12)
WIDTHS = widths(8, 4, 12)


class _Stack(torch.nn.Module):
    """Residual layers, all in one tensor."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(INPUTS, width)
        self.weight = torch.nn.Parameter(torch.empty(depth, width, width))
        self.bias = torch.nn.Parameter(torch.empty(depth, width))
        self.head = torch.nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for i in range(self.weight.size(0)):
            x = x + torch.relu(x @ self.weight[i] + self.bias[i])
        return self.head(x)


class _Scanned(_Stack):
    def forward(self, x):
        def layer(x: torch.Tensor, weights: tuple[torch.Tensor, torch.Tensor]):
            x = x + torch.relu(x @ weights[0] + weights[1])
            return x, x.sum(-1)

        x, _ = scan(layer, self.stem(x), (self.weight, self.bias))
        return self.head(x)


class _Expert(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = torch.nn.Linear(width, 3 * width)
        self.down = torch.nn.Linear(3 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class _Branches(torch.nn.Module):
    """One of two experts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(INPUTS, width)
        self.one, self.other = _Expert(width), _Expert(width)
        self.head = torch.nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        if x.sum() > 0:  # noqa: SIM108 - TorchScript keeps it as it is written
            x = self.one(x)
        else:
            x = self.other(x)
        return self.head(x)


class _Cond(_Branches):
    def forward(self, x):
        x = self.stem(x)
        return self.head(torch.cond(x.sum() > 0, lambda y: self.one(y), lambda y: self.other(y), (x,)))


def _entry(name: str, exporter: str, make: Callable[[Size], torch.nn.Module], sizes, **options) -> Entry:
    def export(size: Size, path: Path) -> None:
        module = make(size).eval()
        randomise(module, seed=sum(size.depth) + 31 * sum(size.width))
        x = torch.randn(3, INPUTS, generator=torch.Generator().manual_seed(1))
        if exporter == "torchscript":
            axes = {"x": {0: "batch"}, "out": {0: "batch"}}
            names = {"input_names": ["x"], "output_names": ["out"], "dynamic_axes": axes}
            torch.onnx.export(torch.jit.script(module), (x,), str(path), dynamo=False, **names)
        else:
            write(module, {"x": x}, path, exporter=exporter, opset=None, outputs=("out",), axes={0: "batch"})

    return Entry(name, "bodies", exporter, export, *sizes, **options)


ENTRIES = [
    _entry("loop-over-layers", "torchscript", lambda s: _Stack(s.depth[0], s.width[0]), STACKED),
    _entry("scan-over-layers", "dynamo", lambda s: _Scanned(s.depth[0], s.width[0]), STACKED),
    _entry("if-else", "torchscript", lambda s: _Branches(s.width[0]), WIDTHS, by_ratio=True),
    _entry("cond", "dynamo", lambda s: _Cond(s.width[0]), WIDTHS, by_ratio=True),
]
