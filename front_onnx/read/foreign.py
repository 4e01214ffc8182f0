"""Files of other formats that people give for an ONNX model: what they are, and how a model is made of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["foreign"]

_TORCH = "torch.onnx.export(module, example, 'model.onnx') writes one from PyTorch"
_KERAS = "model.export('model.onnx', format='onnx') writes one from Keras"
_TENSORFLOW = "python -m tf2onnx.convert writes one from TensorFlow"
_AGAIN = "download it again"
_STARTS = {  # of files, what they are, and a way out
    b"\x89HDF": ("a Keras or other HDF5 file", _KERAS),
    b"GGUF": ("a GGUF file", "export the model that it was converted from"),
    b"version https://git-lfs": ("a pointer of Git LFS, and not the file itself", "git lfs pull fetches it"),
    b"<!DOCTYPE": ("a page of the web", _AGAIN),
    b"<html": ("a page of the web", _AGAIN),
    b"\x1f\x8b": ("compressed by gzip", "unpack it"),
    b"\xfd7zXZ": ("compressed by xz", "unpack it"),
    b"BZh": ("compressed by bzip2", "unpack it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"\x93NUMPY": ("a NumPy array", "a model is a graph with weights"),
    b"ORTM": ("onnxruntime's own format", "resize the ONNX model that it was made from"),
}
_INSIDE = {4: {b"TFL3": ("a TensorFlow Lite file", _TENSORFLOW), b"ORTM": _STARTS[b"ORTM"]}}
_MEMBERS = (  # what the name of a member of a zip archive tells
    ("model.weights.h5", "a Keras file", _KERAS),
    ("data.pkl", "a PyTorch file", _TORCH),
    ("model.json", "a TorchScript archive or a program", _TORCH),
    ("saved_model.pb", "a TensorFlow model in a zip archive", _TENSORFLOW),
)


def foreign(path: Path, head: bytes) -> tuple[str, str] | None:
    """What a file is that is no ONNX model, and a way to one; None if its first bytes do not tell.

    Args:
        path: the file, which may be an archive.
        head: its first bytes.
    """
    for start, found in _STARTS.items():
        if head.lstrip()[: len(start)].lower() == start.lower() or head.startswith(start):
            return found
    for place, kinds in _INSIDE.items():
        if head[place : place + 4] in kinds:
            return kinds[head[place : place + 4]]
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "a pickle, as older PyTorch files are", _TORCH
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file, which holds weights and no graph", _TORCH
    if path.name in ("saved_model.pb", "frozen_graph.pb") or (path.suffix == ".pb" and head[:1] != b"\x08"):
        return "a TensorFlow graph", _TENSORFLOW
    return None


def _archive(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return "a damaged zip archive", _AGAIN
    for end, what, way in _MEMBERS:
        if any(name.endswith(end) for name in names):
            return what, way
    models = [name for name in names if name.endswith(".onnx")]
    return "a zip archive", f"unpack {models[0]}" if models else "it holds no .onnx file"
