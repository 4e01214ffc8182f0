"""Channels beyond whole copies: what they hold, so that norms over all channels stay what they were.

A stream of N channels that a norm takes means over becomes M = k N + E: k copies of each channel, and E extras. With
eta^2 = k N / M the norm of the copies is that of the source if the gain is multiplied by eta, the epsilon by eta^2, and

- the extras are zero before a root mean square;
- they are the mean of the channels before a norm that takes the mean away, up to deviations which cancel.

Where a norm's own result is such a stream again (post-norm), its extras have to be the mean of the result. That is no
function of what the norm does with an extra that holds the mean; so the extras carry the functional that is missing,
as a small deviation with a sign, and the norm's gain makes it large again:

    wanted behind the norm:   y_e = q_e . y,    y = gamma n + beta
    before it:                z_e = mean(z) + sign_e s phi_e(z),   phi_e = q_e gamma, without its mean
    the gain of the extra:    sign_e eta / s,   its bias: q_e . beta

What an extra carries is rounded, and made large again by 1 / s; it must not be handed from norm to norm. So where a
feed-forward layer leads from one norm to the next, the extras are nothing behind the first, and six of its units
compute anew, from the copies, what they have to be before the second (`passing.py`).

Every writer into a stream is linear in what it writes, so each gets rows for the extras: what a row of R [E, N] takes
of its N rows. The rows are found from the ends of the model to its start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np

from front_onnx.axes.size import SizeVar
from front_onnx.dims.structure import Structure
from front_onnx.methods.sums import Impossible, Scaling, Sums, before, said
from front_onnx.read.arrays import is_uniform
from front_onnx.read.graph import Edge
from front_onnx.streams.lengths import Length
from front_onnx.streams.norms import Norm
from front_onnx.streams.passing import Passing, find_passing

__all__ = ["UNITS", "Extras"]

_ROUNDING = 1e-9  # chosen by trying: what is rounded averages out over extras, a variance does not
UNITS = 6  # that pass three functionals on, each by its positive and its negative part
_DEVIATIONS = (1e-3, 0.3)


class Extras:
    """The rows of the extras of one size variable.

    Args:
        structure: the source.
        norms: the norms of the graph.
        lengths: where it divides by lengths; extras are zero there.
        var: the size variable, of N channels.
        count: E, the number of extras.
        spare: how many units of a size variable are added, and free for what is needed.

    Raises:
        Impossible: no extras keep the norms what they are.
    """

    def __init__(
        self,
        structure: Structure,
        norms: Iterable[Norm],
        lengths: Iterable[Length],
        var: SizeVar,
        count: int,
        spare: Callable[[SizeVar], int],
    ) -> None:
        self.spare = spare
        self.structure, self.analysis, self.graph = structure, structure.analysis, structure.graph
        self.var, self.count, self.size = var, count, var.size
        self.norms = [norm for norm in norms if norm.axis == (var,)]
        self.lengths = [length for length in lengths if length.axis == (var,)]
        self.centred = any(norm.centred for norm in self.norms)
        self.sums = Sums(structure, self.norms, self.lengths, var)
        self._rows: dict[str, np.ndarray | None] = {}
        self._check()

    # -- what the extras of a weight are ----------------------------------------------------------------------------

    def rows(self, edge: Edge) -> np.ndarray:
        """[E, N]: what the extras take of the N rows of what an edge reads.

        Raises:
            Impossible: the stream that it is written into is not known.
        """
        norm = self.sums.gains.get(edge)
        if norm is not None:
            return self._gain(norm)
        norm = self.sums.biases.get(edge)
        if norm is not None and norm.output in self.passing:
            return np.zeros((self.count, self.size))
        if norm is not None:
            wanted = self._of(norm.output)
            return np.zeros((self.count, self.size)) if wanted is None else wanted
        scaling = self.sums.scales.get(edge)
        if scaling is not None:
            held = self.graph.array(self.graph.read_by(edge)).reshape(-1).astype(np.float64)
            return np.tile(np.sign(held) / self.size, (self.count, 1))
        landing = self.sums.landings.get(edge) or self.sums.landing(edge)
        found = None if landing is None else self._of(landing)
        return self._usual() if found is None else found

    @cached_property
    def passed(self) -> dict[Edge, Passing]:
        """The feed-forward layers that pass something on, by the weights that change for it."""
        return {edge: p for p in self.passing.values() for edge in (p.into, p.out)}

    def passing_values(self, edge: Edge, decoder: np.ndarray) -> np.ndarray:
        """[UNITS, M]: what the weights of a feed-forward layer hold for the units that pass something on.

        Args:
            edge: the first or the last weight.
            decoder: [M, N], the transpose of D of this width.
        """
        passing = self.passed[edge]
        wanted = self._of(passing.result)
        rows = np.zeros((self.count, self.size)) if wanted is None else wanted
        basis = [rows.mean(0)]
        shares = [np.ones(self.count)]
        rest = rows - basis[0]
        while len(basis) < UNITS // 2:
            largest = rest[np.argmax(np.abs(rest).sum(1))]
            basis.append(largest / max(float(np.linalg.norm(largest)), 1e-30))
            shares.append(rest @ basis[-1])
            rest = rest - np.outer(shares[-1], basis[-1])
        if np.abs(rest).max() > 1e-9 * np.abs(rows).max():
            raise Impossible(f"norms behind {passing.result} ask for more than a feed-forward layer can pass on")
        if edge == passing.into:
            return np.stack([sign * (functional @ decoder.T) for functional in basis for sign in (1, -1)])
        values = np.zeros((UNITS, len(decoder)))
        values[:, -self.count :] = [sign * share / passing.slope for share in shares for sign in (1, -1)]
        return values

    def input_rows(self, name: str) -> np.ndarray:
        """[E, N]: the same for a tensor of the stream, an input of the graph perhaps."""
        found = self._of(name) if name in self.sums.parent else None
        return self._usual() if found is None else found

    def held(self, name: str) -> np.ndarray | None:
        """[E, any]: what the extras of a tensor may hold, a column for each number; None if they are copies.

        Columns of a reader that are orthogonal to all of these read nothing of them.
        """
        if (
            name not in self.sums.parent
            or self.sums.root(name) in self._bent
            or self.sums.root(name) in self._entangled
        ):
            return None
        wanted = self._of(name)
        mean = np.ones((self.count, int(self.centred)))
        return mean if wanted is None else np.concatenate([mean, wanted], axis=1)

    @cached_property
    def _entangled(self) -> set[str]:
        """The streams behind norms that are not exact."""
        return {self.sums.root(norm.output) for norm in self.norms if self.is_plain(norm)}

    def _gain(self, norm: Norm) -> np.ndarray:
        """The extras of a gain, without eta."""
        if norm.output in self.passing:
            return np.zeros((self.count, self.size))
        if self.is_plain(norm):
            return self._copies()
        if not self._carries(norm):
            return np.full((self.count, self.size), 1 / self.size)
        gain = self._array(norm.gain)
        rows: np.ndarray = np.outer(1 / self._deviations(norm), np.sign(gain) / self.size)
        return rows

    def _usual(self) -> np.ndarray:
        """What extras hold that nothing in particular is asked of."""
        return np.full((self.count, self.size), 1 / self.size if self.centred else 0.0)

    # -- what the streams have to hold ------------------------------------------------------------------------------

    def _check(self) -> None:
        self.demands: dict[str, list[Norm | Scaling | Length]] = defaultdict(list)
        for length in self.lengths:
            self.demands[self.sums.root(length.input)].append(length)
        for norm in self.norms:
            self.demands[self.sums.root(before(norm)[0])].append(norm)
        for scaling in self.sums.scalings:
            self.demands[self.sums.root(scaling.before)].append(scaling)
        self._bent = {self.sums.root(name): why for name, why in self.sums.plain.items()}
        self.passing = self._find_passing()
        self._reached: dict[tuple[str, int], int] = {}
        self.open: set[str] = set()
        for name in list(self.sums.parent):
            self._of(name)
        self._check_shared()

    def _find_passing(self) -> dict[str, Passing]:
        """By a norm's result: the feed-forward layer that leads from it to the next norm of the same stream."""
        found = {}
        norms = {self.sums.root(before(norm)[0]) for norm in self.norms if norm.centred}
        for norm in self.norms:
            if self.sums.root(norm.output) not in norms:
                continue  # nothing is asked of what it makes
            for passing in find_passing(self.analysis, norm.output):
                same = passing.result in self.sums.parent and self.sums.root(passing.result) == self.sums.root(
                    norm.output
                )
                if same and self.spare(passing.units) >= UNITS:
                    found[norm.output] = passing
                    break
        return found

    def _check_shared(self) -> None:
        """Blocks that share their weights go on sharing them."""
        for chain in self.structure.chains:
            for edges in chain.places.values():
                if len(edges) < 2 or len({self.graph.read_by(edge) for edge in edges}) > 1:
                    continue
                if is_uniform(self.graph.array(self.graph.read_by(edges[0]))):
                    continue  # equal by chance
                if edges[0] in self.analysis.uses and self.sums.reads(edges[0]) and self._writes(edges[0]):
                    rows = [self.rows(edge) for edge in edges]
                    if not all(np.allclose(rows[0], other, atol=1e-9) for other in rows[1:]):
                        name = self.graph.read_by(edges[0])
                        raise Impossible(f"blocks share {name} and their norms ask for different extras")

    def _writes(self, edge: Edge) -> bool:
        """True if a weight has this width among what it is not summed over."""
        summed = self.analysis.contractions.get(edge)
        axes = [self.analysis.algebra.expand(axis) for axis in self.analysis.uses[edge].axes or ()]
        return any(axis == (self.var,) for place, axis in enumerate(axes) if place != summed)

    def _of(self, name: str) -> np.ndarray | None:
        """[E, N]: what the extras of a stream hold; None if nothing is asked of them."""
        root = self.sums.root(name)
        if root in self._rows:
            return self._rows[root]
        if root in self._bent:
            self._rows[root] = self._copies()
            return self._rows[root]
        if root in self.open:
            raise Impossible("a stream is normalised and added to itself")
        self.open.add(root)
        asked = [self._asked(demand) for demand in self.demands.get(root, ())]
        wanted = [rows for rows in asked if rows is not None]
        if any(not np.allclose(rows, wanted[0], atol=1e-12) for rows in wanted[1:]):
            raise Impossible("two norms read one stream and ask for different extras")
        self.open.discard(root)
        self._rows[root] = wanted[0] if wanted else None
        return self._rows[root]

    def _copies(self) -> np.ndarray:
        """[E, N]: extras that are copies of the first channels."""
        return np.eye(self.size)[np.arange(self.count) % self.size]

    def is_plain(self, norm: Norm) -> bool:
        """True for a norm over a stream whose extras are copies: it is not exact."""
        return self.sums.root(before(norm)[0]) in self._bent

    @property
    def hands_on(self) -> bool:
        """True if a norm hands what extras carry on to another."""
        return any(self._carries(norm) and self._run(norm) > 1 for norm in self.norms)

    @property
    def problems(self) -> list[str]:
        """Why norms are not exact."""
        over = {self.sums.root(before(norm)[0]) for norm in self.norms}
        over |= {self.sums.root(length.input) for length in self.lengths}
        return [why for root, why in self._bent.items() if root in over]

    def _asked(self, demand: Norm | Scaling | Length) -> np.ndarray | None:
        if isinstance(demand, Scaling):
            after = self._of(demand.after)
            if after is None:
                return None
            held = self._array(demand.edge)
            typical = np.abs(held).mean()
            if typical == 0:
                raise Impossible("a scale of channels is zero")
            scaled: np.ndarray = after * held / typical
            return scaled
        if isinstance(demand, Length):
            wanted = self._of(demand.output)
            if wanted is not None and np.any(wanted):
                raise Impossible(f"a division by a length would have to make the mean ({demand.output})")
            return np.zeros((self.count, self.size))
        wanted = None if demand.output in self.passing else self._of(demand.output)
        if not demand.centred:
            if wanted is not None and np.any(wanted):
                raise Impossible(f"a root mean square would have to make the mean ({said(self.graph, demand)})")
            return np.zeros((self.count, self.size))
        rows = np.full((self.count, self.size), 1 / self.size)
        if not self._carries(demand):
            return rows
        assert wanted is not None
        gain = self._array(demand.gain)
        if not np.any(gain):
            raise Impossible(f"a gain is zero ({said(self.graph, demand)})")
        rows += self._deviations(demand)[:, None] * self._functional(demand, wanted)
        return rows

    def _functional(self, norm: Norm, wanted: np.ndarray) -> np.ndarray:
        """[E, N]: what is wanted behind a norm, before its gain, over the gain's typical size."""
        gain = self._array(norm.gain)
        functional: np.ndarray = wanted * gain / np.abs(gain).mean()
        functional -= functional.mean(axis=1, keepdims=True)
        return functional

    def _carries(self, norm: Norm) -> bool:
        """True if the extras behind a norm have something to hold."""
        known = norm.centred and norm.output not in self.passing and not self.is_plain(norm)
        return known and self._is_asked(self.sums.root(norm.output), frozenset())

    def _is_asked(self, root: str, behind: frozenset[str]) -> bool:
        """True if the extras of a stream have to be something other than zero."""
        if root in behind:
            return False
        return any(
            self._is_asked(self.sums.root(demand.after), behind | {root})
            if isinstance(demand, Scaling)
            else isinstance(demand, Norm) and demand.centred
            for demand in self.demands.get(root, ())
        )

    def _deviations(self, norm: Norm) -> np.ndarray:
        """[E]: sizes and signs of the deviations before a norm; they cancel, if there is more than one."""
        wanted = self._of(norm.output)
        assert wanted is not None
        change = np.linalg.norm(self._functional(norm, wanted), axis=1).max()
        share = self.count / (self.count + self.size)
        # What deviations add to a variance, s^2 change^2 share, and how rounding grows from norm to norm, 1 / s each.
        best = (_ROUNDING / (share * max(change, 1e-9) ** 2)) ** (1 / (self._run(norm) + 2))
        size = float(np.clip(best, *_DEVIATIONS))
        deviations: np.ndarray = size * _pattern(self.count, self._reach(norm, 0) % 2)
        return deviations

    def _run(self, norm: Norm) -> int:
        """How many norms hand what extras carry from one to the next, this one among them."""
        return self._reach(norm, 0) + self._reach(norm, 1) - 1

    def _reach(self, norm: Norm, backward: int) -> int:
        key = (norm.output, backward)
        if key not in self._reached:
            self._reached[key] = 1
            here = self.sums.root(before(norm)[0] if backward else norm.output)
            there = [n for n in self.norms if self.sums.root(n.output if backward else before(n)[0]) == here]
            self._reached[key] = 1 + max((self._reach(n, backward) for n in there if self._carries(n)), default=0)
        return self._reached[key]

    def _array(self, edge: Edge | None) -> np.ndarray:
        assert edge is not None
        held: np.ndarray = self.graph.array(self.graph.read_by(edge)).reshape(-1).astype(np.float64)
        return held


def _pattern(count: int, which: int) -> np.ndarray:
    """[count]: sizes and signs of deviations that cancel; two patterns have nothing in common, and none is near zero.

    What norms hand on from one to the next deviates by a product of both, which has to cancel too.
    """
    if count < 3:
        return np.array([1.0, -1.0])[:count]
    turn = 2 * np.pi * np.arange(count) / count
    phases = np.linspace(0, np.pi / 2, 33)[1:-1]
    angles = max(
        (turn + phase for phase in phases), key=lambda a: min(np.abs(np.cos(a)).min(), np.abs(np.sin(a)).min())
    )
    pattern: np.ndarray = np.sin(angles) if which else np.cos(angles)
    return pattern
