"""Decoders with a cache, whose inputs and outputs are named by block as `optimum` names them, and hidden states."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, DynamicLayer
from zoo.export import _quiet
from zoo.randomise import randomise
from zoo.sizes import Size

from matrix.entry import Entry
from matrix.torch_text import EVEN, GPT2, PLAIN, VOCABULARY, kv, model

BATCH, PAST, LENGTH, SOURCE = 2, 3, 4, 6
TOTAL = "past_sequence_length + sequence_length"

Named = dict[str, torch.Tensor]
Axes = dict[int, str]


@dataclass
class Case:
    """A module to export: flat inputs and outputs by their names in the graph, and the axes that are dynamic."""

    module: torch.nn.Module
    inputs: Named
    outputs: list[str]
    axes: dict[str, Axes]
    call: Callable[[Callable, Named], list[torch.Tensor]]

    def export(self, path: Path, exporter: str) -> None:
        """Write the module with its forward taking and giving flat tensors, in one file."""
        original = self.module.forward
        places = ", ".join(f"x{i}" for i in range(len(self.inputs)))
        call = lambda *given: tuple(self.call(original, dict(zip(self.inputs, given, strict=True))))  # noqa: E731
        self.module.forward = eval(f"lambda {places}: call({places})", {"call": call})
        options: dict = {"input_names": list(self.inputs), "output_names": self.outputs}
        if exporter == "dynamo":
            shapes = tuple(self.axes.get(name, {}) for name in self.inputs)
            options |= {"dynamo": True, "external_data": False, "verbose": False, "dynamic_shapes": shapes}
        else:
            options |= {"dynamo": False, "dynamic_axes": self.axes}
        try:
            with tempfile.TemporaryDirectory(dir=path.parent) as folder, _quiet(), torch.no_grad():
                partial = Path(folder) / "model.onnx"
                torch.onnx.export(self.module, tuple(self.inputs.values()), str(partial), **options)
                os.replace(partial, path)
        finally:
            del self.module.forward


def _ids(length: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (BATCH, length), generator=torch.Generator().manual_seed(seed))


def _filled(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> DynamicCache:
    """A cache that holds tensors as they are: updating an empty one would concatenate them to nothing."""
    cache = DynamicCache()
    for key, value in pairs:
        layer = DynamicLayer()
        layer.lazy_initialization(key, value)
        layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def _pairs(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _names(stem: str, depth: int, kinds: Iterable[str], order: str) -> list[str]:
    """`stem.0.key`, `stem.0.value` ... by layer, or all of one kind after the other."""
    kinds = list(kinds)
    if order == "by layer":
        return [f"{stem}.{i}.{kind}" for i in range(depth) for kind in kinds]
    return [f"{stem}.{i}.{kind}" for kind in kinds for i in range(depth)]


def _decoder(make: Callable, order: str = "by layer", positions: bool = False) -> Callable[[Size], Case]:
    """Logits and present keys and values from ids, a mask of all positions and past keys and values."""

    def case(size: Size) -> Case:
        module = make(size)[0].eval()
        (depth,) = size.depth
        randomise(module, seed=sum(map(ord, type(module).__name__)) + 31 * depth + sum(size.width))
        with torch.no_grad():
            past = _pairs(module(_ids(PAST, 2), use_cache=True).past_key_values)
        mask = torch.ones((BATCH, PAST + LENGTH), dtype=torch.int64)
        mask[-1, :2] = 0
        inputs = {"input_ids": _ids(LENGTH), "attention_mask": mask}
        axes: dict[str, Axes] = {
            "input_ids": {0: "batch_size", 1: "sequence_length"},
            "attention_mask": {0: "batch_size", 1: TOTAL},
            "logits": {0: "batch_size", 1: "sequence_length"},
        }
        if positions:
            inputs["position_ids"] = torch.arange(PAST, PAST + LENGTH).expand(BATCH, LENGTH)
            axes["position_ids"] = axes["input_ids"]
        kinds = ["key", "value"]
        ins, outs = _names("past_key_values", depth, kinds, order), _names("present", depth, kinds, order)
        for name in ins:
            _, _, number, kind = name.replace("past_key_values", "past.").split(".")
            inputs[name] = past[int(number)][kinds.index(kind)]
            axes[name] = {0: "batch_size", 2: "past_sequence_length"}
        axes |= {name: {0: "batch_size", 2: TOTAL} for name in outs}

        def call(forward: Callable, named: Named) -> list[torch.Tensor]:
            given = [tuple(named.pop(f"past_key_values.{i}.{kind}") for kind in kinds) for i in range(depth)]
            result = forward(**named, past_key_values=_filled(given), use_cache=True)
            made = {
                f"present.{i}.{kind}": tensor
                for i, pair in enumerate(_pairs(result.past_key_values))
                for kind, tensor in zip(kinds, pair, strict=True)
            }
            return [result.logits, *(made[name] for name in outs)]

        return Case(module, inputs, ["logits", *outs], axes, call)

    return case


def _rows(name: str, kind: str, case: Callable[[Size], Case], sizes: tuple, **options) -> list[Entry]:
    def exporting(exporter: str) -> Callable[[Size, Path], None]:
        return lambda size, path: case(size).export(path, exporter)

    def tables(size: Size) -> list[np.ndarray]:
        buffers = case(size).module.named_buffers()
        return [b.numpy() for _, b in buffers if b.is_floating_point() and b.numel() > 1]

    exporters = ("torchscript", "dynamo")
    return [Entry(name, kind, e, exporting(e), *sizes, tables=tables, **options) for e in exporters]


_KV2 = {"num_key_value_heads": lambda d, w: w // 12}
D_ = "decoder with cache"
ENTRIES = [
    *_rows("GPT-2 cache", D_, _decoder(model("GPT2Config", "GPT2LMHeadModel", **GPT2)), PLAIN),
    *_rows("Qwen2 cache", D_, _decoder(model("Qwen2Config", "Qwen2ForCausalLM", 6, **_KV2)), EVEN),
    *_rows("Llama cache", D_, _decoder(model("LlamaConfig", "LlamaForCausalLM", 6, **kv())), EVEN),
]
