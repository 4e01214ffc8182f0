"""Weights into a Keras model of any size, with TensorFlow behind it: `initialize`, `load_weights`."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

import numpy as np
from front_onnx.adapters.transfer import Neutral, Report, Source, has_statistics, transfer

from front_onnx.errors import FrontError, RequestError
from front_onnx.types import MatchOptions

try:
    import keras
    import tf2onnx  # noqa: F401 (what Keras exports with)
except ImportError as error:
    hint = "pip install keras tensorflow tf2onnx"
    raise RequestError(f"this adapter needs {error.name}", hint=hint) from None

__all__ = ["Report", "initialize", "load_weights"]


def initialize(model: keras.Model, source: Source, **options: Unpack[MatchOptions]) -> Report:
    """Set the weights of a Keras model, at whatever size it was built, from a trained model or a learngene.

    Args:
        model: the model to initialise, in place; built, on the TensorFlow backend.
        source: an ONNX file or a learngene (.safetensors).
        options: `scale`, `mapping`, as for `front_onnx.init_into`.

    Returns:
        What was set and what was not, by the path of the variable.

    Raises:
        FrontError: the model cannot be exported, nothing matches, or the source cannot have the model's sizes.
    """
    if keras.backend.backend() != "tensorflow":
        raise RequestError("Keras exports with TensorFlow", got=keras.backend.backend(), wanted="tensorflow")
    if not model.built:
        raise RequestError("the model is not built", hint="call it once on an input")
    held = {v.path: v for v in model.weights if np.issubdtype(np.dtype(v.dtype), np.floating)}
    if len(held) < sum(np.issubdtype(np.dtype(v.dtype), np.floating) for v in model.weights):
        raise RequestError("two variables have one path", hint="give layers names of their own")
    originals = {path: np.array(variable) for path, variable in held.items()}

    def export(values: Mapping[str, np.ndarray], path: Path) -> None:
        try:
            for name, value in values.items():
                held[name].assign(value)
            _export(model, path)
        finally:
            for name, value in originals.items():
                held[name].assign(value)

    neutral = {} if has_statistics(source) else _neutral(model)
    found, report = transfer(source, originals, export, neutral, **options)
    for name, value in found.items():
        held[name].assign(value)
    return report


def load_weights(model: keras.Model, path: Source, **options: Unpack[MatchOptions]) -> Report:
    """Set the weights of a Keras model from an ONNX model of its size, as `front-onnx resize` writes it."""
    return initialize(model, path, **options)


def _neutral(model: keras.Model) -> dict[str, Neutral]:
    """Values with which a batch norm adds its bias and does nothing else: the source has folded its own."""
    out: dict[str, Neutral] = {}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            ones = np.ones(layer.moving_mean.shape, np.float32)
            values = [(layer.moving_mean, 0 * ones), (layer.moving_variance, ones - np.float32(layer.epsilon))]
            values += [(layer.gamma, ones)] if layer.scale else []
            out |= {variable.path: Neutral(value, layer.beta.path) for variable, value in values}
    return out


def _export(model: keras.Model, path: Path) -> None:
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            inputs = [np.zeros([n or 1 for n in t.shape], t.dtype) for t in model.inputs]
            model(inputs if len(inputs) > 1 else inputs[0])  # it exports what has been called
            model.export(str(path), format="onnx", verbose=False)
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        raise FrontError(f"the model cannot be exported: {line}") from None
