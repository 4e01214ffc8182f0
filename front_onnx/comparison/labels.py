"""Labels beside samples: which one belongs to which sample, found again by what the sample holds."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.calibration.comparing import Reference
from front_onnx.errors import FrontError, RequestError
from front_onnx.samples.inputs import Feed, Inputs

__all__ = ["LABELS", "Labels"]

LABELS = "labels"
IGNORED = -100  # labels that do not count, as in torch


class Labels:
    """The labels of samples, by a hash of each sample: they are drawn, shuffled and batched elsewhere.

    Attributes:
        output: the output of the source whose largest entries are compared with them.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._known: dict[bytes, np.ndarray] = {}
        self.output = ""
        self._axis = -1

    @classmethod
    def found(cls, inputs: Inputs, data: Iterable[Any], name: str | None) -> Labels | None:
        """Labels in the arrays of files or mappings; None where there are none and none were asked for.

        Raises:
            RequestError: they were asked for by name and are not there, are no classes, or too few or too many.
        """
        made = cls(inputs)
        lacking = []
        for each in data:
            arrays = _arrays(each)
            if arrays is None or (name or LABELS) not in arrays:
                lacking.append(each)
                continue
            made._add(arrays, np.asarray(arrays[name or LABELS]), name or LABELS)
        if lacking and name is not None:
            raise RequestError("the data has no such labels", got=name, wanted="an array of this name in an .npz")
        return None if lacking or not made._known else made

    def _add(self, arrays: Mapping[str, np.ndarray], labels: np.ndarray, name: str) -> None:
        if labels.dtype.kind not in "iu":
            raise RequestError("labels of classes are whole numbers", got=f"{name} of {labels.dtype}")
        feed, count = self._inputs.fitted(arrays, "the data")
        if labels.ndim == 0 or len(labels) != count:
            raise RequestError("there are not as many labels as samples", got=list(labels.shape), wanted=count)
        for digest, label in zip(self._inputs.digests(feed), labels, strict=True):
            self._known.setdefault(digest, label)

    def settle(self, feeds: Sequence[Feed], reference: Reference) -> None:
        """Find the output that labels belong to.

        Raises:
            RequestError: none has their shape, or one is no class of it.
        """
        labels = self.of(feeds[0])
        for name in reference.names:
            made = reference.get("held out", name, 0)
            for axis in (made.ndim - 1, 1):
                if made.ndim >= 2 and np.delete(made.shape, axis).tolist() == list(labels.shape):
                    self.output, self._axis = name, axis
                    break
            if self.output:
                break
        else:
            raise RequestError("the labels fit no output of the model", got=list(labels.shape))
        classes = reference.get("held out", self.output, 0).shape[self._axis]
        every = np.concatenate([np.asarray(label).reshape(-1) for label in self._known.values()])
        counted = every[every != IGNORED]
        if not counted.size or counted.max() >= classes or counted.min() < 0:
            got = f"{counted.min()} to {counted.max()}" if counted.size else "no label that counts"
            raise RequestError("labels that are no classes of the output", got=got, wanted=f"0 to {classes - 1}")

    def of(self, feed: Feed) -> np.ndarray:
        """The labels of the samples of a feed of the source.

        Raises:
            FrontError: a sample has none.
        """
        digests = self._inputs.digests(feed)
        if any(digest not in self._known for digest in digests):
            raise FrontError("a sample has no label")
        return np.stack([self._known[digest] for digest in digests])

    def hits(self, made: np.ndarray, feed: Feed) -> tuple[int, int]:
        """How many labels an output names rightly, and of how many."""
        labels = self.of(feed)
        counted = labels != IGNORED
        return int(((made.argmax(self._axis) == labels) & counted).sum()), int(counted.sum())


def _arrays(data: Any) -> Mapping[str, np.ndarray] | None:
    """The arrays of an .npz file or a mapping, that other readers have checked; None for other data."""
    if isinstance(data, Mapping):
        return data
    if isinstance(data, str | os.PathLike) and Path(data).suffix.lower() == ".npz":
        try:
            with np.load(data, allow_pickle=False) as loaded:
                return {name: loaded[name] for name in loaded.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None
    return None
