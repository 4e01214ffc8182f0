"""Which exports of the zoo are kept in tests/exports, at two sizes each: every architecture by dynamo, which takes
longest to export, and the first by both exporters."""

from pathlib import Path

from .architectures import ARCHITECTURES
from .opsets import EXPORTERS
from .sizes import Size

FOLDER = Path(__file__).resolve().parents[1] / "exports"
BY_BOTH = (
    "bert",
    "bert-collisions",
    "bert-fresh",
    "gpt2",
    "llama",
    "t5-encoder",
    "vit",
    "swin",
    "deit-distilled",
    "mixer",
    "convnext",
    "resnet-bottleneck",
    "encoder-norm-first",
)
# Those that dynamo alone is kept of, with their targets.
BY_DYNAMO = {
    "bert-eager": "grow",
    "bert-classifier": "mixed",
    "roberta": "mixed",
    "distilbert": "grow",
    "opt": "grow",
    "vit-fresh": "grow",
    "vit-collisions": "mixed",
    "deit": "mixed",
    "mixer-collisions": "grow",
    "resnet-basic": "mixed",
    "encoder": "grow",
    "mlp": "grow",
}
# Name, exporter, target. Depth and width both change in every pair, to more or to less of both in turn.
PAIRS = {
    f"torch-{name}-{exporter}": (name, exporter, ("mixed", "grow")[(i + j) % 2])
    for i, name in enumerate(BY_BOTH)
    for j, exporter in enumerate(EXPORTERS)
} | {f"torch-{name}-dynamo": (name, "dynamo", label) for name, label in BY_DYNAMO.items()}


def kept_file(name: str, size: Size, exporter: str) -> Path | None:
    """The packed file of an architecture at a size, where it is kept: dynamic axes, the exporter's default opset."""
    pair = f"torch-{name}-{exporter}"
    if pair not in PAIRS:
        return None
    for label in ("source", PAIRS[pair][2]):
        if ARCHITECTURES[name].size(label) == size:
            return FOLDER / f"{pair}-{label}.onnx.xz"
    return None
