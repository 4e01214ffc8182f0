"""Rows of the matrix from a function that builds a Keras model: one row for each way out of Keras.

`keras` is `Model.export(format="onnx")` with the sizes that the model leaves open, `tf2onnx` converts a `tf.function`
with all sizes written, in a newer opset.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras.src.export.tf2onnx_lib import patch_tf2onnx
from zoo.sizes import Size

from matrix.entry import Entry

__all__ = ["keras_entries"]

Make = Callable[[Size], keras.Model]
BATCH, LENGTH = 2, 7  # for the sizes a model leaves open


def randomise(model: keras.Model, seed: int) -> None:
    """Seeded normal values of a sane scale for every weight and statistic, so that no two tensors are equal."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        kind = variable.path.rpartition("/")[2]
        if not np.issubdtype(np.dtype(variable.dtype), np.floating):
            continue
        noise = generator.standard_normal(variable.shape)
        if kind == "moving_variance":
            value = 0.5 + generator.random(variable.shape)
        elif kind in ("gamma", "scale"):
            value = 1 + 0.1 * noise
        elif len(variable.shape) < 2 or kind in ("bias", "beta", "moving_mean"):
            value = 0.1 * noise
        else:
            value = noise * (np.prod(variable.shape) / variable.shape[-1]) ** -0.5
        variable.assign(value.astype("float32"))


def _with_keras(model: keras.Model, path: Path) -> None:
    model([tf.zeros([n or 1 for n in t.shape], t.dtype) for t in model.inputs])  # it exports what has been called
    model.export(str(path), format="onnx", verbose=False)
    if len(model.inputs) > 1:
        _share_batch(path)


def _share_batch(path: Path) -> None:
    """Say that the inputs have one batch, which TensorFlow does not: only then do made-up inputs fit."""
    exported = onnx.load(path)
    for info in exported.graph.input:
        info.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(exported, path)


def _with_tf2onnx(model: keras.Model, path: Path) -> None:
    patch_tf2onnx()
    sizes = (BATCH, *(LENGTH,) * 3)
    signature = [
        tf.TensorSpec([n or sizes[i] for i, n in enumerate(t.shape)], t.dtype, name=t.name) for t in model.inputs
    ]
    function = tf.function(lambda *inputs: model(inputs[0] if len(inputs) == 1 else inputs, training=False))
    tf2onnx.convert.from_function(function, signature, opset=18, output_path=str(path))


_EXPORTERS = {"keras": _with_keras, "tf2onnx": _with_tf2onnx}


def keras_entries(
    name: str,
    kind: str,
    make: Make,
    sizes: tuple[Size, dict[str, Size]],
    exporters: Iterable[str] = tuple(_EXPORTERS),
    **options,
) -> list[Entry]:
    """The rows of one architecture."""

    def exporting(exporter: str) -> Callable[[Size, Path], None]:
        def export(size: Size, path: Path) -> None:
            keras.utils.clear_session()
            model = make(size)
            randomise(model, seed=sum(map(ord, name)) + 31 * sum(size.depth) + sum(size.width))
            with contextlib.redirect_stdout(io.StringIO()):
                _EXPORTERS[exporter](model, path)
            onnx.checker.check_model(path)  # tf2onnx passes on operators it does not know

        return export

    # tf2onnx pushes transposes about in an order that changes
    return [Entry(name, kind, e, exporting(e), *sizes, alone=True, **options) for e in exporters]
