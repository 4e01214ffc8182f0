"""What lies in a folder of a model: its ONNX files, configurations, weights of frameworks, and all else."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from front_onnx.errors import FileError, RequestError
from front_onnx.read.model_file import ModelFile, read_model

__all__ = ["Folder", "holds_models", "read_folder"]

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".gguf", ".tflite")
_INDEX = (".safetensors.index.json", ".bin.index.json")


@dataclass(frozen=True)
class Folder:
    """A folder of a model. All paths are relative to it.

    Attributes:
        path: where it is.
        models: its ONNX files, read.
        configs: its JSON objects with a configuration, by path.
        copied: files that stay as they are.
        left: files that hold weights of the old sizes for a framework.
    """

    path: Path
    models: dict[Path, ModelFile]
    configs: dict[Path, dict[str, Any]]
    copied: tuple[Path, ...]
    left: tuple[Path, ...]


def holds_models(path: str | os.PathLike[str]) -> bool:
    """True for a folder in which an ONNX file is."""
    root = Path(path)
    return root.is_dir() and any(name.suffix == ".onnx" for name in _files(root, root))


def read_folder(path: str | os.PathLike[str]) -> Folder:
    """Read what lies in a folder; hidden files and folders are not looked at.

    Raises:
        RequestError: no ONNX file is in it.
        FileError: a file cannot be read.
    """
    root = Path(path)
    found = sorted(_files(root, root))
    models = {name: read_model(root / name) for name in found if name.suffix == ".onnx"}
    if not models:
        raise RequestError(f"no .onnx file is in the folder {root}", hint="front-onnx resize MODEL.onnx")
    data = {file.resolve() for model in models.values() for file in model.files}
    rest = [name for name in found if name.suffix != ".onnx" and (root / name).resolve() not in data]
    left = tuple(name for name in rest if name.suffix in _WEIGHTS or name.name.endswith(_INDEX))
    configs = {name: held for name in rest if name.name == "config.json" and (held := _config(root / name)) is not None}
    copied = tuple(name for name in rest if name not in left and name not in configs)
    return Folder(root, models, configs, copied, left)


def _files(root: Path, folder: Path) -> list[Path]:
    found: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FileError(f"the folder {folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += _files(root, entry) if not entry.is_symlink() else []
        elif entry.is_file():
            found.append(entry.relative_to(root))
    return found


def _config(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise FileError(f"{path} is no JSON in UTF-8", hint="mend it, or move it away") from None
    return held if isinstance(held, dict) else None
