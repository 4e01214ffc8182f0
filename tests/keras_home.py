"""Weights into Keras models: `make frameworks` runs this where Keras is installed; nothing else here needs it."""

import os
from pathlib import Path

import numpy as np
import pytest
from small import run

import front_onnx

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("keras", reason="`make frameworks` installs it")
pytest.importorskip("tf2onnx", reason="`make frameworks` installs it")

import onnx
from front_onnx.adapters.keras import initialize, load_weights
from matrix import keras_models
from matrix.keras_entry import randomise

from front_onnx.errors import FrontError

pytestmark = pytest.mark.export

VOCABULARY = 41


@pytest.mark.parametrize(
    "name", ["pre-norm-encoder", "post-norm-encoder", "tokens-encoder", "gpt", "vit", "resnet", "mixer", "convnext"]
)
def test_a_model_computes_what_the_resized_one_does(tmp_path: Path, name: str) -> None:
    entry = next(e for e in keras_models.ENTRIES if (e.name, e.exporter) == (name, "keras"))
    source, label = tmp_path / "source.onnx", list(entry.targets)[-1]
    entry.export(entry.source, source)
    resized = front_onnx.resize(source, output=tmp_path / "resized.onnx", **entry.request(label)).output
    make = dict(zip(entry.export.__code__.co_freevars, entry.export.__closure__, strict=True))["make"].cell_contents
    model = make(entry.targets[label])
    randomise(model, seed=5)
    report = initialize(model, source)
    assert not report.partly and not report.kept, str(report)
    rng = np.random.default_rng(0)
    arrays = {}
    for info in onnx.load(resized).graph.input:
        shape = [d.dim_value or (2 if i == 0 else 7) for i, d in enumerate(info.type.tensor_type.shape.dim)]
        ids = info.type.tensor_type.elem_type == onnx.TensorProto.INT32
        arrays[info.name] = (rng.integers(0, VOCABULARY, shape) if ids else rng.standard_normal(shape)).astype(
            "int32" if ids else "float32"
        )
    given = [*arrays.values()]
    ours = np.array(model(given[0] if len(given) == 1 else given, training=False))
    (theirs,) = run(resized, arrays)
    assert np.abs(ours - theirs).max() < 1e-4 * max(1, np.abs(theirs).max())
    other = make(entry.targets[label])
    assert len(load_weights(other, resized).set) == len(report.set)  # Keras counts names on
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


def test_a_model_that_is_not_built_says_so() -> None:
    import keras

    with pytest.raises(FrontError, match="not built"):
        initialize(keras.Sequential([keras.layers.Dense(3)]), "source.onnx")
