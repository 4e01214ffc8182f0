"""What every constant of a graph is, said once: for planning, learngenes, matching and training.

What reads a constant decides most (`uses.py`). Contents decide where they are such as no training leaves behind
(`patterns.py`) or follow a formula (`formulas.py`): then even a matrix that is summed over is no weight. What only a
suspicion speaks against is UNKNOWN: resampled, and told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from front_onnx.constants.formulas import made_of_waves, recomputed
from front_onnx.constants.fourier import basis_name
from front_onnx.constants.kinds import Constant, Kind
from front_onnx.constants.patterns import (
    are_curves,
    is_filter_bank,
    is_orthogonal,
    is_series,
    is_smooth,
    is_toeplitz,
    oscillates,
    triangle,
    two_values,
)
from front_onnx.constants.readers import feeds_root, near_waves
from front_onnx.constants.uses import Uses
from front_onnx.errors import RequestError
from front_onnx.read.arrays import is_uniform
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import is_float, numpy_type

if TYPE_CHECKING:
    from front_onnx.operators.analysis import Analysis

__all__ = ["UNREACHED", "Constants", "classify"]

UNREACHED = "no gradient reaches it"
_MASKED = -100.0  # what masks add where nothing is to be seen, or less
_MANY = 16  # elements from which two values are no accident of a bias
_SINGLE = "a single number"
_SMOOTH = "it lies on a smooth curve, as what is computed does and what was trained does not"


class _Verdict(NamedTuple):
    """What the contents and all readings of a constant say.

    `learned`: True if training may change it.
    """

    kind: Kind
    evidence: str
    formula: str | None = None
    learned: bool = False
    by_hand: bool = False


class Constants:
    """The classification of a graph's constants: by name, and by the node input that reads them."""

    def __init__(self, analysis: Analysis, treat: Mapping[str, Kind]) -> None:
        self.analysis, self.graph, self.treat = analysis, analysis.graph, treat
        self._verdicts: dict[str, _Verdict] = {}
        self._formulas: dict[str, bool] = {}
        for pattern in treat:
            if not any(fnmatchcase(name, pattern) for name in self.graph.constants):
                raise RequestError("no constant has a name like this", got=pattern)

    @cached_property
    def uses(self) -> Uses:
        """What reads each constant."""
        return Uses(self.analysis)

    @cached_property
    def _summed(self) -> set[str]:
        """Constants that contractions sum over, and that are no tables."""
        tables = {self.graph.read_by(edge) for edge in self.analysis.tables}
        return {self.graph.read_by(edge) for edge in self.analysis.contractions} - tables

    @cached_property
    def _near_waves(self) -> set[int]:
        return near_waves(self.graph)

    @cached_property
    def _tied(self) -> dict[str, str]:
        return dict(self.analysis.transposed)

    @cached_property
    def _bound(self) -> set[Edge]:
        return {Edge(site.node, site.slot) for site in self.analysis.sites if site.bindings}

    def __getitem__(self, edge: Edge) -> Constant:
        """What a node input reads."""
        name = self.graph.read_by(edge)
        verdict = self.of(name)
        kind = Kind.SIZE if verdict.kind is Kind.SCALE and edge in self._bound else verdict.kind
        fact = self.analysis.uses.get(edge)
        return Constant(
            kind,
            verdict.evidence,
            fact.axes if fact is not None else None,
            self.analysis.contractions.get(edge),
            verdict.formula,
            self._tied.get(name),
            verdict.by_hand,
        )

    def of(self, name: str) -> _Verdict:
        """What a constant is, whoever reads it."""
        if name not in self._verdicts:
            said = next((kind for pattern, kind in self.treat.items() if fnmatchcase(name, pattern)), None)
            found = self._told(name)
            if said is not None:
                reached = self.uses.reached(name)
                learned = reached and said in (Kind.WEIGHT, Kind.BIAS_OR_GAIN, Kind.EMBEDDING)
                found = _Verdict(said, "said by hand", found.formula, learned, by_hand=True)
            self._verdicts[name] = found
        return self._verdicts[name]

    def _told(self, name: str) -> _Verdict:
        tensor = self.graph.constants[name]
        dtype, size = numpy_type(tensor), math.prod(tensor.dims)
        if dtype.kind == "b":
            return _Verdict(Kind.MASK, "it holds truth values")
        if not is_float(dtype):
            return _Verdict(Kind.INDEX, "it holds whole numbers")
        if self.uses.is_statistic(name):
            return _Verdict(Kind.STATISTIC, "running statistics")
        strong = name in self.uses.strong
        if size == 1 and not (strong and tensor.dims):
            return _Verdict(Kind.SCALE, _SINGLE)
        if size == 0 or not self.uses.matters(name):
            return _Verdict(Kind.WEIGHT, UNREACHED)
        if any(feeds_root(self.graph, edge) for edge in self.uses.edges[name]):
            return _Verdict(Kind.STATISTIC, "a variance")
        array = self.graph.array(name)
        found = self._by_contents(name, array, strong) or self._by_use(name, array, strong)
        if found.kind in (Kind.WEIGHT, Kind.BIAS_OR_GAIN) and (
            is_smooth(array) or is_series(array) or are_curves(array)
        ):
            found = found._replace(kind=Kind.UNKNOWN, evidence=_SMOOTH)
        if found.learned and not self.uses.reached(name):
            return found._replace(learned=False, evidence=UNREACHED)
        return found

    def _by_contents(self, name: str, array: np.ndarray, strong: bool) -> _Verdict | None:
        """Contents that are not learned, whatever reads them; None if there are none."""
        if is_uniform(array):
            return None
        parted = triangle(array)
        if parted is not None:
            return _Verdict(Kind.FORMULA, "it is computed from its place in a square", parted[0])
        basis = basis_name(array)
        if basis is not None:
            return _Verdict(Kind.FORMULA, f"it holds {basis}", basis)
        if _wide(array) > 1 and name not in self._summed and self._follows(name, array):
            return _Verdict(Kind.FORMULA, "it follows a formula", "known")
        if _wide(array) == 1 and not strong and self._waves(name):
            formula = "a geometric series" if self._follows(name, array) else None
            kind = Kind.FORMULA if formula else Kind.FIXED
            return _Verdict(kind, "it is read by a sine or cosine", formula)
        found = _exact(array)
        if found is not None:
            return _Verdict(*found)
        if is_orthogonal(array):
            why = "its rows are orthogonal and of one length: a rotation, or a weight that was never trained"
            return _Verdict(Kind.UNKNOWN, why, learned=True)
        return None

    def _follows(self, name: str, array: np.ndarray) -> bool:
        """True if a formula gives the contents of a constant."""
        if name not in self._formulas:
            self._formulas[name] = recomputed(array, array.shape) is not None
        return self._formulas[name]

    def _waves(self, name: str) -> bool:
        """True if a sine or cosine reads a constant, but not as the bias or gain of what data it takes."""
        readers = (inner.node for edge in self.uses.edges[name] for inner in self.graph.within(edge))
        return not self._near_waves.isdisjoint(readers) and not self.uses.is_bias_or_gain(name)

    def _by_use(self, name: str, array: np.ndarray, strong: bool) -> _Verdict:
        filled = is_uniform(array)
        if strong:
            written = name not in self.graph.initializers and filled
            return _Verdict(self._role(name, array), "an operator reads it as a weight", learned=not written)
        table = name in self.uses.tables
        if name not in self.graph.initializers and not self.uses.inline:
            return self._outside(name, array, "a constant of the graph's, where weights are initializers")
        values = two_values(array)
        if self._is_mask(name, array, values):
            return _Verdict(Kind.MASK, "it holds two values only, or what is infinitely far")
        if values is not None and array.size > _MANY:  # a fresh bias may hold them too: ones for one gate of several
            return _Verdict(Kind.UNKNOWN, "it holds two values only")
        if self._waves(name) and not self._follows(name, array) and not filled:
            return _Verdict(Kind.FIXED, "it is read by a sine or cosine")
        if not filled and self._follows(name, array):
            return _Verdict(Kind.FORMULA, "it follows a formula", "known")
        if not filled and made_of_waves(array):
            return _Verdict(Kind.UNKNOWN, "it looks made of sines and cosines, by no formula that is known")
        if table:
            return _Verdict(Kind.EMBEDDING, "data look it up", learned=True)
        if _wide(array) <= 1 and self.uses.meets_raw_input(name):
            return self._outside(name, array, "it normalises raw inputs")
        if not self.uses.shares_an_axis(name):
            return self._outside(name, array, "no weight has one of its axes")
        return _Verdict(self._role(name, array), "it shares an axis with weights", learned=True)

    def _outside(self, name: str, array: np.ndarray, why: str) -> _Verdict:
        """What is no weight as far as its use shows, and whose contents prove nothing."""
        if self._is_mask(name, array, two_values(array)):
            return _Verdict(Kind.MASK, "it holds two values only, or what is infinitely far")
        if not is_uniform(array) and self._follows(name, array):
            return _Verdict(Kind.FORMULA, "it follows a formula", "known")
        return _Verdict(Kind.UNKNOWN, why)

    def _is_mask(self, name: str, array: np.ndarray, values: tuple[float, float] | None) -> bool:
        """True for what is not finite, for zeros and something far below, and for zeros and ones as factors.

        `values`: the two values that the array holds, if there are two.
        """
        if values is None:
            return not np.isfinite(array).all()
        low, high = values
        below = high <= 0 >= _MASKED >= low
        return below or (values in ((0, 1), (-1, 1)) and self.uses.is_multiplied(name)) or not np.isfinite(array).all()

    def _role(self, name: str, array: np.ndarray) -> Kind:
        if name in self._summed or _wide(array) > 1:
            return Kind.WEIGHT
        return Kind.BIAS_OR_GAIN


def classify(analysis: Analysis, treat: Mapping[str, Kind] | None = None) -> Constants:
    """The classification of the constants of an analysed graph; each is looked at when it is asked for.

    Args:
        analysis: the graph, its axes followed.
        treat: what the user says of constants, by patterns of names.

    Raises:
        RequestError: a pattern fits no name.
    """
    return Constants(analysis, treat or {})


def _wide(array: np.ndarray) -> int:
    return sum(size > 1 for size in array.shape)


def _exact(array: np.ndarray) -> tuple[Kind, str] | None:
    """What tables that no formula is known for show."""
    if _wide(array) > 1 and two_values(array) is not None and array.size >= _MANY:
        return Kind.MASK, "it holds two values only"
    if is_toeplitz(array):
        return Kind.FIXED, "it is constant along every diagonal"
    if _wide(array) <= 1 and is_series(array):
        return Kind.FIXED, "it grows by equal steps"
    if oscillates(array):
        return Kind.FIXED, "it is made of sampled sines"
    if is_filter_bank(array):
        return Kind.FIXED, "it is a bank of filters"
    return None
