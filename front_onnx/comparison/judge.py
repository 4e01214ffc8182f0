"""Who says what a model is worth: it runs on held-out samples, beside the source and beside labels if there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from front_onnx.calibration.calibrating import encoded
from front_onnx.calibration.comparing import Reference
from front_onnx.calibration.comparing import compare as likeness
from front_onnx.calibration.counted import Counted
from front_onnx.calibration.layers import find_layers
from front_onnx.calibration.places import kept_blocks, ports
from front_onnx.calibration.settings import CalibrationSettings, samples_of
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.targets import Targets
from front_onnx.check.agreement import stands_for
from front_onnx.check.validate import open_session
from front_onnx.comparison.labels import LABELS, Labels
from front_onnx.comparison.row import Worth
from front_onnx.errors import FrontError, RequestError
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph
from front_onnx.read.merged import side_by_side
from front_onnx.read.model_file import read_model
from front_onnx.samples.inputs import Inputs
from front_onnx.samples.padding import padding
from front_onnx.samples.samples import Data
from front_onnx.session import Session
from front_onnx.streams.norms import find_norms
from front_onnx.write.rewrite import rewrite

__all__ = ["Judge"]

Feeds = Sequence[Mapping[str, np.ndarray]]
_MANY = 4096  # samples to compare on, where they come from a file of their own
_FEW = 50  # fewer are told


class Judge:
    """Measures models of any size against one source.

    Args:
        session: the source.
        data: samples to calibrate and train on, a part of which is held out.
        validation: samples to compare on instead of that part.
        labels: the name of the array of labels in them; None for "labels", where there is one.
        settings: how many samples, and of memory.
        seed: of which samples are taken.
        shelf: where activations are kept.

    Attributes:
        samples: what was read.
        labels: what is known of them, or None.

    Raises:
        RequestError: the samples are no inputs, or the labels do not fit; or the source has no output of numbers.
    """

    def __init__(
        self,
        session: Session,
        data: Data,
        validation: Data | None,
        labels: str | None,
        settings: CalibrationSettings,
        seed: int,
        shelf: Shelf,
    ) -> None:
        self.graph, self.shelf, self.engine = session.graph, shelf, settings.engine
        self.inputs = Inputs.of(self.graph)
        self.samples = samples_of(data, self.graph, settings, seed)
        if validation is not None:
            apart = samples_of(validation, self.graph, replace(settings, samples=_MANY), seed)
            self.samples = replace(self.samples, held_out=(*apart.held_out, *apart.batches))
        self._refuse_unrunnable()
        parts = {"samples": self.samples.batches, "held out": self.samples.held_out}
        counted = Counted(session.structure, padding(self.inputs, parts["samples"]))
        self.reference = Reference(shelf, parts, counted)
        for part in parts:
            self.reference.run(self.graph, part, self.engine)
        if not self.reference.names:
            raise RequestError("the model has no output of numbers to compare by")
        self.labels = Labels.found(self.inputs, [each for each in (data, validation) if each is not None], labels)
        if self.labels is not None:
            self.labels.settle(self.samples.held_out, self.reference)

    def _refuse_unrunnable(self) -> None:
        for feed in (*self.samples.batches[:1], *self.samples.held_out[:1]):
            if (failure := self.inputs.failure(feed)) is not None:
                raise RequestError(f"the model does not run on the samples: {failure}")

    @property
    def held_out(self) -> int:
        """How many samples are compared on."""
        return sum(self.inputs.count(feed) for feed in self.samples.held_out)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to be known of the figures."""
        if self.held_out >= _FEW:
            return ()
        return (f"only {self.held_out} samples to compare on: figures are coarse (--hold-out, --validation)",)

    def digest(self) -> str:
        """A hash of all samples, and of their labels."""
        found = hashlib.sha256()
        for part in (self.samples.batches, self.samples.held_out):
            for feed in part:
                for digest in self.inputs.digests(feed):
                    found.update(digest)
                if self.labels is not None:
                    found.update(np.ascontiguousarray(self.labels.of(feed)).tobytes())
            found.update(b"|")
        return found.hexdigest()

    def source(self) -> float | None:
        """The accuracy of the source itself."""
        return self._accuracy(self.graph.model.path or self.graph.model.proto, self.samples.held_out)

    def worth(self, path: Path, plans: Sequence[Plan]) -> Worth:
        """What a model keeps.

        Args:
            path: the model.
            plans: how it was made of the source: in one step, or in two.

        Raises:
            FrontError: it does not run, or nothing of it can be compared.
        """
        graph = Graph(side_by_side(read_model(path)))
        fitted_on, held_out, stands = self._fed(graph, plans)
        found, _ = likeness(self.reference, graph, {}, fitted_on, held_out, self.engine, stands)
        if not found:
            raise FrontError("none of its outputs can be compared with the source's")
        return Worth(found, self._accuracy(path, held_out))

    def lessons(self, path: Path, plans: Sequence[Plan]) -> tuple[list[dict[str, np.ndarray]], ...]:
        """Feeds of a model to train on, and to measure on, with `labels` where there are some."""
        fitted_on, held_out, _ = self._fed(Graph(read_model(path)), plans)
        found = []
        for own, feeds in ((fitted_on, self.samples.batches), (held_out, self.samples.held_out)):
            labelled = [{} if self.labels is None else {LABELS: self.labels.of(feed)} for feed in feeds]
            found.append([{**feed, **more} for feed, more in zip(own, labelled, strict=True)])
        return tuple(found)

    def _fed(self, graph: Graph, plans: Sequence[Plan]) -> tuple[Feeds, Feeds, dict[str, str]]:
        """Both parts of the samples as feeds of a model, and what its outputs stand for where that has another name."""
        fitted_on: Feeds = self.samples.batches
        held_out: Feeds = self.samples.held_out
        stands: dict[str, str] = {}
        for plan in plans:
            given, made = _counterparts(plan)
            fitted_on, held_out = (_fed(plan, feeds, given) for feeds in (fitted_on, held_out))
            stands = {**stands, **{mine: stands.get(theirs, theirs) for mine, theirs in made.items()}}
        names = {info.name for info in graph.inputs}
        fitted_on, held_out = ([{n: f[n] for n in f if n in names} for f in feeds] for feeds in (fitted_on, held_out))
        return fitted_on, held_out, stands

    def _accuracy(self, model: Path | onnx.ModelProto, feeds: Feeds) -> float | None:
        """The part of the labels that a model names rightly, on feeds of its own of the held-out samples."""
        if self.labels is None:
            return None
        session = open_session(model)
        hits = total = 0
        for feed, own in zip(self.samples.held_out, feeds, strict=True):
            (made,) = session.run([self.labels.output], dict(own))
            right, count = self.labels.hits(np.asarray(made), feed)
            hits, total = hits + right, total + count
        return hits / max(total, 1)


def _counterparts(plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """By input and by output of a result, what it stands for where that is called otherwise; "" for a new block's."""
    structure = plan.structure
    given: dict[str, str] = {}
    made: dict[str, str] = {}
    if any(count < len(chain.units) for chain, count in zip(structure.chains, plan.units, strict=True)):
        last = Targets(structure, find_layers(structure), find_norms(structure.analysis)).last
        given, made = ports(plan, kept_blocks(plan), last)
    for name, (old, new) in stands_for(plan, rewrite(plan)).items():
        given[name], made[name] = old, "" if new else old
    return given, made


def _fed(plan: Plan, feeds: Feeds, given: Mapping[str, str]) -> Feeds:
    """Feeds of a result: encoded where an input has another size, and by its own names."""
    found = []
    for feed in encoded(plan, feeds, {}):
        mine = {name: feed[given.get(name, name)] for name in (*feed, *given) if given.get(name, name) in feed}
        found.append(mine)
    return found
