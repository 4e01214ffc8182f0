"""Weights into a Flax model of any size, linen or nnx: `initialize`, `load_weights`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from front_onnx.adapters.transfer import Report, Source, transfer

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FrontError, RequestError
from front_onnx.read.graph import Graph
from front_onnx.session import read_any
from front_onnx.types import MatchOptions

try:
    import jax
    from flax import linen, nnx
    from jax2onnx import to_onnx
except ImportError as error:
    raise RequestError(f"this adapter needs {error.name}", hint="pip install flax jax jax2onnx") from None

__all__ = ["Report", "initialize", "load_weights"]


def initialize(
    module: Any, example_inputs: Any, source: Source, *, variables: Any = None, **options: Unpack[MatchOptions]
) -> tuple[Any, Report]:
    """Weights for a Flax model, at whatever size it was built, from a trained model or a learngene.

    Args:
        module: a linen module, with `variables`; or an nnx module, which is set in place.
        example_inputs: an array, or a sequence of positional arguments.
        source: an ONNX file or a learngene (.safetensors).
        variables: what `module.init` gave (linen only); not changed.
        options: `scale`, `mapping`, as for `front_onnx.init_into`.

    Returns:
        The variables with new values (for nnx its state), and what was set, by the path in the tree.

    Raises:
        FrontError: the model cannot be exported, nothing matches, or the source cannot have the model's sizes.
    """
    inputs = list(example_inputs) if isinstance(example_inputs, Sequence) else [example_inputs]
    if isinstance(module, linen.Module):
        if variables is None:
            raise RequestError("a linen module holds no weights", hint="variables=module.init(...)")

        def bound(tree: Any) -> Callable[..., Any]:
            return lambda *args: module.apply(tree, *args)

        return _initialized(bound, variables, inputs, source, options)
    if not isinstance(module, nnx.Module):
        raise RequestError("no Flax module", got=type(module).__name__)
    definition, state = nnx.split(module)
    found, report = _initialized(lambda tree: nnx.merge(definition, tree), state, inputs, source, options)
    nnx.update(module, found)
    return found, report


def load_weights(
    module: Any, path: Source, example_inputs: Any = None, *, variables: Any = None, **options: Unpack[MatchOptions]
) -> tuple[Any, Report]:
    """Weights for a Flax model from an ONNX model of its size; inputs are made up from the file's if none are given."""
    if example_inputs is None:
        example_inputs = list(synthetic_inputs(Graph(read_any(path)), {}).values())
    return initialize(module, example_inputs, path, variables=variables, **options)


def _initialized(
    bound: Callable[[Any], Callable[..., Any]], tree: Any, inputs: list[Any], source: Source, options: MatchOptions
) -> tuple[Any, Report]:
    leaves, form = jax.tree_util.tree_flatten_with_path(tree)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    own = dict(zip(names, (leaf for _, leaf in leaves), strict=True))
    originals = {name: np.asarray(leaf) for name, leaf in own.items() if _is_weight(leaf)}

    def rebuilt(values: Mapping[str, np.ndarray]) -> Any:
        return jax.tree_util.tree_unflatten(
            form, [jax.numpy.asarray(values[name]) if name in values else own[name] for name in names]
        )

    def export(values: Mapping[str, np.ndarray], path: Path) -> None:
        shapes = [jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype) for x in inputs]
        try:
            to_onnx(bound(rebuilt(values)), shapes, return_mode="file", output_path=path)
        except Exception as error:
            line = " ".join(str(error).split())[:300]
            raise FrontError(f"the model cannot be exported: {line}") from None

    found, report = transfer(source, originals, export, **options)
    return rebuilt(found), report


def _is_weight(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
