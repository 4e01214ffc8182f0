"""Small versions of real architectures, each buildable at any size.

One entry of `ARCHITECTURES` knows how its framework builds the model at a `Size`, which sizes the tests ask
for, and what a user would type to get there. Everything inside scales with the width the way the framework's
own model families do: heads scale with their size kept, key/value heads keep their ratio, feed-forward widths
stay proportional. Vocabulary, positions, classes, image and patch size stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .sizes import Size, per_stage, request, uniform

if TYPE_CHECKING:
    import torch
    import torch.nn as nn

    Inputs = dict[str, torch.Tensor]

TEXT_AXES = {0: "batch", 1: "sequence"}
BATCH_AXIS = {0: "batch"}


@dataclass(frozen=True)
class Architecture:
    """One buildable architecture with its source size and the sizes it is resized to; `make` names a family."""

    name: str
    make: str
    source: Size
    targets: dict[str, Size]
    outputs: tuple[str, ...]
    input_axes: dict[int, str]
    fresh: bool = False
    output_axes: dict[int, str] = field(default_factory=dict)
    width_by_ratio: bool = False

    def build(self, size: Size) -> tuple[nn.Module, Inputs]:
        """The module at this size in evaluation mode, and example inputs in the order of its signature."""
        import torch

        from . import families  # takes seconds to import: tests that build nothing go without
        from .randomise import coarsen, randomise

        torch.manual_seed(0)
        module, inputs = getattr(families, self.make)(size)
        if not self.fresh:
            randomise(module, seed=sum(map(ord, self.name)) + 31 * sum(size.depth) + sum(size.width))
        coarsen(module)
        return module.eval(), inputs

    def tables(self, size: Size) -> list[torch.Tensor]:
        """Float tensors the architecture computes and training never changes, such as rotary frequencies."""
        module, _ = self.build(size)
        return [
            buffer
            for name, buffer in module.named_buffers()
            if buffer.is_floating_point() and buffer.numel() > 1 and "running_" not in name
        ]

    def size(self, label: str) -> Size:
        """The size a label stands for; `source` is one too."""
        return self.source if label == "source" else self.targets[label]

    def request(self, size: Size) -> dict[str, str]:
        """What a user types to get from the source to this size; what does not change is left out."""
        return request(self.source, size, by_ratio=self.width_by_ratio)


_LOGITS = ("logits",)
_HIDDEN = ("last_hidden_state",)
_POOLED = ("last_hidden_state", "pooler_output")

# Depth 3 to 2 or 5; width 20 = 4 heads of 5 to 2 or 6 heads.
_PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)
_ROTARY = uniform(depth=3, width=24, shallower=2, narrower=12, deeper=5, wider=36)
_COLLIDING = uniform(depth=4, width=16, shallower=2, narrower=8, deeper=6, wider=24)
_SWIN = per_stage((2, 2, 4, 2), (6, 12, 24, 48), shallower=(2, 2, 2, 2), deeper=(2, 2, 6, 2), narrow=0.5, wide=1.5)
_CONVNEXT = per_stage((2, 2, 3, 2), (6, 10, 14, 22), shallower=(1, 1, 2, 1), deeper=(3, 2, 5, 2), narrow=0.5, wide=1.5)
_BOTTLENECK = per_stage((2, 3, 4, 2), (4, 6, 10, 14), shallower=(1, 2, 2, 1), deeper=(3, 3, 6, 2), narrow=0.5, wide=1.5)
_BASIC = per_stage((2, 2, 3, 2), (8, 10, 12, 14), shallower=(1, 1, 2, 1), deeper=(3, 2, 4, 2), narrow=0.5, wide=1.5)


def _text(name: str, make: str, sizes: tuple, outputs: tuple[str, ...], **kwargs) -> Architecture:
    return Architecture(name, make, *sizes, outputs=outputs, input_axes=TEXT_AXES, **kwargs)


def _vision(name: str, make: str, sizes: tuple, outputs: tuple[str, ...] = _LOGITS, **kwargs):
    return Architecture(name, make, *sizes, outputs=outputs, input_axes=BATCH_AXIS, **kwargs)


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        _text("bert", "bert", _PLAIN, _POOLED),
        _text("bert-fresh", "bert", _PLAIN, _POOLED, fresh=True),
        _text("bert-eager", "bert_eager", _PLAIN, _POOLED),
        _text("bert-classifier", "bert_classifier", _PLAIN, _LOGITS),
        _text("bert-collisions", "bert_collisions", _COLLIDING, _LOGITS),
        _text("roberta", "roberta", _PLAIN, _POOLED),
        _text("distilbert", "distilbert", _PLAIN, _HIDDEN),
        _text("gpt2", "gpt2", _PLAIN, _LOGITS),
        _text("opt", "opt", _PLAIN, _LOGITS),
        _text("llama", "llama", _ROTARY, _LOGITS),
        _text("t5-encoder", "t5_encoder", _PLAIN, _HIDDEN),
        _vision("vit", "vit", _PLAIN),
        _vision("vit-fresh", "vit", _PLAIN, fresh=True),
        _vision("vit-collisions", "vit_collisions", _COLLIDING),
        _vision("swin", "swin", _SWIN),
        _vision("deit", "deit", _PLAIN),
        _vision("deit-distilled", "deit_distilled", _PLAIN),
        _vision("mixer", "mixer", _PLAIN),
        _vision("mixer-collisions", "mixer_collisions", _COLLIDING),
        _vision("convnext", "convnext", _CONVNEXT),
        _vision("resnet-bottleneck", "resnet_bottleneck", _BOTTLENECK, width_by_ratio=True),
        _vision("resnet-basic", "resnet_basic", _BASIC, width_by_ratio=True),
        _text("encoder", "encoder", _PLAIN, _HIDDEN),
        _text("encoder-norm-first", "encoder_norm_first", _PLAIN, _HIDDEN),
        _vision("mlp", "mlp", _PLAIN),
    )
}
