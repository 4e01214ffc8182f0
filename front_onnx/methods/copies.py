"""What methods share that make copies of entries."""

from __future__ import annotations

import hashlib

import numpy as np

from front_onnx.errors import RequestError
from front_onnx.methods.method import Method, Setting, Use
from front_onnx.transform.maps import AxisMap, Identity, Select

__all__ = ["copied", "refuse_smaller", "shares"]


def copied(setting: Setting, use: Use, indices: np.ndarray) -> AxisMap:
    """Entries as copies of those at `indices` [M]: P where they are made; where they are summed over, their shares.

    The shares of the copies of one entry are positive and sum to one. They are equal unless `--symmetry` says how much
    they differ; each place that reads the copies has shares of its own.
    """
    source = use.var.size
    if len(indices) == source and np.array_equal(indices, np.arange(source)):
        return Identity(source)
    return Select(source, indices, shares(setting, use, indices) if use.summed else np.ones(len(indices)))


def shares(setting: Setting, use: Use, indices: np.ndarray) -> np.ndarray:
    """[M]: the shares of the copies at `indices`, see `copied`."""
    weights: np.ndarray = np.ones(len(indices))
    if setting.symmetry > 0:
        told = f"{setting.seed} {use.names[0]} {use.axis} {use.within} {use.var.size} {use.target}"
        seed = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big")
        weights += setting.symmetry * np.random.default_rng(seed).uniform(-1, 1, len(indices))
    found: np.ndarray = weights / np.bincount(indices, weights, use.var.size)[indices]
    return found


def refuse_smaller(method: Method, use: Use) -> None:
    """A method that only grows says so.

    Raises:
        RequestError: the size shrinks.
    """
    if use.target < use.var.size:
        dim = method.setting.structure.by_variable.get(use.var)
        raise RequestError(
            f"--method {method.name} only makes sizes larger",
            dim=dim.name if dim is not None else None,
            got=use.target * (dim.times if dim is not None else 1),
            wanted=f"{use.var.size * (dim.times if dim is not None else 1)} or more",
            hint="width=select or width=front makes it smaller",
        )
