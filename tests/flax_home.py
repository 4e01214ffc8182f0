"""Weights into Flax models: `make frameworks` runs this where Flax is installed; nothing else here needs it."""

from pathlib import Path

import numpy as np
import pytest
from small import run

import front_onnx

pytest.importorskip("flax", reason="`make frameworks` installs it")
pytest.importorskip("jax2onnx", reason="`make frameworks` installs it")

import jax
import onnx
from front_onnx.adapters.flax import initialize, load_weights
from jax2onnx import to_onnx
from matrix import jax_linen, jax_nnx
from matrix.jax_entry import randomised
from zoo.sizes import Size

from front_onnx.errors import FrontError

pytestmark = pytest.mark.export

IDS = np.random.default_rng(0).integers(0, 40, (2, 9)).astype(np.int32)
IMAGE = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
REQUEST = {"depth": 5, "width": 30}


def _write(function, inputs: np.ndarray, path: Path) -> Path:
    to_onnx(function, [jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)], return_mode="file", output_path=path)
    return path


def _compare(source: Path, outputs: np.ndarray, inputs: np.ndarray) -> None:
    resized = front_onnx.resize(source, output=source.with_name("resized.onnx"), **REQUEST).output
    (wanted,) = run(resized, {onnx.load(resized).graph.input[0].name: inputs})
    assert np.abs(outputs - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (jax_linen.Encoder, IDS),
        (jax_linen.Decoder, IDS),
        (jax_linen.VisionTransformer, IMAGE),
        (jax_linen.Mixer, IMAGE),
    ],
)
def test_linen(tmp_path: Path, kind: type, inputs: np.ndarray) -> None:
    small, large = kind(depth=3, width=20), kind(depth=5, width=30)
    weights = randomised(small.init(jax.random.key(0), inputs), Size((3,), (20,)))
    source = _write(lambda x: small.apply(weights, x), inputs, tmp_path / "source.onnx")
    own = randomised(large.init(jax.random.key(1), inputs), Size((5,), (30,)), seed=9)
    before = jax.tree_util.tree_map(np.array, own)
    made, report = initialize(large, inputs, source, variables=own)
    assert not report.partly and not report.kept, str(report)
    assert jax.tree_util.tree_all(jax.tree_util.tree_map(np.array_equal, before, own))
    _compare(source, np.asarray(large.apply(made, inputs)), inputs)
    again, _ = load_weights(large, source.with_name("resized.onnx"), variables=own)
    assert jax.tree_util.tree_all(jax.tree_util.tree_map(np.array_equal, made, again))


@pytest.mark.parametrize(
    ("kind", "inputs"), [(jax_nnx.Encoder, IDS), (jax_nnx.Decoder, IDS), (jax_nnx.VisionTransformer, IMAGE)]
)
def test_nnx(tmp_path: Path, kind: type, inputs: np.ndarray) -> None:
    source = _write(jax_nnx._random(kind(3, 20), Size((3,), (20,))), inputs, tmp_path / "source.onnx")
    module = jax_nnx._random(kind(5, 30), Size((5,), (31,)))
    _, report = initialize(module, inputs, source)
    assert not report.partly and not report.kept, str(report)
    _compare(source, np.asarray(module(inputs)), inputs)


def test_linen_without_its_variables_says_so() -> None:
    with pytest.raises(FrontError, match="holds no weights"):
        initialize(jax_linen.Encoder(depth=2, width=20), IDS, "source.onnx")
