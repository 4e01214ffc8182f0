"""What is kept of each dim, by activations of the source: directions, units, heads, blocks.

A dim that only linear layers, sums and norms meet may have any map: the principal directions of the stream, pooled over
the places where it is normalised, each place divided by its trace. Any other dim keeps some of its entries: those whose
removal costs most where they are read, by the OBS score (Hassibi & Stork, 1993)

    tr(W_S^T ((H^-1)_SS)^-1 W_S)        H the Gram matrix of what is read, S the places of one entry

removed a few at a time, what is left making up for them. Blocks are kept by how much the state changes over them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from front_onnx.axes.size import Axis, SizeVar
from front_onnx.calibration.counted import Counted
from front_onnx.calibration.engine import CPU, Engine
from front_onnx.calibration.layers import Layer
from front_onnx.calibration.removing import eliminate, made, removal
from front_onnx.calibration.rows import gathered, patches, sampled
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.stepping import Stepper, made_outputs
from front_onnx.calibration.variables import entry_of, is_linear
from front_onnx.errors import FrontError
from front_onnx.methods.evidence import Evidence
from front_onnx.methods.private import Private
from front_onnx.operators.record import Trait, record_of
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import label
from front_onnx.streams.norms import Norm
from front_onnx.transform.maps import AxisMap, Matrix, Select

__all__ = ["choose"]

_LARGE = 768  # places from which rounding is worth less than time: single precision, few parts
_WIDE = 1536  # rows of a kernel's Gram matrix: beyond, channels alone are looked at
_ENOUGH = 2  # rows for each column of a Gram matrix that entries are ranked by
_ROOM = 256 << 20  # bytes of Gram matrices that are kept to choose entries together
_FINAL = 4.0  # how often the state behind the last block counts

_Key = tuple[SizeVar, tuple[int, int] | None]
_Take = Callable[[dict[str, np.ndarray], int], None]


def choose(
    plan: Plan,
    layers: Mapping[int, Layer],
    norms: Sequence[Norm],
    batches: Sequence[Mapping[str, np.ndarray]],
    shelf: Shelf,
    counted: Counted,
    *,
    engine: Engine = CPU,
    progress: Callable[[int, int], None] = lambda done, total: None,
    outputs: Callable[[int, Mapping[str, np.ndarray]], None] | None = None,
) -> Evidence:
    """Run the source on samples, once, and choose what is kept of every dim that shrinks.

    Args:
        plan: which sizes change; how weights are carried over in it says nothing.
        layers: those of the source.
        norms: those of the source.
        batches: complete feeds of the source.
        shelf: where activations are kept.
        counted: which tokens count.
        engine: what runs graphs.
        progress: told how many places were looked at, and of how many.
        outputs: told the outputs of the source, batch by batch.
    """
    return _Choosing(plan, layers, norms, batches, shelf, counted, engine, outputs).run(progress)


@dataclass
class _Look:
    """One place to look at: what to run to, and what to do with the values.

    Attributes:
        order: the node that makes them.
        names: of the tensors.
        start: gives what takes the values of each batch, and what is to be done at the end: sums are made when it is
            their turn, and gone after it.
    """

    order: int
    names: tuple[str, ...]
    start: Callable[[], tuple[_Take, Callable[[], None]]]


class _Choosing:
    def __init__(
        self,
        plan: Plan,
        layers: Mapping[int, Layer],
        norms: Sequence[Norm],
        batches: Sequence[Mapping[str, np.ndarray]],
        shelf: Shelf,
        counted: Counted,
        engine: Engine,
        outputs: Callable[[int, Mapping[str, np.ndarray]], None] | None,
    ) -> None:
        self.counted, self.outputs = counted, outputs
        self.plan, self.structure, self.layers, self.norms = plan, plan.structure, layers, norms
        self.graph, self.algebra = self.structure.graph, self.structure.analysis.algebra
        self.private = Private(self.structure)
        self.batches, self.shelf, self.engine = batches, shelf, engine
        self.smaller = {var for var, size in plan.sizes.items() if size < var.size and var not in self.structure.depths}
        self.dense = {var for var in self.smaller if is_linear(self.structure, norms, var)}
        self.pooled: dict[SizeVar, np.ndarray] = {}
        self.scores: dict[_Key, np.ndarray] = {}
        self.readers: dict[_Key, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
        self.pending: dict[_Key, int] = defaultdict(int)
        self.axes: dict[_Key, AxisMap] = {}
        self.moved: dict[int, list[float]] = {}
        self.room = _ROOM

    def run(self, progress: Callable[[int, int], None]) -> Evidence:
        looks = [*self._states(), *self._reads(), *self._blocks()]
        looks = [*sorted(looks, key=lambda look: look.order), *self._ends()]
        stepper = Stepper(self.graph, {}, self.batches, self.shelf, self.engine)
        stepper.expect(name for look in looks for name in look.names)
        for done, look in enumerate(looks):
            progress(done, len(looks))
            take, end = look.start()
            for number, found in enumerate(stepper.run(look.names)):
                take(found, number)
            end()
            del take, end
        progress(len(looks), len(looks))
        self._directions()
        for key, score in self.scores.items():
            for gram, matrix, places in self.readers.pop(key, []):
                total = made(gram, matrix)
                score = score + removal(gram, matrix, places, key[0].size) / max(total, 1e-30)
            if key not in self.axes:
                self.axes[key] = self._kept(key[0], np.argsort(-score, kind="stable"))
        return Evidence(self.axes, {number: self._chosen(number) for number in self.moved})

    def _ends(self) -> Iterator[_Look]:
        """The outputs of the source, for whoever asked for them."""
        if self.outputs is not None:
            tell = self.outputs
            names = made_outputs(self.graph)
            yield _Look(len(self.graph.nodes), names, lambda: (lambda found, number: tell(number, found), lambda: None))

    # -- directions -----------------------------------------------------------------------------------------------

    def _states(self) -> Iterator[_Look]:
        """Where a stream with any map is normalised; where it is not, what layers read of it."""
        for var in sorted(self.dense, key=lambda v: v.size):
            of_norms = [norm for norm in self.norms if self.algebra.expand(norm.axis) == (var,)]
            places = [((norm.output,) if self._is_state(norm.output) else norm.operands) for norm in of_norms]
            if not places:
                places = [(layer.data,) for layer in self.layers.values() if self._last(layer) == (var,)]
            for number, names in enumerate(dict.fromkeys(places)):
                weight = _FINAL if number == len(dict.fromkeys(places)) - 1 else 1.0
                order = max(self.graph.producer.get(name, -1) for name in names)
                yield _Look(order, names, partial(self._state, var, names, weight, order))

    def _is_state(self, name: str) -> bool:
        """True for what a sum of data reads: the stream itself, behind a norm (post-norm)."""
        for edge in self.graph.consumers.get(name, ()):
            node = self.graph.nodes[edge.node]
            data = [n for n in node.input if n and self.structure.analysis.is_data(n)]
            if record_of(node).has(Trait.SHIFTS) and len(data) > 1:
                return True
            if any(edge.node in norm.nodes and len(norm.inputs) > 1 for norm in self.norms):
                return True
        return False

    def _state(
        self, var: SizeVar, names: tuple[str, ...], weight: float, order: int
    ) -> tuple[_Take, Callable[[], None]]:
        total, square, count = np.zeros(var.size), np.zeros((var.size, var.size)), [0]

        def take(found: dict[str, np.ndarray], number: int) -> None:
            state = np.asarray(sum(found[name].astype(np.float64) for name in names))
            place = self._place(names[0], var)
            rows = np.moveaxis(state, place, -1).reshape(-1, var.size)
            flags = self.counted.of(names[0], self.batches[number], state.shape)
            if flags is not None:
                rows = rows[np.moveaxis(np.broadcast_to(flags, state.shape), place, -1)[..., 0].reshape(-1)]
            self._refuse(rows, order)
            total.__iadd__(rows.sum(0))
            square.__iadd__(rows.T @ rows)
            count[0] += len(rows)

        def end() -> None:
            mean = total / max(count[0], 1)
            covariance = square / max(count[0], 1) - np.outer(mean, mean)
            trace = float(np.trace(covariance))
            if trace > 0:
                self.pooled[var] = self.pooled.get(var, 0.0) + weight * covariance / trace

        return take, end

    def _refuse(self, rows: np.ndarray, node: int) -> None:
        if not np.isfinite(rows.sum(dtype=np.float64)):
            raise FrontError("activations are not finite", node=label(self.graph.nodes[node]))

    def _place(self, name: str, var: SizeVar) -> int:
        axes = self.structure.analysis.facts[name].axes or ()
        return next(n for n, axis in enumerate(axes) if self.algebra.expand(axis) == (var,))

    def _directions(self) -> None:
        for var, covariance in self.pooled.items():
            _, vectors = np.linalg.eigh(covariance)
            kept = vectors.T[::-1][: self.plan.sizes[var]]
            largest = kept[np.arange(len(kept)), np.abs(kept).argmax(1)]
            self.axes[var, None] = Matrix(kept * np.sign(largest)[:, None])

    # -- entries ----------------------------------------------------------------------------------------------------

    def _last(self, layer: Layer) -> Axis:
        fact = self.structure.analysis.facts.get(layer.data)
        axes = (fact.axes or ()) if fact is not None else ()
        if not axes or (layer.convolves and len(axes) < 2):
            return ()
        last = layer.read[-1] if layer.read is not None else -1
        return self.algebra.expand(axes[1] if layer.convolves else axes[last])

    def _reads(self) -> Iterator[_Look]:
        """Layers that read entries of a dim of which some are kept."""
        for node, layer in self.layers.items():
            places = {
                var: places for var in self.smaller - self.dense if (places := self._places(layer, var)) is not None
            }
            if layer.groups > 1 or len(layer.into) != 1 or layer.view is not None or not places:
                continue
            keys = {var: (var, self._unit(var, layer)) for var in places}
            for key in keys.values():
                self.pending[key] += 1
            names = (layer.data, layer.raw) if layer.convolves else (layer.data,)
            found = {keys[var]: found for var, found in places.items()}
            yield _Look(max(node, 0), names, partial(self._read, node, layer, found))

    def _unit(self, var: SizeVar, layer: Layer) -> tuple[int, int] | None:
        return self.private.unit(layer.weight) if self.private.chain(var) is not None else None

    def _places(self, layer: Layer, var: SizeVar) -> np.ndarray | None:
        """[K without kernel sides], the entry of a variable that each place is of; None if the axis has it not."""
        axis = self._last(layer)
        found = entry_of(self.algebra, axis, var)
        return found if np.any(found >= 0) else None

    def _read(self, node: int, layer: Layer, keys: dict[_Key, np.ndarray]) -> tuple[_Take, Callable[[], None]]:
        weight = np.asarray(self.graph.array(self.graph.read_by(layer.weight)))
        layer = replace(layer, groups=int(np.prod(weight.shape[: layer.batch])))
        weight = layer.laid(weight)
        several = layer.matrix(weight)
        matrix = several.transpose(1, 0, 2).reshape(several.shape[1], -1)
        kernel = tuple(size for axis, size in enumerate(weight.shape) if axis not in layer.into + layer.out)
        sides = int(np.prod(kernel)) if layer.convolves else 1
        whole = (len(matrix) <= _WIDE and not layer.transposed) or sides == 1
        size = len(matrix) if whole else len(matrix) // sides
        gram, count = np.zeros((size, size), np.float32 if size > _LARGE else np.float64), [0]
        shape_of = (lambda found: found[layer.raw].shape[2:]) if layer.convolves else None

        def take(found: dict[str, np.ndarray], number: int) -> None:
            if count[0] > max(_ENOUGH * size, 8192):
                return
            data = found[layer.data]
            if shape_of is None:
                flags = self.counted.of(layer.data, self.batches[number], data.shape)
                spread = None if flags is None else np.broadcast_to(flags, data.shape)
                data = layer.rows_last(data, weight.shape[: layer.batch])
                rows = data.reshape(-1, data.shape[-1]).astype(gram.dtype)
                if spread is not None:
                    rows = rows[layer.rows_last(spread, weight.shape[: layer.batch])[..., 0].reshape(-1)]
            elif whole:
                at = sampled(shape_of(found), number)
                rows = patches(self.graph, node, kernel, data, at).reshape(-1, size).astype(gram.dtype)
            else:
                at = sampled(data.shape[2:], number)
                rows = gathered(data, at).transpose(0, 2, 1).reshape(-1, size).astype(gram.dtype)
            self._refuse(rows, node)
            gram.__iadd__(rows.T @ rows)
            count[0] += len(rows)

        def end() -> None:
            gram.__itruediv__(max(count[0], 1))
            read = (matrix if whole else matrix.reshape(size, -1)).astype(gram.dtype)
            for key, places in keys.items():
                spread = np.repeat(places, sides) if whole else places
                self._found(key, gram, read, spread)

        return take, end

    def _found(self, key: _Key, gram: np.ndarray, matrix: np.ndarray, places: np.ndarray) -> None:
        """Keep what one reader says of the entries of a dim; with the last one, choose.

        What all units share has many readers: they are kept together as long as there is room, else each one scores by
        itself.
        """
        self.pending[key] -= 1
        var, unit = key
        if unit is not None or self.room >= gram.nbytes:
            self.room -= gram.nbytes if unit is None else 0
            self.readers[key].append((gram, matrix, places))
        else:
            score = removal(gram, matrix, places, var.size)
            total = made(gram, matrix)
            self.scores[key] = self.scores.get(key, 0.0) + score / max(total, 1e-30)
        if self.pending[key] == 0 and key not in self.scores:
            self.axes[key] = self._kept(var, eliminate(self.readers.pop(key), var.size, self.plan.sizes[var]))

    def _kept(self, var: SizeVar, ranked: np.ndarray) -> Select:
        target = self.plan.sizes[var]
        return Select(var.size, np.sort(ranked[:target]), np.ones(target))

    # -- blocks -----------------------------------------------------------------------------------------------------

    def _blocks(self) -> Iterator[_Look]:
        """How much the state changes over each block of a chain that becomes shorter."""
        for number, (chain, count) in enumerate(zip(self.structure.chains, self.plan.units, strict=True)):
            if chain.loop is not None or not 0 < count < len(chain.units):
                continue
            self.moved[number] = [0.0] * len(chain.units)
            for unit in range(len(chain.units)):
                start, end = chain.start_of(unit), chain.end_of(unit)
                begin = partial(self._block, number, unit, start, end)
                yield _Look(self.graph.producer.get(end, -1), (start, end), begin)

    def _block(self, number: int, unit: int, start: str, end: str) -> tuple[_Take, Callable[[], None]]:
        changed, whole = [0.0], [0.0]

        def take(found: dict[str, np.ndarray], number: int) -> None:
            before, after = found[start].astype(np.float64), found[end].astype(np.float64)
            if before.shape == after.shape:
                flags = self.counted.of(end, self.batches[number], after.shape)
                before, after = (before, after) if flags is None else (before * flags, after * flags)
                changed[0] += float(((after - before) ** 2).sum())
                whole[0] += float((after**2).sum())

        def finish() -> None:
            self.moved[number][unit] = changed[0] / max(whole[0], 1e-30)

        return take, finish

    def _chosen(self, number: int) -> np.ndarray:
        """The first block, the last one, and those between over which the state changes most."""
        moved, count = np.array(self.moved[number]), self.plan.units[number]
        fixed = [0, len(moved) - 1] if count > 1 else [len(moved) - 1]
        ranked = [block for block in np.argsort(-moved, kind="stable") if block not in fixed]
        return np.sort(np.array([*fixed, *ranked][:count], np.int64))
