"""Rows of the matrix from a function that builds a JAX model: `jax2onnx` writes them."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax2onnx import to_onnx
from zoo.sizes import Size

from matrix.entry import Entry

__all__ = ["Make", "jax_entry", "randomised"]

# A function of arrays, and what it takes, by name: shapes with names for symbolic sizes, or such a shape and a type.
Make = Callable[[Size], tuple[Callable, dict[str, tuple]]]


def jax_entry(name: str, kind: str, make: Make, sizes: tuple[Size, dict[str, Size]], **options) -> Entry:
    """The row of one architecture."""

    def export(size: Size, path: Path) -> None:
        function, inputs = make(size)
        shapes = [_specification(given) for given in inputs.values()]
        names = {"input_names": list(inputs), "output_names": ["out"]}
        to_onnx(function, shapes, return_mode="file", output_path=path, **names)

    return Entry(name, kind, "jax2onnx", export, *sizes, **options)


def _specification(given: tuple) -> object:
    shape, dtype = given if isinstance(given[0], tuple) else (given, np.float32)
    return shape if dtype == np.float32 else jax.ShapeDtypeStruct(shape, dtype)


def randomised(tree, size: Size, seed: int = 0):
    """The tree with seeded normal weights of a sane scale: no two tensors alike, as after training."""
    generator = np.random.default_rng(seed + 31 * sum(size.depth) + sum(size.width))

    def draw(path, leaf):
        if not hasattr(leaf, "dtype") or not np.issubdtype(leaf.dtype, np.floating):
            return leaf
        name = jax.tree_util.keystr(path).lower()
        noise = generator.standard_normal(leaf.shape)
        if "var" in name:
            noise = 0.5 + abs(noise)
        elif "scale" in name or "gamma" in name:
            noise = 1 + 0.1 * noise
        elif leaf.ndim < 2 or "bias" in name:
            noise = 0.1 * noise
        else:
            noise = noise * max(np.prod(leaf.shape[:-1]), 1) ** -0.5
        return jax.numpy.asarray(noise, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, tree)
