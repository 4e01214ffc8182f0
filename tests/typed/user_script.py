"""What a user's script looks like to a strict type checker; `tests/test_typing.py` runs one on it.

A line that is to be an error has an ignore: if the interface lost its types, the checker would call it unused.
"""

from pathlib import Path
from typing import assert_type

import onnx

import front_onnx

result = front_onnx.resize("model.onnx", depth=[3, 4], width=64, dims={"classes": 10}, output=Path("small.onnx"))
assert_type(result.output, Path | None)
assert_type(result.plan.depths, list[tuple[int, int]])
assert_type(result.validation, front_onnx.Validation | None)
structure: front_onnx.Structure = front_onnx.inspect(onnx.ModelProto(), residual="x:1")
names: list[str] = [dim.name for dim in structure.dims if dim.frozen is None]
deep = front_onnx.init("model.safetensors", depth="encoder=4", round_to=8)
moved = front_onnx.init_into("model.onnx", onnx.ModelProto(), mapping={"a": None})
sources: list[front_onnx.Piece | None] = [match.source for match in moved.matches]
compared = front_onnx.compare("model.onnx", depth=3, at=["width=24"], methods="front,fold")
assert_type(compared.best, front_onnx.Row | None)
low: list[front_onnx.StackSpectrum] = front_onnx.spectrum("model.onnx")

front_onnx.resize("model.onnx", depth=2.5)  # type: ignore[arg-type]
front_onnx.compare("model.onnx", deepth=3)  # type: ignore[call-arg]
front_onnx.inspect(3)  # type: ignore[arg-type]
front_onnx.init("model.safetensors", deepth=3)  # type: ignore[call-arg]

try:
    front_onnx.validate("model.onnx")
except front_onnx.RequestError as error:
    assert_type(error.with_hint("another size"), front_onnx.RequestError)
except (front_onnx.FileError, front_onnx.UnsupportedError) as error:
    code: int = error.exit_code
