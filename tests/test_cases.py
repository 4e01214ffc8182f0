"""Small exports that were once resized wrongly in silence: equal to the native export of the other size."""

import lzma
from pathlib import Path

import onnx
import pytest
from zoo.oracle import compare

import front_onnx

FOLDER = Path(__file__).parent / "cases"
CASES = {  # what is asked for, and the size that the native export's name ends in
    "fourier-mixing-matrix": ({"width": 24}, "w24"),  # a Fourier basis is summed over, as a weight would be
    "gelu-before-product": ({"width_mult": 2}, "x2"),  # 0.5 and the root of 2 are powers of some size by chance
    "learned-query-attention": ({"width_mult": 2}, "x2"),  # queries that are parameters are scaled like others
    "learned-query-decoder-depth": ({"depth": 4}, "d4"),  # the first block starts from parameters, not from data
}


def load(name: str) -> onnx.ModelProto:
    return onnx.load_from_string(lzma.decompress((FOLDER / f"{name}.onnx.xz").read_bytes()))


@pytest.mark.parametrize("name", CASES)
def test_equals_the_native_export(name: str) -> None:
    request, size = CASES[name]
    resized = front_onnx.resize(load(name), **request).model
    assert compare(resized, load(f"{name}-{size}")) == []


def test_every_file_is_a_case() -> None:
    wanted = {f"{name}{size}.onnx.xz" for name, (_, size) in CASES.items() for size in ("", f"-{size}")}
    assert {path.name for path in FOLDER.iterdir()} == wanted
