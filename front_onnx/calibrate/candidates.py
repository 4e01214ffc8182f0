"""The best start that can be had without training: several are made, compared on held-out samples, and one is taken.

What the method in the request gives, copies and selections, and the same calibrated at several ridges: never worse than
the best of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from front_onnx.calibrate.calibrating import Weights, calibrate_plan, encoded, looked_at
from front_onnx.calibrate.comparing import Likeness, Reference, compare
from front_onnx.calibrate.fitting import Fitted
from front_onnx.calibrate.samples import Samples
from front_onnx.calibrate.shelf import Shelf
from front_onnx.errors import FrontError, RequestError
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.transform.weights import fill
from front_onnx.types import Progress, silent
from front_onnx.write.rewrite import Rewritten, rewrite
from front_onnx.write.verify import verify

__all__ = ["RIDGES", "Candidate", "Outcome", "best_start"]

RIDGES = (0.02, 0.2)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One start.

    Attributes:
        name: what was done.
        likeness: by output.
        why: why it could not be made or compared; empty if it was.
        report: what became of each layer, if it was calibrated.
        ridge: of the calibration; None without one.
    """

    name: str
    likeness: Mapping[str, Likeness] = field(default_factory=dict)
    why: str = ""
    report: tuple[Fitted, ...] = ()
    ridge: float | None = None

    @property
    def error(self) -> float:
        """The mean error over all outputs, none counted as more than ten times the output itself."""
        errors = [min(each.error, 10.0) for each in self.likeness.values()]
        return float(np.mean(errors)) if errors else float("inf")


@dataclass(frozen=True, eq=False)
class Outcome:
    """The best of several starts.

    Attributes:
        plan: how the best one was made.
        rewritten: its graph.
        arrays: weights that are not what the plan says, by name.
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
) -> Outcome:
    """Make several starts of the sizes that a plan has, and take the best one.

    Args:
        plan: the plan of what was asked for.
        samples: unlabeled inputs of the source.
        shelf: where activations are kept.
        ridges: that are tried, see `fitting.py`.
        threads: of onnxruntime.
        progress: told what is done.

    Raises:
        RequestError: there are too few samples for the widest layer, or the source gives no output to compare.
        FrontError: not one start could be made.
    """
    return _Starts(plan, samples, shelf, ridges, threads, progress).run()


class _Starts:
    def __init__(
        self,
        plan: Plan,
        samples: Samples,
        shelf: Shelf,
        ridges: Sequence[float],
        threads: int,
        progress: Progress,
    ) -> None:
        self.plan, self.samples, self.shelf, self.ridges = plan, samples, shelf, ridges
        self.threads, self.progress = threads, progress

    def run(self) -> Outcome:
        graph = self.plan.structure.graph
        parts = {"samples": self.samples.batches, "held out": self.samples.held_out}
        self.progress("source", 0, 1)
        reference = Reference.of(graph, parts, self.shelf, self.threads)
        if not reference.names:
            raise RequestError("the model has no output of numbers to compare by")
        best: _Start | None = None
        tried: list[Candidate] = []
        for start in self._starts(reference):
            tried.append(start if isinstance(start, Candidate) else start.candidate)
            if isinstance(start, _Start) and (best is None or start.candidate.error < best.candidate.error):
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

    def _starts(self, reference: Reference) -> Iterator[_Start | Candidate]:
        request = self.plan.request
        for name, method in self._data_free(request):
            yield self._made(reference, name, partial(self._planned, method))
        known: list[tuple[Plan, Rewritten]] = []

        def looked() -> tuple[Plan, Rewritten]:
            if not known:
                tell = self._telling("choose")
                plan = looked_at(self.plan, self.samples.batches, self.shelf, tell, self.threads)
                known.append((plan, self._rewritten(plan)))
            return known[0]

        for ridge in self.ridges:
            yield self._made(reference, f"calibrated, ridge {ridge:g}", looked, ridge)

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
        ridge: float | None = None,
    ) -> _Start | Candidate:
        """One start, compared; or why there is none."""
        try:
            plan, rewritten = make()
            arrays: dict[str, np.ndarray] = {}
            fill(plan.structure.graph, rewritten.pending, arrays.__setitem__)
            changed: Mapping[str, np.ndarray] = {}
            report: tuple[Fitted, ...] = ()
            if ridge is not None:
                tell = self._telling(name)
                done = calibrate_plan(
                    plan, rewritten, self.samples.batches, self.shelf, ridge=ridge, threads=self.threads, progress=tell
                )
                changed, report = done.arrays, done.report
            graph = Graph(Weights(rewritten.proto, {**arrays, **changed}))
            feeds = encoded(plan, self.samples.batches), encoded(plan, self.samples.held_out)
            self.progress("compare", 0, 1)
            likeness, decoders = compare(reference, graph, {**arrays, **changed}, *feeds, self.threads)
        except FrontError as error:
            return Candidate(name, why=str(error), ridge=ridge)
        return _Start(Candidate(name, likeness, "", report, ridge), plan, rewritten, changed, decoders)

    def _telling(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(stage, done, total)
