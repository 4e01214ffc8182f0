"""Running a graph up to one tensor after another, all samples to each before the next: as its weights are decided.

Between two steps only what later nodes read is kept (`shelf.py`). A step is a model of its own whose weights are
inputs, so that equal blocks share one onnxruntime session and new weights need no new one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, helper, numpy_helper

from front_onnx.calibration.engine import CPU, Engine
from front_onnx.calibration.shelf import Shelf
from front_onnx.errors import UnsupportedError
from front_onnx.read.graph import Graph, label

__all__ = ["Stepper", "made_outputs"]

_INSIDE = 64  # elements: constants up to this are part of the steps, as shape arithmetic is
_SESSIONS = 64


class Stepper:
    """A graph in the middle of a run on many batches.

    Args:
        graph: the graph; only its main level is stepped through, bodies run whole.
        arrays: contents of constants in place of the graph's own, and looked up each time: they may change.
        batches: complete feeds.
        shelf: where activations are kept.
        engine: what runs it.
    """

    def __init__(
        self,
        graph: Graph,
        arrays: Mapping[str, np.ndarray],
        batches: Sequence[Mapping[str, np.ndarray]],
        shelf: Shelf,
        engine: Engine = CPU,
    ) -> None:
        self.graph, self.arrays, self.batches, self.shelf, self.engine = graph, arrays, batches, shelf, engine
        self._done: set[int] = set()
        self._live: set[str] = set()
        self._wanted: dict[str, int] = {}
        self._sessions: dict[bytes, onnxruntime.InferenceSession] = {}
        for info in graph.inputs:
            for number, feed in enumerate(batches):
                if info.name in feed:
                    shelf.put(self._key(info.name), number, feed[info.name])
            self._live.add(info.name)

    def expect(self, names: Iterable[str]) -> None:
        """Say that tensors will be asked for: each is kept until that, and what leads to none is never run."""
        for name in names:
            self._wanted[name] = self._wanted.get(name, 0) + 1

    def release(self, names: Iterable[str]) -> None:
        """Say that tensors will not be asked for again."""
        for name in names:
            self._wanted[name] = max(self._wanted.get(name, 0) - 1, 0)

    def close(self) -> None:
        """Forget all values."""
        for name in self._live:
            for number in range(len(self.batches)):
                self.shelf.drop(self._key(name), number)
        self._live.clear()

    @cached_property
    def _readers(self) -> dict[str, set[int]]:
        """By tensor, the nodes that read it on the way to what is asked for."""
        found: dict[str, set[int]] = {}
        waiting, seen = [*self._wanted], set()
        while waiting:
            maker = self.graph.producer.get(waiting.pop())
            if maker is None or maker in seen:
                continue
            seen.add(maker)
            for name in self._reads(maker):
                found.setdefault(name, set()).add(maker)
                waiting.append(name)
        return found

    def run(self, names: Sequence[str], *, peek: bool = False) -> Iterator[dict[str, np.ndarray]]:
        """The values of some tensors, batch by batch.

        Args:
            names: tensors.
            peek: True to leave everything as it was: nodes that are run here run again, with other weights perhaps.

        Raises:
            UnsupportedError: onnxruntime cannot run a part of the graph by itself.
        """
        wanted = [name for name in dict.fromkeys(names) if name not in self.graph.constants]
        fixed = {name: self._array(name) for name in names if name in self.graph.constants}
        nodes = self._missing(wanted)
        given, made, step = self._step(nodes, wanted, peek)
        for number in range(len(self.batches)):
            found = {name: self.shelf.get(self._key(name), number) for name in given}
            out = dict(zip(made, self._call(step, nodes, found), strict=True)) if nodes else {}
            if not peek:
                for name, value in out.items():
                    if self._is_needed(name, nodes):
                        self.shelf.put(self._key(name), number, value)
            rest = (name for name in wanted if name not in out)
            yield {
                **out,
                **{n: found[n] if n in found else self.shelf.get(self._key(n), number) for n in rest},
                **fixed,
            }
        if not peek:
            self._settle(names, nodes, made)

    def _settle(self, names: Sequence[str], nodes: list[int], made: list[str]) -> None:
        """Note what is done, and drop what nothing reads any more."""
        self._live.update(name for name in made if self._is_needed(name, nodes))
        self._done.update(nodes)
        for name in names:
            if self._wanted.get(name):
                self._wanted[name] -= 1
        for name in [*self._live]:
            if not self._wanted.get(name) and self._readers.get(name, set()) <= self._done:
                self._live.discard(name)
                for number in range(len(self.batches)):
                    self.shelf.drop(self._key(name), number)

    def _is_needed(self, name: str, nodes: list[int]) -> bool:
        """True if something that has not run yet reads a tensor, or somebody asks for it."""
        return bool(self._wanted.get(name)) or not self._readers.get(name, set()) <= self._done.union(nodes)

    def _key(self, name: str) -> str:
        return f"{id(self)}:{name}"

    def _reads(self, index: int) -> list[str]:
        own = [name for name in self.graph.nodes[index].input if name]
        return [*own, *sorted(self.graph.outer_scope.get(index, ()))]

    def _missing(self, wanted: list[str]) -> list[int]:
        """The nodes that lead to some tensors from what is live, in order."""
        found: set[int] = set()
        waiting = [name for name in wanted if name not in self._live]
        while waiting:
            name = waiting.pop()
            maker = self.graph.producer.get(name)
            if maker is None or maker in found:
                continue
            found.add(maker)
            waiting += [n for n in self._reads(maker) if n not in self._live and n not in self.graph.constants]
        return sorted(found)

    def _array(self, name: str) -> np.ndarray:
        base = self.graph.constant_name(name)
        found = self.arrays.get(base)
        return found if found is not None else self.graph.array(base)

    # -- one step as a model --------------------------------------------------------------------------------------

    def _step(self, nodes: list[int], wanted: list[str], peek: bool) -> tuple[list[str], list[str], _Step]:
        """What a step takes from the shelf, what it makes, and the step."""
        inner = {name for index in nodes for name in self.graph.nodes[index].output if name}
        outer = dict.fromkeys(name for index in nodes for name in self._reads(index) if name not in inner)
        given = [name for name in outer if name not in self.graph.constants]
        made = [
            name
            for index in nodes
            for name in self.graph.nodes[index].output
            if name and name not in self.graph.constants
            if name in wanted or (not peek and self._is_needed(name, nodes))
        ]
        return given, made, _Step(given, [name for name in outer if name in self.graph.constants], made)

    def _call(self, step: _Step, nodes: list[int], found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if step.session is None:
            self._open(step, nodes, found)
        assert step.session is not None
        feed = {step.names[name]: _fed(found[name]) for name in step.given}
        feed |= {step.names[name]: _fed(self._array(name)) for name in step.weights}
        try:
            values = step.session.run([step.names[name] for name in step.made], feed)
        except Exception as error:
            raise UnsupportedError(_why(error), node=label(self.graph.nodes[nodes[-1]])) from error
        return list(values)

    def _open(self, step: _Step, nodes: list[int], found: Mapping[str, np.ndarray]) -> None:
        """Make the step's session, or take that of an equal step."""
        small = [name for name in step.constants if self._is_inside(name)]
        step.weights = [name for name in step.constants if name not in small]
        plain = not any(self.graph.outer_scope.get(index) for index in nodes)
        every = [*step.given, *step.weights, *small]
        every += [name for index in nodes for name in self.graph.nodes[index].output if name]
        step.names = {name: f"t{number}" if plain else name for number, name in enumerate(dict.fromkeys(every))}
        graph = helper.make_graph(
            [self._renamed(self.graph.nodes[index].proto, step.names if plain else {}) for index in nodes],
            "step",
            [self._info(step.names[name], found[name]) for name in step.given]
            + [self._info(step.names[name], self._array(name), fixed=True) for name in step.weights],
            [onnx.ValueInfoProto(name=step.names[name]) for name in step.made],
            [numpy_helper.from_array(np.asarray(self._array(name)), step.names[name]) for name in small],
        )
        proto = self.graph.model.proto
        model = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=max(proto.ir_version, 4))
        key = model.SerializeToString(deterministic=True)
        if key not in self._sessions:
            if len(self._sessions) >= _SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            try:
                self._sessions[key] = self.engine.session(key)
            except Exception as error:
                raise UnsupportedError(_why(error), node=label(self.graph.nodes[nodes[-1]])) from error
        step.session = self._sessions[key]

    def _is_inside(self, name: str) -> bool:
        array = self.graph.constants[name]
        return math.prod(array.dims) <= _INSIDE and self.graph.constant_name(name) not in self.arrays

    @staticmethod
    def _info(name: str, array: np.ndarray, *, fixed: bool = False) -> onnx.ValueInfoProto:
        if not isinstance(array, np.ndarray):
            raise UnsupportedError("a sequence or an optional value passes between two parts of the graph", got=name)
        shape = array.shape if fixed else [None] * array.ndim  # what operators make may follow from weights' shapes
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    @staticmethod
    def _renamed(node: NodeProto, names: Mapping[str, str]) -> NodeProto:
        if not names:
            return node
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = copy.doc_string = ""
        del copy.metadata_props[:]
        for field in (copy.input, copy.output):
            renamed = [names.get(name, name) for name in field]
            del field[:]
            field.extend(renamed)
        return copy


def made_outputs(graph: Graph) -> tuple[str, ...]:
    """The outputs of a graph that nodes make of its inputs."""
    return tuple(name for name in graph.outputs if name in graph.producer and name not in graph.constants)


class _Step:
    """A part of a graph as a model."""

    def __init__(self, given: list[str], constants: list[str], made: list[str]) -> None:
        self.given, self.constants, self.made = given, constants, made
        self.weights: list[str] = []
        self.names: dict[str, str] = {}
        self.session: onnxruntime.InferenceSession | None = None


def _fed(array: np.ndarray) -> np.ndarray | onnxruntime.OrtValue:
    """An array as onnxruntime takes it: numpy has no bfloat16 of its own."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    if kind != onnx.TensorProto.BFLOAT16:
        return array
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array).view(np.uint16), kind)


def _why(error: Exception) -> str:
    return "onnxruntime cannot run a part of the graph by itself: " + " ".join(str(error).split())[:200]
