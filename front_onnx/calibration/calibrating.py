"""A resized model whose weights are fitted to its source: the passes, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from front_onnx.calibration.choosing import choose
from front_onnx.calibration.counted import Counted
from front_onnx.calibration.engine import CPU, Engine
from front_onnx.calibration.fitted import Fitted
from front_onnx.calibration.fitting import Fitting
from front_onnx.calibration.layers import find_layers
from front_onnx.calibration.places import Places, kept_blocks, ports
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.stepping import Stepper
from front_onnx.calibration.targets import Targets
from front_onnx.errors import RequestError
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.ports import encoders
from front_onnx.read.graph import Graph
from front_onnx.session import FilledModel
from front_onnx.streams.norms import find_norms
from front_onnx.write.rewrite import Rewritten

__all__ = ["Calibration", "calibrate_plan", "encoded", "looked_at"]

_FEWEST = 2  # samples of a layer for each of its inputs

Feeds = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Calibration:
    """What fitting did.

    Attributes:
        arrays: the weights that were changed, by name.
        report: what became of each layer and norm, in order.
        tables: what constants that are tables and layers at once should be, for another calibration with them.
    """

    arrays: Mapping[str, np.ndarray]
    report: tuple[Fitted, ...]
    tables: Mapping[str, np.ndarray]


def looked_at(
    plan: Plan,
    batches: Feeds,
    shelf: Shelf,
    progress: Callable[[int, int], None] = lambda done, total: None,
    engine: Engine = CPU,
    *,
    counted: Counted | None = None,
    outputs: Callable[[int, Mapping[str, np.ndarray]], None] | None = None,
) -> Plan:
    """The plan in which activations of the source decide what is kept of each dim.

    Args:
        plan: the sizes.
        batches: complete feeds of the source.
        shelf: where activations are kept.
        progress: told how many places were looked at, and of how many.
        engine: what runs graphs.
        counted: which tokens count; all if None.
        outputs: told the outputs of the source, batch by batch, which the same run makes.
    """
    structure = plan.structure
    layers, norms = find_layers(structure), find_norms(structure.analysis)
    counted = counted or Counted(structure, None)
    evidence = choose(plan, layers, norms, batches, shelf, counted, engine=engine, progress=progress, outputs=outputs)
    request = replace(
        plan.request, method="calibrated", evidence=evidence, scale="auto", ratio=1.0, align=False, order=False
    )
    return make_plan(structure, request)


def calibrate_plan(
    plan: Plan,
    rewritten: Rewritten,
    arrays: dict[str, np.ndarray],
    batches: Feeds,
    shelf: Shelf,
    *,
    ridges: Sequence[float],
    engine: Engine = CPU,
    progress: Callable[[int, int], None] = lambda done, total: None,
    counted: Counted | None = None,
    joined: frozenset[str] = frozenset(),
) -> Calibration:
    """Fit the weights of a rewritten model to what its source makes of samples.

    Args:
        plan: how it was made.
        rewritten: its graph.
        arrays: what the plan says that its weights are, by name; they are changed in place.
        batches: complete feeds of the source.
        shelf: where activations are kept.
        ridges: toward the weights that the plan gives, as parts of the mean diagonal of each layer's Gram matrix; each
            layer takes the best one.
        engine: what runs graphs.
        progress: told how many layers and norms are done, and of how many.
        counted: which tokens count; all if None.
        joined: constants among the arrays that were fitted as tables and layers at once: they stay.

    Raises:
        RequestError: there are too few samples for every layer.
        FrontError: activations are not finite.
        UnsupportedError: onnxruntime cannot run a part of the graph by itself.
    """
    structure = plan.structure
    model = FilledModel(rewritten.proto, arrays)
    graph = Graph(model)
    targets = Targets(structure, find_layers(structure), find_norms(structure.analysis))
    kept = kept_blocks(plan)
    places = Places(plan, kept, targets.last)
    given, _ = ports(plan, kept, targets.last)
    source = Stepper(structure.graph, {}, batches, shelf, engine)
    target = Stepper(graph, arrays, encoded(plan, batches, given), shelf, engine)
    counted = counted or Counted(structure, None)
    fitting = Fitting(graph, arrays, source, target, places, targets, ridges, rewritten.pending, counted, joined)
    fitting.run(progress)
    _refuse_few(fitting.report)
    return Calibration(fitting.held.changed, tuple(fitting.report), fitting.tables)


def _refuse_few(report: Sequence[Fitted]) -> None:
    """Refuse samples that are too few for every layer: what is fitted to them is their noise.

    Raises:
        RequestError: they are.
    """
    layers = [fitted for fitted in report if fitted.level != "kept" and fitted.columns > 1]
    if layers and all(fitted.rows < _FEWEST * fitted.columns for fitted in layers):
        least = min(layers, key=lambda fitted: fitted.columns)
        wanted = f"at least {_FEWEST * least.columns} tokens or places"
        raise RequestError("there are too few samples to calibrate on", node=least.node, got=least.rows, wanted=wanted)


def encoded(plan: Plan, batches: Feeds, given: Mapping[str, str]) -> Feeds:
    """Feeds of the target: those of the source, encoded where an input has another size.

    Args:
        plan: how the target was made.
        batches: complete feeds of the source.
        given: the source's input that an input of the target stands for, where it is another one (`places.ports`).
    """
    wide = encoders(plan)
    if not wide and not given:
        return batches
    found = []
    for feed in batches:
        mine = {name: feed[given.get(name, name)] for name in feed}
        for name, axes in wide.items():
            for axis, matrix in axes.items() if name in mine else ():
                array = mine[name]
                moved = np.tensordot(array, matrix.astype(array.dtype), (axis, 1))
                mine[name] = np.moveaxis(moved, -1, axis)
        found.append(mine)
    return found
