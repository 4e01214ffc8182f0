"""Choosing among pictures that are made up: those that a classifier is sure of, each class as often.

Noise lies where a classifier answers nothing in particular, often always the same. Of many pictures, those that it is
sure of have more of what its features are there for, and calibration on them keeps more of them. Related: data-free
distillation asks for inputs that a teacher is sure of, and for all classes alike (Chen et al., arXiv:1904.01186).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.special import softmax

from front_onnx.samples.inputs import Feed, Inputs

__all__ = ["surest"]


def surest(inputs: Inputs, feeds: Callable[[], Iterable[Feed]], count: int, tell: Callable[[int], None]) -> Feed | None:
    """Choose samples of feeds by what the model answers, class by class in turn, the surest first.

    Args:
        inputs: what the model takes.
        feeds: gives them, each time the same: they are asked for twice, for all of them are more than memory may hold.
        count: how many are wanted.
        tell: told how many were looked at.

    Returns:
        As many samples, or all there are, in one feed; None if the model gives no row of classes for each sample,
        gives all of them one class, or takes feeds that cannot be joined.
    """
    answers, alike, looked = list[np.ndarray](), set[object](), 0
    for feed in feeds():
        rows = _classes(inputs.outputs(feed), inputs.count(feed))
        alike.add(inputs.alike(feed))
        if rows is None or len(alike) > 1 or (answers and rows.shape[1] != answers[0].shape[1]):
            return None
        answers.append(rows)
        looked += len(rows)
        tell(looked)
    shares = softmax(np.concatenate(answers), axis=1) if answers else np.empty((0, 1))
    classes = shares.argmax(1)
    if len(np.unique(classes)) < 2:
        return None
    sure = shares.max(1)
    turn = np.empty(len(sure), np.int64)  # how many of its class the model is surer of
    for each in np.unique(classes):
        own = np.flatnonzero(classes == each)
        turn[own[np.argsort(-sure[own], kind="stable")]] = np.arange(len(own))
    chosen = np.sort(np.lexsort((-sure, turn))[:count])
    found, first = list[Feed](), 0
    for feed in feeds():
        last = first + inputs.count(feed)
        if len(own := chosen[(first <= chosen) & (chosen < last)] - first):
            found.append(inputs.taken(feed, own))
        first = last
    return inputs.joined(found)


def _classes(outputs: list[np.ndarray] | None, count: int) -> np.ndarray | None:
    """The first output that has a row of finite floats for each sample [count, classes], in float64."""
    for output in outputs or ():
        if output.ndim == 2 and output.dtype.kind == "f" and len(output) == count and output.shape[1] > 1:
            rows = output.astype(np.float64)
            return rows if np.isfinite(rows).all() else None
    return None
