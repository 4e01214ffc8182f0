"""Which input says what is padding: it is 0 where nothing that is fed there changes what the model makes elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from front_onnx.samples.inputs import Feed, Input, Inputs

__all__ = ["padding"]

_TRIED = 8  # inputs of feeds that could be masks
_SAME = 1e-4  # of the largest value: padding is pushed out of a softmax, not taken out


def padding(inputs: Inputs, feeds: Iterable[Feed]) -> str | None:
    """The input whose zeros are padding; None if there is none, or nothing is padded.

    Whatever it is called: it holds zeros and ones, one for each token of another input, and other tokens in the place
    of its zeros change none of the outputs that belong to its ones, nor any that belong to no token.
    """
    known = {given.name: given for given in inputs.each}
    masks = ((feed, name) for feed in feeds for name in feed if name in known and _is_mask(feed[name]))
    return next((name for feed, name in islice(masks, _TRIED) if _hides(inputs, feed, name, known)), None)


def _is_mask(array: np.ndarray) -> bool:
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        return False
    return bool(np.isin(array, (0, 1)).all() and (array == 0).any() and (array == 1).any())


def _hides(inputs: Inputs, feed: Feed, name: str, known: dict[str, Input]) -> bool:
    counted = feed[name] != 0
    other = dict(feed)
    for each, array in feed.items():
        if each != name and each in known and array.shape[:2] == counted.shape:
            other[each] = _with_others(array, counted, known[each])
    if all(other[each] is feed[each] for each in feed):
        return False
    before, after = inputs.outputs(feed), inputs.outputs(other)
    if before is None or after is None:
        return False
    changed = [np.abs(a.astype(np.float64) - b) for a, b in zip(before, after, strict=True) if a.dtype.kind == "f"]
    whole = [float(np.abs(a).max(initial=0.0)) for a in before if a.dtype.kind == "f"]
    seen = [each[counted] if each.shape[:2] == counted.shape else each for each in changed]
    return bool(seen) and all(
        each.max(initial=0.0) <= _SAME * max(w, 1e-30) for each, w in zip(seen, whole, strict=True)
    )


def _with_others(array: np.ndarray, counted: np.ndarray, given: Input) -> np.ndarray:
    """The array with other values where a mask is zero."""
    found = array.copy()
    if given.is_float:
        found[~counted] += 1
    elif given.rows is not None:
        found[~counted] = (found[~counted] + 1) % given.rows
    return found if (found != array).any() else array
