"""Random: no weight is carried over; every one is drawn as frameworks draw it, by what it is there for."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from functools import cached_property

import numpy as np

from front_onnx.constants.kinds import Kind
from front_onnx.constants.readers import feeds_root
from front_onnx.methods.method import Draft, Method, Use
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Edge
from front_onnx.read.tensor_data import is_float
from front_onnx.roles.piece import Piece
from front_onnx.roles.pieces import find_pieces
from front_onnx.roles.role import Role, Task
from front_onnx.transform.contents import Drawn
from front_onnx.transform.maps import AxisMap, Select

__all__ = ["Random"]

_TRANSFORMER = 0.02  # the deviation of GPT-2 and BERT
_TABLES = (Task.TOKENS, Task.POSITIONS, Task.TYPES, Task.TABLE)


class Random(Method):
    """Learned weights are drawn anew, also where no size changes; computed tables and numbers stay.

    - convolutions: normal, deviation sqrt(2 / fan-in) (He et al., arXiv:1502.01852);
    - other matrices, tables, learned tokens and positions of a model that has attention: normal, cut at two deviations,
      deviation 0.02 (BERT, arXiv:1810.04805), but for small matrices sqrt(2 / (fan-in + fan-out)) (Glorot & Bengio);
    - matrices of other models: uniform, at most sqrt(6 / (fan-in + fan-out)) (Glorot & Bengio, 2010); tables: normal,
      deviation 1, as torch.nn.Embedding;
    - recurrent layers, biases too: uniform, at most hidden^-1/2, as torch.nn.LSTM;
    - norms: gains 1 (0 where 1 is added to them), biases and means 0, variances 1; other biases 0;
    - other gains (layer scale): the mean of the source's.
    """

    name = "random"
    whole = True

    def axis(self, use: Use) -> AxisMap:
        """Some entries; they count only for constants of which it is not known that they are learned."""
        source = use.var.size
        return Select(source, np.arange(use.target) * source // use.target, np.ones(use.target))

    def depth(self, edges: tuple[Edge, ...], names: tuple[str, ...], target: int, *, matrix: bool) -> AxisMap:
        """Some blocks."""
        return Select(len(names), np.arange(target) * len(names) // target, np.ones(target))

    def settle(self, plan: Draft) -> None:
        """Draw what is learned, in place of what was planned for it."""
        structure = self.setting.structure
        for edge in structure.analysis.uses:
            if (content := self._drawn(plan, edge)) is not None:
                plan.contents[edge] = content
        for number, chain in enumerate(structure.chains):
            for edges in chain.places.values():
                last = plan.contents.get(edges[-1])
                if not isinstance(last, Drawn):
                    continue
                names = tuple(map(structure.graph.read_by, edges))
                shared = len(edges) > 1 and len(set(names)) == 1
                for unit in range(len(edges), plan.units[number]):
                    key = last.key if shared else f"{last.key} {unit}"
                    own = replace(last, key=key, names=names, index=unit)
                    plan.clones.setdefault((number, unit), {})[edges[-1]] = own

    def _drawn(self, plan: Draft, edge: Edge) -> Drawn | None:
        """What one reading of a constant becomes; None if it stays as it is planned."""
        structure, graph = self.setting.structure, self.setting.structure.graph
        fact, name = structure.analysis.uses[edge], graph.read_by(edge)
        tensor = graph.constants.get(name)
        if fact.value is not None or not fact.axes or tensor is None:
            return None
        if not is_float(np.dtype(graph.array(name).dtype)):
            return None
        if not (structure.constants.of(name).learned or structure.constants[edge].kind is Kind.STATISTIC):
            return None
        table = structure.analysis.transposed.get(name)
        origin = table if table is not None else name
        how, scale = self._way(plan, origin)
        dims = tuple(plan.size(axis) for axis in fact.axes)
        return Drawn(dims, tensor.data_type, how, scale, origin, self.setting.seed, transposed=table is not None)

    @cached_property
    def pieces(self) -> list[Piece]:
        """What every weight is there for."""
        return find_pieces(self.setting.structure)

    @cached_property
    def _roles(self) -> dict[str, list[Role]]:
        found: dict[str, list[Role]] = defaultdict(list)
        for piece in self.pieces:
            for name in piece.tensors:
                found[name].append(piece.role)
        return found

    @cached_property
    def _attends(self) -> bool:
        return any(role.task is Task.QUERY for roles in self._roles.values() for role in roles)

    @cached_property
    def _edges(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = defaultdict(list)
        for edge in sorted(self.setting.structure.analysis.uses):
            found[self.setting.structure.graph.read_by(edge)].append(edge)
        return found

    def _way(self, plan: Draft, name: str) -> tuple[str, float]:
        """How a tensor is drawn, and on what scale, whichever node reads it."""
        analysis, graph = self.setting.structure.analysis, self.setting.structure.graph
        edges, roles = self._edges[name], self._roles[name]
        tasks = {role.task for role in roles if not role.bias}
        mean = float(np.mean(graph.array(name), dtype=np.float64))
        for edge in edges:
            record = record_of(graph.nodes[edge.node])
            parameter = record.parameters.get(edge.slot)
            if record.has(Trait.RECURRENT):
                return "uniform", 1 / math.sqrt(self._hidden(plan, edge))
            if parameter == "variance" or Task.VARIANCE in tasks or (not tasks and feeds_root(graph, edge)):
                return "constant", 1.0
            if parameter in ("mean", "bias") or tasks & {Task.MEAN, Task.BIAS}:
                return "constant", 0.0
            if parameter == "gain" or Task.GAIN in tasks:
                return "constant", 1.0 if mean > 0.5 else 0.0
        if tasks & {*_TABLES} or any(edge in analysis.tables for edge in edges):
            return ("truncated", _TRANSFORMER) if self._attends else ("normal", 1.0)
        for edge in edges:
            if edge in analysis.contractions or (self._convolves(edge) and edge.slot == 1):
                return self._matrix(plan, edge)
        if roles and all(role.bias for role in roles):
            return "constant", 0.0
        return self._operand(name, roles, mean)

    def _operand(self, name: str, roles: list[Role], mean: float) -> tuple[str, float]:
        """What is neither of a norm nor summed over: by what it is an operand of."""
        wide = sum(size > 1 for size in self.setting.structure.graph.array(name).shape)
        operators = {role.operator for role in roles}
        if operators & {"mul", "div", "prelu"}:
            return "constant", mean
        if operators <= {"add", "sub"} and wide < 2:
            return "constant", 0.0
        return "truncated", _TRANSFORMER

    def _convolves(self, edge: Edge) -> bool:
        return record_of(self.setting.structure.graph.nodes[edge.node]).has(Trait.CONVOLVES)

    def _matrix(self, plan: Draft, edge: Edge) -> tuple[str, float]:
        structure = self.setting.structure
        axes = structure.analysis.uses[edge].axes or ()
        dims = [plan.size(axis) for axis in axes]
        into = structure.analysis.contractions.get(edge, 1)
        if self._convolves(edge):
            return "normal", math.sqrt(2 / (dims[into] * math.prod(dims[2:])))
        depths = {place for place, axis in enumerate(axes) if any(var in structure.depths for var in axis)}
        out = math.prod(size for place, size in enumerate(dims) if place != into and place not in depths)
        if self._attends:
            return "truncated", max(_TRANSFORMER, math.sqrt(2 / (dims[into] + out)))
        return "uniform", math.sqrt(6 / (dims[into] + out))

    def _hidden(self, plan: Draft, edge: Edge) -> int:
        """The target's hidden size of a recurrent layer, [directions, gates hidden, hidden] its recurrent weight."""
        axes = self.setting.structure.analysis.uses[Edge(edge.node, 2)].axes or ()
        return plan.size(axes[2])
