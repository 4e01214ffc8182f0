"""Drawing weights anew: by a seed and a key, so that the same request draws the same numbers."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from onnx import helper

from front_onnx.transform.contents import Drawn, Factor

__all__ = ["draw", "factors", "generator"]

_CUT = 2.0  # deviations
_KEPT = 0.8796256610342398  # the deviation of a normal variable cut at two of its deviations


def generator(seed: int, key: str) -> np.random.Generator:
    """The source of numbers of one key: no other tensor, and no order of tensors, changes what it gives."""
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def draw(content: Drawn) -> np.ndarray:
    """The numbers of a drawn tensor, in its type; computed in float32, in float64 where the type is."""
    dtype = helper.tensor_dtype_to_np_dtype(content.data_type)
    work = np.float64 if dtype == np.float64 else np.float32
    dims = content.dims[::-1] if content.transposed else content.dims
    rng = generator(content.seed, content.key)
    if content.how == "constant":
        values = np.full(dims, content.scale, work)
    elif content.how == "uniform":
        values = (rng.random(dims, work) * 2 - 1) * work(content.scale)
    else:
        values = rng.standard_normal(dims, work)
        while content.how == "truncated" and (beyond := np.abs(values) > _CUT).any():
            values[beyond] = rng.standard_normal(int(beyond.sum()), work)
        values *= work(content.scale / (_KEPT if content.how == "truncated" else 1))
    for factor in content.factors:
        block = _side(factor, content.seed)
        places = np.array(factor.places)
        if factor.axis == 1:
            values[:, places] = block
        else:
            values[places] = block.T
    made: np.ndarray = values.T if content.transposed else values
    return np.ascontiguousarray(made, dtype)


def _side(factor: Factor, seed: int) -> np.ndarray:
    """[width, entries] of one side of the products of all heads."""
    repeat = 1 if factor.side == "spread" else factor.repeat
    left, right = factors(seed, factor.key, factor.alpha, factor.beta, factor.width, factor.heads, repeat, factor.inner)
    width = factor.width
    if factor.side == "left":
        return left.transpose(2, 0, 1, 3).reshape(width, -1)
    if factor.side == "right":
        return right.transpose(1, 0, 2).reshape(width, -1)
    spread = np.repeat(right[:, None], factor.repeat, 1) / factor.repeat
    return spread.transpose(2, 0, 1, 3).reshape(width, -1)


@lru_cache(maxsize=8)
def factors(
    seed: int, key: str, alpha: float, beta: float, width: int, heads: int, repeat: int, inner: int
) -> tuple[np.ndarray, np.ndarray]:
    """Left and right sides L, R whose products L R^T are the best of rank `inner` to alpha Z + beta I.

    Of several left sides with one right side, the first gives it, and the others fit it by least squares.

    Returns:
        [heads, repeat, width, inner] and [heads, width, inner].
    """
    rng = generator(seed, key)
    left = np.zeros((heads, repeat, width, inner))
    right = np.zeros((heads, width, inner))
    rank = min(width, inner)
    for head in range(heads):
        for place in range(repeat):
            noise = rng.standard_normal((width, width)) / np.sqrt(width)
            product = alpha * noise + beta * np.eye(width)
            if place == 0:
                u, values, v = np.linalg.svd(product)
                root = np.sqrt(values[:rank])
                left[head, 0, :, :rank] = u[:, :rank] * root
                right[head, :, :rank] = v[:rank].T * root
            else:
                left[head, place, :, :rank] = product @ v[:rank].T / root
    return left, right
