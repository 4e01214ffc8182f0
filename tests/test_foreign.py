"""Files of other formats: one line that says what they are and how an ONNX model is made of them."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from front_onnx import inspect
from front_onnx.errors import FileError


def archive(*members: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            for member in members:
                made.writestr(member, b"{}")

    return write


def holding(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def traced(path: Path) -> None:
    archive("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py")(path)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("m.pt", lambda path: torch.save(torch.nn.Linear(3, 4).state_dict(), path), "PyTorch.*torch.onnx.export"),
        ("m.pth", traced, "PyTorch.*torch.onnx.export"),
        ("m.ckpt", holding(pickle.dumps({"state_dict": {}})), "pickle.*torch.onnx.export"),
        ("m.keras", archive("metadata.json", "config.json", "model.weights.h5"), "Keras.*model.export"),
        ("m.h5", holding(b"\x89HDF\r\n\x1a\n" + bytes(64)), "Keras.*model.export"),
        ("m.safetensors", lambda path: save_file({"w": np.zeros(3, np.float32)}, path), "weights and no graph"),
        ("m.zip", archive("folder/model.onnx", "README"), "zip archive; unpack folder/model.onnx"),
        ("m.tflite", holding(b"\x1c\0\0\0TFL3" + bytes(64)), "TensorFlow Lite.*tf2onnx"),
        ("saved_model.pb", holding(b"\x08\x01\x12\x10" + bytes(64)), "TensorFlow.*tf2onnx"),
        ("m.gguf", holding(b"GGUF" + bytes(64)), "GGUF"),
        ("m.ort", holding(b"\x20\0\0\0ORTM" + bytes(64)), "onnxruntime's own format"),
        ("m.onnx", holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        ("m.onnx", holding(b"\n<!DOCTYPE html><html>404"), "page of the web"),
        ("m.onnx.gz", holding(b"\x1f\x8b\x08" + bytes(64)), "gzip; unpack it"),
    ],
)
def test_one_line_says_what_it_is(tmp_path: Path, name: str, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path / name)
    with pytest.raises(FileError, match=rf"is no ONNX model: it is .*{words}") as told:
        inspect(tmp_path / name)
    assert "\n" not in str(told.value)
