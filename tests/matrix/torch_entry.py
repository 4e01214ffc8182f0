"""Rows of the matrix from a function that builds a torch module: one row for each of torch's exporters."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from zoo.export import flatten, write
from zoo.graphview import View, is_parameter
from zoo.randomise import randomise
from zoo.sizes import Size

from matrix.entry import Entry

__all__ = ["torch_entries"]

Make = Callable[[Size], tuple[torch.nn.Module, dict[str, torch.Tensor]]]


def torch_entries(
    name: str,
    kind: str,
    make: Make,
    sizes: tuple[Size, dict[str, Size]],
    *,
    axes: dict[int, str] | None = None,
    exporters: Iterable[str] = ("torchscript", "dynamo"),
    opset: int | None = None,
    **options,
) -> list[Entry]:
    """The rows of one architecture.

    `make` gives a module and example inputs in the order of its signature; `axes` are the dynamic axes of all inputs.
    """

    def build(size: Size, seed: int = 0) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        module, inputs = make(size)
        randomise(module, seed=sum(map(ord, name)) + 31 * sum(size.depth) + sum(size.width) + seed, scalars=True)
        return module.eval(), inputs

    def tables(size: Size) -> list[np.ndarray]:
        module, _ = build(size)
        return [
            buffer.numpy()
            for key, buffer in module.named_buffers()
            if buffer.is_floating_point() and buffer.numel() > 1 and "running_" not in key
        ]

    def exporting(exporter: str) -> Callable[..., None]:
        def export(size: Size, path: Path, seed: int = 0) -> None:
            module, inputs = build(size, seed)
            with torch.no_grad():
                count = len(flatten(module(**inputs)))
            outputs = tuple(f"out{i}" for i in range(count)) if count > 1 else ("out",)
            write(module, inputs, path, exporter=exporter, opset=opset, outputs=outputs, axes=axes or {})

        return export

    def twin(exporter: str) -> Callable[[Size, Path, Path], bool]:
        def export(size: Size, native: Path, path: Path) -> bool:
            module, _ = build(size)
            single = any(p.numel() == 1 for p in module.parameters())
            once = exporter == "dynamo" and size != sizes[1].get("grow", size)  # it takes its time
            if needed := single or (not once and _holds_more(native, module)):
                exporting(exporter)(size, path, seed=1)
            return needed

        return export

    return [Entry(name, kind, e, exporting(e), *sizes, tables=tables, twin=twin(e), **options) for e in exporters]


def _holds_more(path: Path, module: torch.nn.Module) -> bool:
    """True if a model holds floats that are none of its module's parameters."""

    def key(array: np.ndarray) -> bytes:
        return np.sort(array, axis=None).tobytes()  # exporters transpose

    held = {key(p.detach().numpy()) for p in module.parameters() if p.requires_grad}
    constants = View(onnx.load(path)).constants.values()
    return not {key(a) for a in constants if is_parameter(a)} <= held
