"""Write the small exports in tests/exports, so that normal tests need none of the frameworks they come from.

python tests/matrix/write_exports.py jax-vit jax-convnext

Each becomes NAME-source.onnx, the native export of one target NAME-LABEL.onnx, and NAME.json with what is typed to get
from one to the other.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the zoo lies beside this folder, in no package

from matrix.entry import Entry

FOLDER = Path(__file__).resolve().parents[1] / "exports"

# Under a short name: the suite, the row and the target.
EXPORTS = {
    "jax-vit": ("jax_models", "ViT (nnx), functions", "mixed"),
    "jax-convnext": ("jax_models", "ConvNeXt (linen)", "mixed"),
    "keras-encoder": ("keras_models", "tokens-encoder keras", "mixed"),
    "keras-cnn": ("keras_models", "inverted-residual tf2onnx", "mixed"),
}


def write(name: str) -> None:
    """Export a source and its target, and note the request."""
    suite, row, label = EXPORTS[name]
    entries: list[Entry] = importlib.import_module(f"matrix.{suite}").ENTRIES
    entry = next(e for e in entries if row in (e.name, f"{e.name} {e.exporter}"))
    entry.export(entry.source, FOLDER / f"{name}-source.onnx")
    entry.export(entry.targets[label], FOLDER / f"{name}-{label}.onnx")
    about = {"model": entry.name, "exporter": entry.exporter, "target": label, "request": entry.request(label)}
    (FOLDER / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        write(chosen)
