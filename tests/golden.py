"""The native exports in tests/exports: one model at two sizes, and what is typed to get from one to the other."""

import functools
import json
import lzma
from pathlib import Path
from typing import Any

import onnx

__all__ = ["FOLDER", "PAIRS", "about", "golden", "golden_file"]

FOLDER = Path(__file__).parent / "exports"
PAIRS = sorted(path.stem for path in FOLDER.glob("*.json"))


@functools.cache
def about(pair: str) -> dict[str, Any]:
    """What is noted of a pair: model, exporter, the target's label, the request, what the oracle has to know."""
    return json.loads((FOLDER / f"{pair}.json").read_text())


def golden(pair: str, size: str = "source") -> onnx.ModelProto:
    """The model at its own size or, under `target`, at the other one; a copy of its own for every caller."""
    name = f"{pair}-{about(pair)['target'] if size == 'target' else size}.onnx"
    packed = FOLDER / f"{name}.xz"
    return onnx.load_from_string(lzma.decompress(packed.read_bytes())) if packed.exists() else onnx.load(FOLDER / name)


def golden_file(pair: str, folder: Path, size: str = "source") -> Path:
    """The model in a file, as users have it."""
    path = folder / f"{pair}-{size}.onnx"
    onnx.save(golden(pair, size), path)
    return path
