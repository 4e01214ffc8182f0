"""Comparing: every method at every size, made, measured, trained if asked for, and kept as it is finished."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any, Unpack

import onnx

from front_onnx.api import Result, resize
from front_onnx.calibration.settings import DEFAULT, CalibrationSettings
from front_onnx.calibration.shelf import Shelf
from front_onnx.check.validate import check_result
from front_onnx.comparison.contenders import MADE_UP, Contender, contenders, named_methods
from front_onnx.comparison.judge import Judge
from front_onnx.comparison.row import Row, Size, Source, Trained, Worth
from front_onnx.comparison.sizes import Asked, Wish, wishes
from front_onnx.comparison.store import Store, key_of
from front_onnx.comparison.teaching import Lesson, Rates, Trainer
from front_onnx.errors import FrontError, OutputError, RequestError
from front_onnx.methods.calibrated import Calibrated
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model
from front_onnx.samples.reading import SYNTHETIC
from front_onnx.samples.samples import Data
from front_onnx.session import Session
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.summary import duration, parameter_count
from front_onnx.types import ModelLike, Names, PathLike, Progress, silent
from front_onnx.version import __version__
from front_onnx.write.replace import write_with

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        source: what everything was compared with.
        sizes: one for each size, in the order of their parameters.
        output: the file that the best model was written to, or None.
        best: the best one at the size that was written, or at the only one.
        resumed: how many results were there from a run before.
    """

    source: Source
    sizes: tuple[Size, ...]
    output: Path | None
    best: Row | None
    resumed: int


def compare(
    model: ModelLike,
    *,
    at: Sequence[str] = (),
    methods: Names | None = None,
    data: Data | None = None,
    validation: Data | None = None,
    labels: str | None = None,
    calibration: CalibrationSettings = DEFAULT,
    trainer: Trainer | None = None,
    seeds: int = 1,
    lr: str | float = "auto",
    work: PathLike | None = None,
    output: PathLike | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **sizes: Unpack[Asked],
) -> Comparison:
    """Make a model of other sizes by every method that fits, and measure what each keeps of the source.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        at: several sizes, each in words: "depth=3 width=192", "params=30M"; see `compare/sizes.py`.
        methods: which ones ("front", "depth=copy,width=fold"), "calibrated", "made-up" and "best" among them; all that
            fit if None.
        data: samples to calibrate and train on, a part of which is held out to compare on; made up if None.
        validation: samples to compare on instead.
        labels: the name of the array of labels in the samples; "labels" if None, where there is one.
        calibration: how many samples, how many are held out, memory.
        trainer: trains each start for a moment, on labels where there are some and else with the source as teacher:
            `front_onnx.adapters.refine.short.Short(steps=80)`.
        seeds: trainings of each start; methods that draw numbers draw others for each.
        lr: "auto" (a base of 1e-3, a tenth of it for what is exact, a fifth for what is calibrated), "auto:BASE", or
            one rate for all.
        work: a folder where finished results are kept; a second run goes on from there.
        output: where to write the best model, where one size is asked for.
        seed: of which samples are taken, of the made-up ones, of what methods draw, and of the first training.
        progress: called with (stage, done, total).
        sizes: the one size, or what goes for all in `at`; see `resize`.

    Raises:
        FileError: the model or the samples cannot be read.
        RequestError: a size is impossible, the samples are no inputs, or no method makes anything.
        OutputError: nothing can be written into the folder.
    """
    if seeds < 1:
        raise RequestError("--seeds takes a number of at least 1", got=seeds)
    asked = wishes(sizes, at)
    target = named_file(output) if output is not None else None
    if target is not None and len(asked) > 1:
        raise RequestError("-o writes one model, and there are several sizes", hint="leave out -o, or name one size")
    named, rates = named_methods(methods), Rates.of(lr)
    session = Session(model, block=sizes.get("block"), residual=sizes.get("residual"))
    refuse_overwriting(session.source, target)
    progress("understand", 0, 1)
    with ExitStack() as stack:
        folder = Path(work) if work is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shelf = stack.enter_context(Shelf(calibration.memory, calibration.folder))
        run = _Run(session, data, labels, calibration, trainer, seeds, rates, seed, Store(folder), progress)
        plans = [(wish, run.planned(wish)) for wish in asked]
        entrants = [contenders(plan, named, data is not None) for _, plan in plans]
        progress("source", 0, 1)
        run.judge = Judge(
            session, data if data is not None else SYNTHETIC, validation, labels, calibration, seed, shelf
        )
        run.jobs = sum(not entrant.why for each in entrants for entrant in each)
        found = [run.size(wish, plan, each) for (wish, plan), each in zip(plans, entrants, strict=True)]
        source = run.source()
        best = found[0].best if len(found) == 1 else None
        if best is None and len(found) == 1:
            raise FrontError(f"no method makes this size: {found[0].left_out[0].why}")
        if target is not None and best is not None:
            run.write(best, asked[0], target)
    found.sort(key=lambda size: size.parameters)
    return Comparison(source, tuple(found), target, best, run.resumed)


class _Run:
    """One comparison while it runs."""

    judge: Judge
    jobs: int

    def __init__(
        self,
        session: Session,
        data: Data | None,
        labels: str | None,
        settings: CalibrationSettings,
        trainer: Trainer | None,
        seeds: int,
        rates: Rates,
        seed: int,
        store: Store,
        progress: Progress,
    ) -> None:
        self.session, self.data, self.settings = session, data, settings
        self.trainer, self.seeds, self.rates, self.seed = trainer, seeds, rates, seed
        self.store, self.progress = store, progress
        self.resumed = self.done = 0
        self._taken: dict[bool, list[float]] = defaultdict(list)  # seconds of a result, by whether it is calibrated

    # -- the parts of a comparison --------------------------------------------------------------------------

    def planned(self, wish: Wish) -> Plan:
        """The plan of a size, by any method."""
        return resize(self.session.source, dry_run=True, **wish.options).plan

    def size(self, wish: Wish, plan: Plan, entrants: Sequence[Contender]) -> Size:
        """All methods at one size; of their models only the best one is kept."""
        rows: list[Row] = []
        best: tuple[Row, str] | None = None
        for entrant in entrants:
            if entrant.why:
                rows.append(Row(entrant.name, entrant.why))
                continue
            self._tell(f"{wish.label}: {entrant.name}", entrant)
            about = self._about(wish, entrant.name)
            key = key_of(about)
            row = self.store.get(key)
            if row is None:
                started = time.perf_counter()
                row = self._row(wish, entrant, key)
                self._taken[entrant.calibrates].append(time.perf_counter() - started)
                self.store.put(key, row, about)
            else:
                self.resumed += 1
            self.done += 1
            self._tell(f"{wish.label}: {_kept(row)}")
            rows.append(row)
            if row.why or (best is not None and best[0].rank <= row.rank):
                self.store.drop(key)
                continue
            if best is not None:
                self.store.drop(best[1])
            best = row, key
        good = sorted((row for row in rows if not row.why), key=lambda row: row.rank)
        skeleton = self.session.rewrite(plan).proto if not good else None
        parameters = parameter_count(skeleton.graph) if skeleton is not None else good[0].parameters
        return Size(wish.label, _sizes(plan), parameters, tuple(good), tuple(row for row in rows if row.why))

    def source(self) -> Source:
        """What everything was compared with."""
        judge, graph = self.judge, self.session.graph
        return Source(
            str(self.session.source.path) if self.session.source.path else None,
            parameter_count(graph.proto),
            judge.source(),
            judge.samples.count,
            judge.held_out,
            judge.samples.made_up,
            judge.warnings,
        )

    def write(self, best: Row, wish: Wish, target: Path) -> None:
        """Write the model of a result; it is made again if a run before has not kept it."""
        key = key_of(self._about(wish, best.method))
        place = self.store.model(key)
        if not place.exists():
            self._row(wish, Contender(best.method), key)
        graph = Graph(read_model(place))
        with atomic_write(target, read=self.session.source.files) as staged:
            write_with(graph, {}, staged)
            check_result(self.session.source, staged.path, self.seed)

    # -- one result ------------------------------------------------------------------------------------------

    def _row(self, wish: Wish, entrant: Contender, key: str) -> Row:
        """Make a start and measure it; or say why there is none."""
        path = self.store.model(key)
        try:
            result = self._made(wish, entrant.name, path)
            row = replace(_described(entrant, result), worth=self.judge.worth(path, _plans(result)))
        except OutputError:  # says nothing of the method
            raise
        except FrontError as error:
            return Row(entrant.name, error.typed_line)
        if self.trainer is None:
            return row
        try:
            return replace(row, trained=self._trained(wish, entrant, row, result, key))
        except OutputError:
            raise
        except FrontError as error:
            return replace(row, untrained=error.typed_line)

    def _made(self, wish: Wish, method: str, path: Path, seed: int | None = None) -> Result:
        how: dict[str, Any] = {"method": method}
        if method in (Calibrated.name, MADE_UP):
            how = {"data": self.data if method == Calibrated.name else SYNTHETIC}
        elif method == "best" and self.data is not None:
            how["data"] = self.data
        return resize(
            self.session.source,
            output=path,
            validate=False,
            seed=self.seed if seed is None else seed,
            calibration=self.settings,
            **how,
            **wish.options,
        )

    def _trained(self, wish: Wish, entrant: Contender, row: Row, first: Result, key: str) -> Trained:
        """Train a start once for each seed; the best of them is what stays in its place."""
        assert self.trainer is not None and row.worth is not None
        path, rate, started = self.store.model(key), self.rates.rate(row.kind), time.perf_counter()
        output = self.judge.labels.output if self.judge.labels is not None else next(iter(row.worth.outputs))
        runs: list[Worth] = []
        curves = []
        best: Path | None = None
        metric = ""
        seeds = tuple(range(self.seed, self.seed + self.seeds))
        for seed in seeds:
            start, result = path, first
            if seed != self.seed and _draws(first.plan):
                start = self.store.folder / f"{key}.{seed}.start.onnx"
                result = self._made(wish, entrant.name, start, seed)
            plans = _plans(result)
            feeds, held_out = self.judge.lessons(start, plans)
            target = self.store.folder / f"{key}.{seed}.trained.onnx"
            folder = self.store.folder / f"{key}.{seed}.run"
            whole = self.judge.inputs.batch is not None
            teacher = None if self.judge.labels is not None else self._teacher
            lesson = Lesson(start, target, folder, feeds, held_out, teacher, output, rate, seed, whole)
            metric, curve = self.trainer(lesson)
            runs.append(self.judge.worth(target, plans))
            curves.append(tuple(curve))
            if best is None or runs[-1].rank < min(run.rank for run in runs[:-1]):
                best = target
        assert best is not None
        graph = Graph(read_model(best))
        with atomic_write(path) as staged:
            write_with(graph, {}, staged)
        self.store.clear(key)
        return Trained(rate, metric, tuple(runs), tuple(curves), time.perf_counter() - started, seeds)

    @cached_property
    def _teacher(self) -> Path:
        source = self.session.source
        if source.path is not None:
            return source.path
        path = self.store.folder / "source.onnx"
        onnx.save(source.proto, path)
        return path

    def _about(self, wish: Wish, method: str) -> dict[str, Any]:
        """All that decides a result."""
        settings = {name: value for name, value in asdict(self.settings).items() if name not in ("memory", "folder")}
        training = None
        if self.trainer is not None:
            training = {"steps": self.trainer.steps, "seeds": self.seeds, "lr": asdict(self.rates)}
        return {
            "version": __version__,
            "source": self._digest,
            "sizes": wish.options,
            "method": method,
            "samples": self._samples,
            "settings": settings,
            "seed": self.seed,
            "training": training,
        }

    @cached_property
    def _digest(self) -> str:
        return self.session.source.digest()

    @cached_property
    def _samples(self) -> str:
        return self.judge.digest()

    # -- telling ----------------------------------------------------------------------------------------------

    def _tell(self, what: str, entrant: Contender | None = None) -> None:
        """Say what is done, or begun, and how long the rest takes: calibrated starts take longer than others."""
        known = [seconds for each in self._taken.values() for seconds in each]
        left = ""
        if known and self.done < self.jobs:
            rest = [seconds for calibrates, each in self._taken.items() if not calibrates for seconds in each] or known
            mine = (self._taken[entrant.calibrates] or known) if entrant is not None else rest
            left = f", about {duration(mean(mine) + (self.jobs - self.done - 1) * mean(rest))} left"
        self.progress(f"{what}{left}", self.done, self.jobs)


def _kept(row: Row) -> str:
    """What became of a start, in a few words."""
    if row.why:
        return f"{row.method} does not go"
    return f"{row.method} keeps {100 * row.final:.1f} %{' after the training' if row.trained else ''}"


def _plans(result: Result) -> list[Plan]:
    return [result.plan] if result.grown is None else [result.grown, result.plan]


def _draws(plan: Plan) -> bool:
    """True if a method draws numbers."""
    return plan.methods.width.whole and not plan.methods.exact


def _described(entrant: Contender, result: Result) -> Row:
    kind, note = "carried", ""
    if result.calibration is not None:
        calibrated = result.calibration.best.calibrated
        kind = "calibrated" if calibrated else "carried"
        note = "" if calibrated else f"{result.calibration.best.name} kept more, so it is that"
    elif result.plan.methods.exact:
        kind = "exact"
    parameters = parameter_count(result.skeleton.graph)
    return Row(entrant.name, "", kind, note, parameters, round(result.seconds, 3))


def _sizes(plan: Plan) -> dict[str, tuple[int, int]]:
    """What changes: before and after, by the name of the chain or dim."""
    chains = plan.structure.chains
    names = [f"depth {chain.name}" if len(chains) > 1 else "depth" for chain in chains]
    depths = {name: pair for name, pair in zip(names, plan.depths, strict=True) if pair[0] != pair[1]}
    dims = {dim.name: (dim.size, plan.sizes[dim.var] * dim.times) for dim in plan.structure.dims}
    return {**depths, **{name: pair for name, pair in dims.items() if pair[0] != pair[1]}}
