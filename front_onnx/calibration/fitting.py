"""Fitting a target's weights in closed form, layer by layer, each to what the source makes, on the target's own inputs.

Source and target run side by side, all samples to one layer before the next, so that each layer sees what the fitted
ones before it make, and makes up for what they miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from front_onnx.calibration.batch_norms import BatchNorms
from front_onnx.calibration.counted import Counted
from front_onnx.calibration.fitted import Fitted
from front_onnx.calibration.held import Held
from front_onnx.calibration.layers import Layer
from front_onnx.calibration.lines import Lines
from front_onnx.calibration.matrices import Matrices
from front_onnx.calibration.opaque import OpaqueRows, find_opaque
from front_onnx.calibration.places import Encoder, Places
from front_onnx.calibration.rows import Positions, gathered, sampled
from front_onnx.calibration.solving import Sums, best_ridge
from front_onnx.calibration.stepping import Stepper
from front_onnx.calibration.targets import Target, Targets
from front_onnx.calibration.tied import fit_both, tied_names
from front_onnx.calibration.work import Group, work_of
from front_onnx.errors import FrontError
from front_onnx.read.graph import Edge, Graph, label
from front_onnx.streams.norms import Norm
from front_onnx.transform.contents import Pending

__all__ = ["Fitting"]

_LARGE = 4608  # columns of a Gram matrix that is still solved
_PART = 5  # every fifth batch says which ridge is best
_TRIED = 1e-2  # relative difference up to which a node computes what its matrix says


class Fitting:
    """A target in the middle of being fitted.

    Args:
        graph: the target's graph.
        arrays: its weights, which are changed in place.
        source: the source in the middle of a run, on its own feeds.
        target: the target in the middle of a run, on its feeds.
        places: what stands for what.
        targets: what each layer is to make.
        ridges: toward the weights that are there; of several, each layer takes the one that is best for it on a fifth
            of the batches.
        contents: what the plan says that the target's weights are, by name.
        counted: which tokens count.
        joined: constants that were fitted as tables and layers at once, see `tied.py`: they stay as they are.

    Attributes:
        report: what became of each layer and norm, in order.
        tables: by name, what constants that are tables and layers at once should be; they are not changed.
    """

    def __init__(
        self,
        graph: Graph,
        arrays: dict[str, np.ndarray],
        source: Stepper,
        target: Stepper,
        places: Places,
        targets: Targets,
        ridges: Sequence[float],
        contents: Mapping[str, Pending],
        counted: Counted,
        joined: frozenset[str] = frozenset(),
    ) -> None:
        self.counted, self.joined = counted, joined
        self.graph, self.source, self.target = graph, source, target
        self.places, self.targets, self.ridges = places, targets, ridges
        self.before = targets.structure.graph
        self.held = Held(graph, self.before, arrays)
        self.matrices = Matrices(places.plan, self.held)
        self.norms = BatchNorms(self.matrices)
        self.report: list[Fitted] = []
        self.tables: dict[str, np.ndarray] = {}
        found = find_opaque(targets.structure, targets.layers)
        own = Places(places.plan, places.kept)
        here = (each for each in found if self.held.there(each.node) is not None)
        self.opaque = [OpaqueRows(each, self.held, own, contents) for each in here]

    def run(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Fit everything that can be fitted; what was changed is in `held.changed`, what was done in `report`."""
        work = [*work_of(self.held, self.matrices, self.targets, self.opaque)]
        for item in work:
            if isinstance(item, Group):
                self.target.expect(self._reads(item))
                self.source.expect(self._wants(item.targets))
            elif isinstance(item, OpaqueRows):
                self.target.expect(item.reads())
                self.source.expect(item.wants())
            else:
                self.target.expect(self._inputs(item.norm))
                self.target.expect((self._made(item.norm.output),))
                self.source.expect(self._wants([self.targets.of_norm(item.norm)]))
        for done, item in enumerate(work):
            progress(done, len(work))
            if isinstance(item, Group):
                self._fit_layers(item)
            elif isinstance(item, OpaqueRows):
                self._fit_opaque(item)
            else:
                self._fit_norm(item.norm)
        self.report += self._left_out()
        progress(len(work), len(work))

    # -- what is read ------------------------------------------------------------------------------------------

    def _left_out(self) -> Iterator[Fitted]:
        """Weights that are summed over and belong to nothing that could be fitted."""
        structure = self.targets.structure
        known = {layer.weight for layer in self.targets.layers.values()}
        known |= {edge for rows in self.opaque for edge in rows.opaque.weights}
        for edge in sorted(set(structure.analysis.contractions) - known):
            node = self.before.nodes[edge.node]
            here = self.held.there(edge.node) is not None
            if here and structure.constants.of(self.before.read_by(edge)).learned:
                yield Fitted(label(node), "kept", why=f"{node.op_type} is not fitted here")

    def _reads(self, group: Group) -> list[str]:
        """What is read of the target for a group."""
        own = [self._data(group.layers[0]), *(self.held.operand(e) for target in group.targets for e in target.minus)]
        return list(dict.fromkeys(own))

    def _data(self, layer: Layer) -> str:
        return self.held.operand(Edge(layer.node, list(self.before.nodes[layer.node].input).index(layer.data)))

    def _made(self, name: str) -> str:
        """What the target calls what the source's node makes."""
        found = self.held.tensor(name)
        assert found is not None
        return found

    def _inputs(self, norm: Norm) -> list[str]:
        """What a norm of the target normalises."""
        reads = ((node, list(self.before.nodes[node].input)) for node in sorted(norm.nodes))
        found = {name: Edge(node, names.index(name)) for node, names in reads for name in norm.inputs if name in names}
        return [self.held.operand(found[name]) for name in norm.inputs if name in found]

    def _wants(self, targets: Sequence[Target]) -> list[str]:
        """What is read of the source."""
        return list(dict.fromkeys(self.places.tensor(name) for target in targets for name in target.plus))

    # -- layers -----------------------------------------------------------------------------------------------------

    def _fit_layers(self, group: Group) -> None:
        first = group.layers[0]
        tied = [tied_names(self.targets.structure, self.held, layer) for layer in group.layers]
        why = [None if names else self._hindrance(layer) for names, layer in zip(tied, group.layers, strict=True)]
        columns = self.matrices.columns(first)
        parts = Sums(), Sums()
        encoders = [self.places.encoder(target.plus[0]) for target in group.targets]
        wanted = self._wants(group.targets)
        tried = [reason is None for reason in why]
        for number, (mine, theirs) in enumerate(
            zip(self.target.run(self._reads(group)), self.source.run(wanted), strict=True)
        ):
            data = mine[self._data(first)]
            at = None
            if first.convolves:
                shape = theirs[self.places.tensor(group.targets[0].plus[0])].shape[2:]
                at = sampled(shape, number)
            if number == 0:
                for place, layer in enumerate(group.layers):
                    if tried[place] and not self._is_affine(layer, data, at):
                        tried[place], why[place] = False, "it does not compute what its weight says"
            if not any(tried) or columns > _LARGE:
                continue
            rows = self.matrices.rows(first, data, at)
            if not np.isfinite(rows.sum(dtype=np.float64)):
                raise FrontError("activations are not finite before", node=label(self.before.nodes[first.node]))
            made = theirs[self.places.tensor(group.targets[0].plus[0])].shape
            counts = self._counting(first, data, made, at, number)
            rows = rows[counts]
            targets = {
                place: self._target(group.targets[place], encoders[place], layer, mine, theirs, at)[counts]
                for place, layer in enumerate(group.layers)
                if tried[place]
            }
            parts[number % _PART == _PART - 1 and len(self.ridges) > 1].add(rows, targets)
        for place, layer in enumerate(group.layers):
            name = label(self.before.nodes[layer.node])
            if tried[place] and columns <= _LARGE and tied[place]:
                self._tie(layer, tied[place], parts[0] + parts[1], place, name)
            elif tried[place] and columns <= _LARGE:
                self._put(layer, parts, place, name)
            else:
                told = why[place] or f"{columns} columns are too many to solve for"
                self.report.append(Fitted(name, "kept", rows=int(parts[0].count), columns=columns, why=told))

    def _put(self, layer: Layer, parts: tuple[Sums, Sums], place: int, name: str) -> None:
        sums = parts[0] + parts[1]
        weight = self.held.name(layer.weight)
        held = self.held.array(weight)
        matrix = layer.matrix(self.matrices.weight(layer))
        centred = layer.bias is not None or layer.batch_norm is not None
        scale = self.norms.behind(layer)
        effective = matrix if scale is None else matrix * scale[0].reshape(layer.groups, 1, -1)
        bias = self.norms.whole_bias(layer, scale).reshape(layer.groups, -1)
        missed = sums.error(place, effective, bias)
        ridge = best_ridge(*parts, place, effective, centred=centred, ridges=self.ridges)
        fitted = effective if ridge is None else sums.solve(place, effective, centred=centred, ridge=ridge)
        shift = sums.shift(place, fitted) if centred else np.zeros_like(bias)
        left = sums.error(place, fitted, shift)
        if not np.isfinite(fitted).all() or not left <= missed:
            self.report.append(
                Fitted(name, "kept", missed, missed, int(sums.count), matrix.shape[1], ridge, "nothing was won by it")
            )
            return
        if layer.batch_norm is not None:
            self.norms.put(layer, sums, fitted, shift, scale)
            fitted = fitted / self.norms.kept_scale(scale).reshape(layer.groups, 1, -1)
        elif layer.bias is not None:
            self.held.put(layer.bias, shift.reshape(-1) / layer.share)
        self.held.store(weight, layer.in_file(fitted, held, self.matrices.view(layer)))
        self.report.append(Fitted(name, "fitted", missed, left, int(sums.count), matrix.shape[1], ridge))

    def _tie(self, layer: Layer, names: Sequence[str], sums: Sums, place: int, name: str) -> None:
        """Note what a table that is a layer too should be; what comes before the layer has seen it as it is."""
        held, centred = self.held.array(names[0]), layer.bias is not None
        matrix = layer.matrix(self.matrices.weight(layer))
        bias = self.norms.whole_bias(layer, None).reshape(1, -1)
        missed = sums.error(place, matrix, bias)
        if names[0] in self.joined:
            self.report.append(Fitted(name, "fitted", missed, missed, int(sums.count), matrix.shape[1]))
            return
        both = layer.in_file(fit_both(sums, place, matrix, centred=centred), held)
        if np.isfinite(both).all():
            self.tables[names[0]] = both
            self.tables.update((other, np.ascontiguousarray(both.T)) for other in names[1:])
        told = f"{names[-1]} is a table too"
        self.report.append(Fitted(name, "kept", missed, missed, int(sums.count), matrix.shape[1], why=told))

    def _hindrance(self, layer: Layer) -> str | None:
        """Why a layer's weights stay; None if they need not."""
        edges = [layer.weight, *([layer.bias] if layer.bias is not None else [])]
        if layer.batch_norm is not None:
            edges += [Edge(layer.batch_norm, slot) for slot in (1, 2, 3, 4)]
        for edge in edges:
            name = self.held.name(edge)
            if self.held.is_shared(name):
                return f"{name} is read in several places"
        tied = self.targets.structure.analysis.transposed
        held = self.before.read_by(layer.weight)
        if held in tied or held in tied.values():
            return f"{held} is tied to a table"
        return None

    def _counts(self, name: str, number: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """What counts of a tensor, called as in the source, in one batch."""
        return self.counted.of(name, self.source.batches[number], shape)

    def _counting(
        self, layer: Layer, data: np.ndarray, made: tuple[int, ...], at: Positions | None, number: int
    ) -> np.ndarray | slice:
        """Those rows of a layer that count; `made`: the shape of what it makes."""
        if at is None:
            flags = self._counts(layer.data, number, data.shape)
            if flags is None:
                return slice(None)
            found: np.ndarray = self.matrices.rows(layer, np.broadcast_to(flags, data.shape), at)[:, 0, 0]
            return found
        flags = self._counts(layer.raw, number, made)
        if flags is None:
            return slice(None)
        places: np.ndarray = gathered(np.broadcast_to(flags, made), at)[:, 0].reshape(-1)
        return places

    def _is_affine(self, layer: Layer, data: np.ndarray, at: Positions | None) -> bool:
        """True if a node makes what its matrix and bias make of some rows."""
        raw = self._made(layer.raw)
        made = next(iter(self.target.run([raw], peek=True)))[raw]
        try:
            rows = self.matrices.rows(layer, data, at)[:64]
        except ValueError:
            return False
        matrix = layer.matrix(self.matrices.weight(layer))
        mine = np.einsum("rgk,gkn->rgn", rows.astype(np.float64), matrix).reshape(len(rows), -1)
        if layer.bias is not None:
            mine = mine + layer.bias_of(self.held.array(self.held.name(layer.bias)))
        true = self.matrices.as_rows(layer, made, at)[:64].astype(np.float64)
        scale = float(np.abs(true).max()) if true.size else 0.0
        return mine.shape == true.shape and float(np.abs(mine - true).max()) <= _TRIED * max(scale, 1e-20)

    def _target(
        self,
        target: Target,
        encoder: Encoder,
        layer: Layer,
        mine: Mapping[str, np.ndarray],
        theirs: Mapping[str, np.ndarray],
        at: Positions | None,
    ) -> np.ndarray:
        """[any, groups, N]: what a layer is to make."""
        parts = (theirs[self.places.tensor(name)] for name in target.plus)
        whole = reduce(np.add, (p if p.dtype.itemsize > 2 else p.astype(np.float32) for p in parts))
        if at is not None:
            whole = gathered(whole, at)
        whole = encoder(whole)
        for edge in target.minus:
            other = mine[self.held.operand(edge)]
            whole = whole - (gathered(other, at) if at is not None else other)
        rows = whole.reshape(len(whole), whole.shape[1], -1).transpose(0, 2, 1) if at is not None else whole
        if at is None:
            shape = self.matrices.weight(layer).shape
            rows = layer.columns_last(whole).reshape(-1, int(np.prod([shape[axis] for axis in layer.out])))
        rows = rows.reshape(-1, rows.shape[-1])
        for edge in target.scaled:
            gain = self.held.array(self.held.name(edge)).astype(np.float64).reshape(-1)
            rows = rows / np.where(np.abs(gain) < 1e-8, 1.0, gain)
        return rows.reshape(len(rows), layer.groups, -1)

    # -- nodes that cannot be looked into -----------------------------------------------------------------------------

    def _fit_opaque(self, rows: OpaqueRows) -> None:
        """Let weights make of what the target's node reads what they make of what the source's reads."""
        name = label(self.before.nodes[rows.opaque.node])
        why, before = rows.why(), rows.before()
        parts = Sums(), Sums()
        mine, theirs = self.target.run(rows.reads()), self.source.run(rows.wants())
        if why is None and before.shape[1] <= _LARGE:
            rows.add_to(
                lambda number: parts[number % _PART == _PART - 1 and len(self.ridges) > 1], mine, theirs, self._counts
            )
            why = None if parts[0].count + parts[1].count else "what it reads has another shape in the source"
        else:
            for _ in zip(mine, theirs, strict=True):
                pass
            why = why or f"{before.shape[1]} columns are too many to solve for"
        if why is not None:
            self.report.append(Fitted(name, "kept", columns=before.shape[1], why=why))
            return
        sums, centred = parts[0] + parts[1], rows.opaque.bias is not None
        missed = sums.error(0, before)
        ridge = best_ridge(*parts, 0, before, centred=centred, ridges=self.ridges)
        fitted = before if ridge is None else sums.solve(0, before, centred=centred, ridge=ridge)
        shift = sums.shift(0, fitted) if centred else None
        left = sums.error(0, fitted, 0.0 if shift is None else shift)
        told = Fitted(name, "decoded", missed, left, int(sums.count), before.shape[1], ridge)
        if np.isfinite(fitted).all() and left <= missed:
            rows.put(fitted, shift)
        else:
            told = replace(told, level="kept", after=missed, why="nothing was won by it")
        self.report.append(told)

    # -- norms ------------------------------------------------------------------------------------------------------

    def _fit_norm(self, norm: Norm) -> None:
        name = label(self.before.nodes[max(norm.nodes)])
        edges = [edge for edge in (norm.gain, norm.bias) if edge is not None]
        shared = next((self.held.name(edge) for edge in edges if self.held.is_shared(self.held.name(edge))), None)
        target = self.targets.of_norm(norm)
        encoder = self.places.encoder(norm.output)
        for edge, value in ((norm.gain, 1.0), (norm.bias, 0.0)) if shared is None else ():
            if edge is not None:
                self.held.put(edge, np.full(self.held.array(self.held.name(edge)).size, value))
        for _ in self.target.run(self._inputs(norm)):
            pass
        wanted = self._wants([target])
        fit = Lines()
        output = self._made(norm.output)
        made = self.target.run([output], peek=True)
        for number, (mine, theirs) in enumerate(zip(made, self.source.run(wanted), strict=True)):
            there, here = mine[output], encoder(theirs[wanted[0]])
            flags = self._counts(norm.output, number, there.shape)
            at = slice(None) if flags is None else np.broadcast_to(flags, there.shape)[..., 0]
            fit.add(there[at], here[at])
        self.target.release([output])
        if shared is not None:
            self.report.append(
                Fitted(name, "kept", fit.missed, fit.missed, fit.count, 1, why=f"{shared} is read in several places")
            )
            return
        slope, shift = fit.solve(gain=norm.gain is not None, bias=norm.bias is not None)
        if norm.gain is not None:
            self.held.put(norm.gain, slope)
        if norm.bias is not None:
            self.held.put(norm.bias, shift)
        left = fit.error(slope, shift)
        self.report.append(Fitted(name, "fitted", float("nan"), left, fit.count, 1))
