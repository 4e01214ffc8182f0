"""What methods share that make copies of entries."""

from __future__ import annotations

import hashlib

import numpy as np

from front_onnx.methods.method import Method, Refusal, Setting, Use
from front_onnx.transform.maps import AxisMap, Identity, Select

__all__ = ["cancelling", "copied", "refuse_smaller", "shares"]


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
        weights += setting.symmetry * _drawn(setting, use).uniform(-1, 1, len(indices))
    found: np.ndarray = weights / np.bincount(indices, weights, use.var.size)[indices]
    return found


def cancelling(setting: Setting, use: Use, held: np.ndarray) -> np.ndarray:
    """[E, N]: random shares of channels beyond copies that a reader's columns are mixed of, and that cancel.

    Each is `--symmetry` over sqrt(N) in size, so that a column is about as large as others are, and orthogonal to what
    the channels hold: columns that sum to zero where they all hold the mean. Nothing is left of them where there are
    as many numbers to cancel as channels.

    Args:
        setting: how large, by which seed.
        use: the reader.
        held: [E, any], what the channels hold, a column for each number.
    """
    drawn = _drawn(setting, use).standard_normal((len(held), use.var.size))
    left, sizes, _ = np.linalg.svd(held, full_matrices=False) if held.size else (held, np.zeros(0), held)
    basis = left[:, sizes > 1e-9 * max(sizes.max(initial=0.0), 1e-30)]
    rest: np.ndarray = setting.symmetry / np.sqrt(use.var.size) * (drawn - basis @ (basis.T @ drawn))
    return rest


def _drawn(setting: Setting, use: Use) -> np.random.Generator:
    """Random numbers of one place that reads a size variable."""
    told = f"{setting.seed} {use.names[0]} {use.axis} {use.within} {use.var.size} {use.target}"
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big"))


def refuse_smaller(method: Method, use: Use) -> None:
    """A method that only grows says so.

    Raises:
        Refusal: the size shrinks.
    """
    if use.target < use.var.size:
        dim = method.setting.structure.by_variable.get(use.var)
        raise Refusal(
            f"--method {method.name} only makes sizes larger",
            dim=dim.name if dim is not None else None,
            got=use.target * (dim.times if dim is not None else 1),
            wanted=f"{use.var.size * (dim.times if dim is not None else 1)} or more",
            hint="width=select or width=front makes it smaller",
        )
