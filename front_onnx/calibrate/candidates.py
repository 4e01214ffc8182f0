"""The best start that can be had without training: several are made, compared on held-out samples, and one is taken.

What the method in the request gives, copies and selections, and what was calibrated, where a depth shrinks with several
choices of blocks: never worse than the best of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from front_onnx.calibrate.calibrating import calibrate_plan, encoded, looked_at
from front_onnx.calibrate.comparing import Likeness, Reference, compare
from front_onnx.calibrate.counted import Counted
from front_onnx.calibrate.fitting import Fitted
from front_onnx.calibrate.goals import Goal, Resized
from front_onnx.calibrate.layers import find_layers
from front_onnx.calibrate.places import kept_blocks, ports
from front_onnx.calibrate.shelf import Shelf
from front_onnx.calibrate.targets import Targets
from front_onnx.errors import FrontError, RequestError, UnsupportedError
from front_onnx.methods.copy import blocks
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Inputs
from front_onnx.samples.padding import padding
from front_onnx.samples.samples import Samples
from front_onnx.streams.norms import find_norms
from front_onnx.transform.weights import fill
from front_onnx.types import Progress, silent
from front_onnx.write.rewrite import Rewritten, rewrite
from front_onnx.write.verify import verify

__all__ = ["RIDGES", "Candidate", "Outcome", "best_start"]

RIDGES = (0.005, 0.05, 0.5)
CALIBRATED = "calibrated"
AS_IT_IS = "as it is"
_TRIAL = 4  # part of the batches that choices of blocks are tried on
_LEAST = 4  # batches that they are tried on

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One start.

    Attributes:
        name: what was done.
        likeness: by output.
        why: why it could not be made or compared; empty if it was.
        report: what became of each layer, if it was calibrated.
        calibrated: True if weights were fitted.
    """

    name: str
    likeness: Mapping[str, Likeness] = field(default_factory=dict)
    why: str = ""
    report: tuple[Fitted, ...] = ()
    calibrated: bool = False

    @property
    def error(self) -> float:
        """The mean error over all outputs, none counted as more than ten times the output itself."""
        errors = [min(each.error, 10.0) for each in self.likeness.values()]
        return float(np.mean(errors)) if errors else float("inf")

    @property
    def rank(self) -> tuple[float, float]:
        """What candidates are ordered by, the best first: the error, and where all of it is too much, by how much."""
        return self.error, sum(each.error for each in self.likeness.values())


@dataclass(frozen=True, eq=False)
class Outcome:
    """The best of several starts.

    Attributes:
        plan: how the best one was made.
        rewritten: its graph.
        arrays: weights to write, by name: those that are not what the plan says, or all that a given model gets.
        decoders: D [N, M] of outputs whose size is not the source's, by output and axis.
        best: which one it is.
        candidates: all of them, in the order in which they were tried.
        samples: how many samples were calibrated on, and whether they were made up.
    """

    plan: Plan
    rewritten: Rewritten
    arrays: Mapping[str, np.ndarray]
    decoders: Mapping[str, Mapping[int, np.ndarray]]
    best: Candidate
    candidates: tuple[Candidate, ...]
    samples: tuple[int, bool]


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


@dataclass(eq=False)
class _Start:
    candidate: Candidate
    plan: Plan
    rewritten: Rewritten
    arrays: Mapping[str, np.ndarray]
    decoders: Mapping[str, Mapping[int, np.ndarray]]


def best_start(
    plan: Plan,
    samples: Samples,
    shelf: Shelf,
    *,
    ridges: Sequence[float] = RIDGES,
    threads: int = 0,
    progress: Progress = silent,
    goal: Goal | None = None,
) -> Outcome:
    """Make several starts of the sizes that a plan has, and take the best one.

    Args:
        plan: the plan of what was asked for.
        samples: unlabeled inputs of the source.
        shelf: where activations are kept.
        ridges: that each layer chooses from, see `fitting.py`.
        threads: of onnxruntime.
        progress: told what is done.
        goal: where weights go; into the resized graph if None.

    Raises:
        RequestError: there are too few samples for the widest layer, or the source gives no output to compare.
        FrontError: not one start could be made.
    """
    return _Starts(plan, samples, shelf, ridges, threads, progress, goal or Resized()).run()


class _Starts:
    def __init__(
        self,
        plan: Plan,
        samples: Samples,
        shelf: Shelf,
        ridges: Sequence[float],
        threads: int,
        progress: Progress,
        goal: Goal,
    ) -> None:
        self.plan, self.samples, self.shelf, self.ridges = plan, samples, shelf, ridges
        self.threads, self.progress, self.goal = threads, progress, goal

    @cached_property
    def last(self) -> frozenset[int]:
        """Nodes of the source that end their block."""
        structure = self.plan.structure
        return Targets(structure, find_layers(structure), find_norms(structure.analysis)).last

    def run(self) -> Outcome:
        graph = self.plan.structure.graph
        parts = {"samples": self.samples.batches, "held out": self.samples.held_out}
        self.progress("source", 0, 1)
        mask = padding(Inputs.of(graph), parts["samples"])
        self.counted = Counted(self.plan.structure, mask)
        try:
            reference = Reference.of(graph, parts, self.shelf, self.threads, self.counted)
        except UnsupportedError:
            self._refuse_samples()
            raise
        if not reference.names:
            raise RequestError("the model has no output of numbers to compare by")
        best: _Start | None = None
        tried: list[Candidate] = []
        for start in self._starts(reference):
            tried.append(start if isinstance(start, Candidate) else start.candidate)
            if isinstance(start, _Start) and (best is None or start.candidate.rank < best.candidate.rank):
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

    def _refuse_samples(self) -> None:
        """Say that the samples are at fault, if the whole model does not run on them either.

        Raises:
            RequestError: it does not.
        """
        inputs = Inputs.of(self.plan.structure.graph)
        for feed in (*self.samples.batches, *self.samples.held_out):
            failure = inputs.failure(feed)
            if failure is not None:
                shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
                raise RequestError(f"the model does not run on the samples: {failure}", got=shapes)

    def _starts(self, reference: Reference) -> Iterator[_Start | Candidate]:
        for name, method in self._data_free(self.plan.request):
            yield self._made(reference, name, partial(self._planned, method))
        yield from self._there(reference)
        if not self.plan.resizes:
            return
        try:
            looked = looked_at(
                self.plan, self.samples.batches, self.shelf, self._telling("choose"), self.threads, counted=self.counted
            )
        except FrontError as error:
            yield Candidate(CALIBRATED, why=str(error), calibrated=True)
            return
        sets = block_sets(looked)
        if len(sets) == 1:
            yield self._made(reference, CALIBRATED, partial(self._proved, looked), self.samples.batches)
            return
        some = self.samples.batches[:: max(1, min(_TRIAL, len(self.samples.batches) // _LEAST))]
        whole = len(some) == len(self.samples.batches)
        best: tuple[tuple[float, float], Plan] | None = None
        for kept in sets:
            plan = with_blocks(looked, kept)
            told = " ".join(",".join(map(str, own)) for own in kept.values())
            name = f"{CALIBRATED}, blocks {told}" + (
                "" if whole else f", {len(some)} of {len(self.samples.batches)} batches"
            )
            made = self._made(reference, name, partial(self._proved, plan), some)
            if isinstance(made, _Start) and (best is None or made.candidate.rank < best[0]):
                best = made.candidate.rank, plan
            yield made
        if best is not None and not whole:
            yield self._made(reference, CALIBRATED, partial(self._proved, best[1]), self.samples.batches)

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
    ) -> _Start | Candidate:
        """One start, compared; or why there is none."""
        try:
            plan, rewritten = make()
            arrays: dict[str, np.ndarray] = {}
            fill(plan.structure.graph, rewritten.pending, arrays.__setitem__)
            changed: Mapping[str, np.ndarray] = {}
            report: tuple[Fitted, ...] = ()
            if batches is not None:
                tell = self._telling(CALIBRATED)
                done = calibrate_plan(
                    plan,
                    rewritten,
                    batches,
                    self.shelf,
                    ridges=self.ridges,
                    threads=self.threads,
                    progress=tell,
                    counted=self.counted,
                )
                changed, report = done.arrays, done.report
            graph, held, written = self.goal.filled(rewritten, arrays, changed)
            likeness, decoders = self._compared(reference, plan, graph, held)
        except FrontError as error:
            return Candidate(name, why=str(error), calibrated=batches is not None)
        return _Start(Candidate(name, likeness, "", report, batches is not None), plan, rewritten, written, decoders)

    def _compared(
        self, reference: Reference, plan: Plan, graph: Graph, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, Likeness], dict[str, dict[int, np.ndarray]]]:
        """How far what a graph makes is from the source, and decoders of its outputs."""
        given, stands = ports(plan, kept_blocks(plan), self.last)
        feeds = (encoded(plan, part, given) for part in (self.samples.batches, self.samples.held_out))
        fitted_on, held_out = map(self.goal.feeds, feeds)
        self.progress("compare", 0, 1)
        return compare(reference, graph, arrays, fitted_on, held_out, self.threads, self.goal.stands(stands))

    def _there(self, reference: Reference) -> Iterator[_Start | Candidate]:
        """The start that is there already, if there is one."""
        if self.goal.there is None:
            return
        try:
            plan, rewritten = self._planned(self.plan.request.method)
            likeness, decoders = self._compared(reference, plan, self.goal.there, {})
        except FrontError as error:
            yield Candidate(AS_IT_IS, why=str(error))
            return
        yield _Start(Candidate(AS_IT_IS, likeness), plan, rewritten, {}, decoders)

    def _telling(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(stage, done, total)
