"""The best start that can be had without training: several are made, compared on held-out samples, and one is taken.

What the method in the request gives, copies and selections, and what was calibrated, where a depth shrinks with several
choices of blocks: never worse than the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from front_onnx.calibration.calibrating import Calibration, calibrate_plan, encoded, looked_at
from front_onnx.calibration.comparing import Likeness, Reference, compare
from front_onnx.calibration.counted import Counted
from front_onnx.calibration.engine import CPU, Engine
from front_onnx.calibration.goals import Goal, Resized
from front_onnx.calibration.layers import find_layers
from front_onnx.calibration.places import kept_blocks, ports
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.starts import Candidate, Outcome, Start
from front_onnx.calibration.targets import Targets
from front_onnx.errors import FrontError, RequestError, UnsupportedError
from front_onnx.methods.copy import blocks
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Feed, Inputs
from front_onnx.samples.padding import padding
from front_onnx.samples.samples import Samples
from front_onnx.streams.norms import find_norms
from front_onnx.transform.weights import fill
from front_onnx.types import Progress, silent
from front_onnx.write.rewrite import Rewritten, rewrite
from front_onnx.write.verify import verify

__all__ = ["RIDGES", "best_start"]

RIDGES = (0.005, 0.05, 0.5)
CALIBRATED = "calibrated"
AS_IT_IS = "as it is"
_TRIAL = 4  # part of the samples that choices of blocks are tried on
_LEAST = 0.5  # of what makes a batch: the least that they are tried on
_ENOUGH = 4  # rows for each column of the decoders that they are compared through

Feeds = Sequence[Mapping[str, np.ndarray]]


def block_sets(plan: Plan) -> list[dict[int, tuple[int, ...]]]:
    """Choices of blocks for every chain that becomes shorter: by how much the state changes, and evenly spaced ones."""
    evidence = plan.request.evidence
    first = {number: tuple(map(int, kept)) for number, kept in evidence.blocks.items()} if evidence is not None else {}
    found = [first]
    for variant in ("interleave", "even"):
        chains = {n: (len(plan.structure.chains[n].units), plan.units[n]) for n in first}
        other = {n: tuple(map(int, blocks(variant, *sizes))) for n, sizes in chains.items()}
        if other not in found:
            found.append(other)
    return found


def with_blocks(plan: Plan, kept: Mapping[int, tuple[int, ...]]) -> Plan:
    """The same plan with other blocks."""
    assert plan.request.evidence is not None
    evidence = replace(plan.request.evidence, blocks={number: np.array(own) for number, own in kept.items()})
    return make_plan(plan.structure, replace(plan.request, evidence=evidence))


def best_start(
    plan: Plan,
    samples: Samples,
    shelf: Shelf,
    *,
    ridges: Sequence[float] = RIDGES,
    engine: Engine = CPU,
    progress: Progress = silent,
    goal: Goal | None = None,
) -> Outcome:
    """Make several starts of the sizes that a plan has, and take the best one.

    Args:
        plan: the plan of what was asked for.
        samples: unlabeled inputs of the source.
        shelf: where activations are kept.
        ridges: that each layer chooses from, see `fitting.py`.
        engine: what runs graphs.
        progress: told what is done.
        goal: where weights go; into the resized graph if None.

    Raises:
        RequestError: there are too few samples for the widest layer, or the source gives no output to compare.
        FrontError: not one start could be made.
    """
    return _Starts(plan, samples, shelf, ridges, engine, progress, goal or Resized()).run()


class _Starts:
    def __init__(
        self,
        plan: Plan,
        samples: Samples,
        shelf: Shelf,
        ridges: Sequence[float],
        engine: Engine,
        progress: Progress,
        goal: Goal,
    ) -> None:
        self.plan, self.samples, self.shelf, self.ridges = plan, samples, shelf, ridges
        self.engine, self.progress, self.goal = engine, progress, goal
        self.fits = self.fitted = 0  # calibrations, in all and so far

    @cached_property
    def inputs(self) -> Inputs:
        """What the source takes."""
        return Inputs.of(self.plan.structure.graph)

    @cached_property
    def last(self) -> frozenset[int]:
        """Nodes of the source that end their block."""
        structure = self.plan.structure
        return Targets(structure, find_layers(structure), find_norms(structure.analysis)).last

    def run(self) -> Outcome:
        parts = {"samples": self.samples.batches, "held out": self.samples.held_out}
        self.counted = Counted(self.plan.structure, padding(self.inputs, parts["samples"]))
        reference = Reference(self.shelf, parts, self.counted)
        try:
            looked = self._looked(reference)
            self.progress("source", 0, 1)
            reference.run(self.plan.structure.graph, "held out", self.engine)
            if not isinstance(looked, Plan):
                reference.run(self.plan.structure.graph, "samples", self.engine)
        except UnsupportedError:
            self._refuse_samples()
            raise
        if not reference.names:
            raise RequestError("the model has no output of numbers to compare by")
        best: Start | None = None
        tried: list[Candidate] = []
        for start in self._starts(reference, looked):
            tried.append(start if isinstance(start, Candidate) else start.candidate)
            if isinstance(start, Start) and (best is None or start.candidate.rank < best.candidate.rank):
                best = start
        if best is None:
            raise FrontError(tried[0].why)
        return Outcome(
            best.plan,
            best.rewritten,
            best.arrays,
            best.decoders,
            best.candidate,
            tuple(tried),
            (self.samples.count, self.samples.made_up),
        )

    def _looked(self, reference: Reference) -> Plan | Candidate | None:
        """What activations decide, from a run of the source that gives what it makes of the samples besides.

        Returns:
            A candidate that says why nothing could be decided; None if there is nothing to decide.
        """
        if not self.plan.resizes:
            return None
        tell, batches = self._telling("choose"), self.samples.batches
        try:
            return looked_at(
                self.plan,
                batches,
                self.shelf,
                tell,
                self.engine,
                counted=self.counted,
                outputs=partial(reference.take, "samples"),
            )
        except FrontError as error:
            return Candidate(CALIBRATED, why=error.typed_line, calibrated=True)

    def _refuse_samples(self) -> None:
        """Say that the samples are at fault, if the whole model does not run on them either.

        Raises:
            RequestError: it does not.
        """
        for feed in (*self.samples.batches, *self.samples.held_out):
            failure = self.inputs.failure(feed)
            if failure is not None:
                shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
                raise RequestError(f"the model does not run on the samples: {failure}", got=shapes)

    def _starts(self, reference: Reference, looked: Plan | Candidate | None) -> Iterator[Start | Candidate]:
        for name, method in self._data_free(self.plan.request):
            yield self._made(reference, name, partial(self._planned, method))
        yield from self._there(reference)
        if isinstance(looked, Candidate):
            yield looked
        if not isinstance(looked, Plan):
            return
        sets, some = block_sets(looked), self._some()
        whole = sum(map(self.inputs.count, some)) == self.samples.count
        best: Start | None = None
        self.fits = len(sets) if len(sets) == 1 or whole else len(sets) + 1
        for kept in sets if len(sets) > 1 else ():
            plan = with_blocks(looked, kept)
            told = " ".join(",".join(map(str, own)) for own in kept.values())
            part = "" if whole else f", {sum(map(self.inputs.count, some))} of {self.samples.count} samples"
            name = f"{CALIBRATED}, blocks {told}{part}"
            made = self._made(reference, name, partial(self._proved, plan), some, trial=not whole)
            if isinstance(made, Start) and (best is None or made.candidate.rank < best.candidate.rank):
                best = made
            yield made
        if len(sets) == 1 or (best is not None and not whole):
            chosen = looked if best is None else best.plan
            made = self._made(reference, CALIBRATED, partial(self._proved, chosen), self.samples.batches)
            best = made if isinstance(made, Start) else None
            yield made
        if best is not None and best.tables:
            yield self._joined(reference, best)

    def _some(self) -> list[Feed]:
        """The part of the samples that choices of blocks are tried on: some batches, or some of each batch."""
        batches = self.samples.batches
        counts = [self.inputs.count(feed) for feed in batches]
        least = max((_LEAST * self.inputs.batch_size(self.inputs.taken(feed, [0])) for feed in batches), default=0.0)
        wanted = max(self.samples.count / _TRIAL, least)
        found: list[Feed] = []
        step = max(1, min(_TRIAL, len(batches) // _TRIAL))
        share = min(1.0, wanted / max(sum(counts[::step]), 1))
        for feed, count in zip(batches[::step], counts[::step], strict=True):
            rows = count if self.inputs.batch is not None else math.ceil(share * count)
            found.append(feed if rows == count else self.inputs.taken(feed, range(rows)))
        return found

    def _proved(self, plan: Plan) -> tuple[Plan, Rewritten]:
        return plan, self._rewritten(plan)

    def _data_free(self, request: Request) -> Iterator[tuple[str, str]]:
        """Methods that look at no samples: what was asked for, and copies of blocks and entries."""
        yield request.method, request.method
        other = "depth=copy,width=select:norm"
        if request.method != other:
            yield other, other

    def _planned(self, method: str) -> tuple[Plan, Rewritten]:
        plan = self.plan
        if method != plan.request.method:
            plan = make_plan(plan.structure, replace(plan.request, method=method, ratio=1.0, align=False, order=False))
        return plan, self._rewritten(plan)

    @staticmethod
    def _rewritten(plan: Plan) -> Rewritten:
        rewritten = rewrite(plan)
        verify(plan, rewritten)
        return rewritten

    def _made(
        self,
        reference: Reference,
        name: str,
        make: Callable[[], tuple[Plan, Rewritten]],
        batches: Feeds | None = None,
        *,
        trial: bool = False,
    ) -> Start | Candidate:
        """One start, compared; or why there is none. A trial takes one ridge for all layers."""
        try:
            plan, rewritten = make()
            arrays: dict[str, np.ndarray] = {}
            fill(plan.structure.graph, rewritten.pending, arrays.__setitem__)
            done = None
            if batches is not None:
                done = self._fitted(plan, rewritten, arrays, batches, trial=trial)
            return self._start(reference, name, plan, rewritten, arrays, done, _ENOUGH if trial else None)
        except FrontError as error:
            return Candidate(name, why=error.typed_line, calibrated=batches is not None)

    def _joined(self, reference: Reference, start: Start) -> Start | Candidate:
        """A calibrated start whose tables that are layers too serve both, and what is between them, fitted again."""
        name, arrays = f"{CALIBRATED}, tied tables with their layers", dict[str, np.ndarray]()
        try:
            fill(start.plan.structure.graph, start.rewritten.pending, arrays.__setitem__)
            arrays |= start.tables
            again = self._fitted(
                start.plan, start.rewritten, arrays, self.samples.batches, joined=frozenset(start.tables)
            )
            changed = {**start.tables, **again.arrays}
            done = replace(again, arrays=changed, tables={})
            return self._start(reference, name, start.plan, start.rewritten, arrays, done, None)
        except FrontError as error:
            return Candidate(name, why=error.typed_line, calibrated=True)

    def _fitted(
        self,
        plan: Plan,
        rewritten: Rewritten,
        arrays: dict[str, np.ndarray],
        batches: Feeds,
        *,
        trial: bool = False,
        joined: frozenset[str] = frozenset(),
    ) -> Calibration:
        """Weights fitted in place."""
        self.fitted += 1
        self.fits = max(self.fits, self.fitted)
        return calibrate_plan(
            plan,
            rewritten,
            arrays,
            batches,
            self.shelf,
            ridges=self.ridges[len(self.ridges) // 2 :][:1] if trial else self.ridges,
            engine=self.engine,
            progress=self._telling(f"{CALIBRATED}, start {self.fitted} of {self.fits}"),
            counted=self.counted,
            joined=joined,
        )

    def _start(
        self,
        reference: Reference,
        name: str,
        plan: Plan,
        rewritten: Rewritten,
        arrays: Mapping[str, np.ndarray],
        done: Calibration | None,
        enough: int | None,
    ) -> Start:
        """Weights as a start, compared."""
        changed = done.arrays if done is not None else {}
        graph, held, written = self.goal.filled(rewritten, arrays, changed)
        likeness, decoders = self._compared(reference, plan, graph, held, enough)
        candidate = Candidate(name, likeness, "", () if done is None else done.report, done is not None)
        tables = done.tables if done is not None else {}
        return Start(candidate, plan, rewritten, written, decoders, tables)

    def _compared(
        self,
        reference: Reference,
        plan: Plan,
        graph: Graph,
        arrays: Mapping[str, np.ndarray],
        enough: int | None = None,
    ) -> tuple[dict[str, Likeness], dict[str, dict[int, np.ndarray]]]:
        """How far what a graph makes is from the source, and decoders of its outputs."""
        given, stands = ports(plan, kept_blocks(plan), self.last)
        feeds = (encoded(plan, part, given) for part in (self.samples.batches, self.samples.held_out))
        fitted_on, held_out = map(self.goal.feeds, feeds)
        self.progress("compare", 0, 1)
        like = self.goal.stands(stands)
        return compare(reference, graph, arrays, fitted_on, held_out, self.engine, like, enough=enough)

    def _there(self, reference: Reference) -> Iterator[Start | Candidate]:
        """The start that is there already, if there is one."""
        if self.goal.there is None:
            return
        try:
            plan, rewritten = self._planned(self.plan.request.method)
            likeness, decoders = self._compared(reference, plan, self.goal.there, {})
        except FrontError as error:
            yield Candidate(AS_IT_IS, why=error.typed_line)
            return
        yield Start(Candidate(AS_IT_IS, likeness), plan, rewritten, {}, decoders)

    def _telling(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(stage, done, total)
