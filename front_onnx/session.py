"""A model that is being worked on: read and understood once, then planned, rewritten and filled as often as asked.

What `resize`, learngenes, matching and training share around their own work.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx

from front_onnx.blocks.early import with_early_sums
from front_onnx.check.validate import invalid
from front_onnx.dims.structure import Structure
from front_onnx.errors import DamagedError, FrontError, RequestError
from front_onnx.gene.file import holds_gene, is_gene
from front_onnx.methods.front import Front
from front_onnx.methods.method import Refusal
from front_onnx.plan.budget import within_budget
from front_onnx.plan.numbers import Parted
from front_onnx.plan.plan import Plan
from front_onnx.plan.planning import make_plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.merged import side_by_side
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.transform.weights import fill
from front_onnx.types import ModelLike, Names, several
from front_onnx.understand import understand
from front_onnx.write.rewrite import Rewritten, rewrite
from front_onnx.write.split_literals import split_literals
from front_onnx.write.verify import verify

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

__all__ = ["FilledModel", "Session", "read_any", "to_graphsurgeon"]

_SEPARATIONS = 8  # each tells apart what does not overlap


class Session:
    """A model that is being worked on.

    Args:
        model: in any form that users have it, see `read_any`; or the graph of one.
        block: the repeated unit of each chain by hand, "NODE..NODE", instead of what is found.
        residual: the tensor, or "TENSOR:AXIS", whose axis is the residual width, instead of what is found.

    Attributes:
        source: the model as it was read.

    Raises:
        FileError: the model cannot be read.
        RequestError: it is no model, or a learngene.
    """

    def __init__(self, model: ModelLike | Graph, *, block: Names | None = None, residual: Names | None = None) -> None:
        self._given = model if isinstance(model, Graph) else None
        self.source = model.model if isinstance(model, Graph) else read_any(model)
        self._by_hand = several(block), several(residual)

    @cached_property
    def graph(self) -> Graph:
        """The graph of the model, indexed."""
        with _blaming(self.source):
            return self._given or Graph(side_by_side(self.source))

    @cached_property
    def structure(self) -> Structure:
        """Chains, dims and what can be resized.

        Raises:
            RequestError: what is named by hand is not there.
        """
        graph = self.graph
        with _blaming(self.source):
            found = understand(graph, *self._by_hand)
            other = None if found.chains or self._by_hand[0] else with_early_sums(graph)
            if other is not None and (ordered := understand(Graph(other), *self._by_hand)).chains:
                self.graph = ordered.graph
                return ordered
            return found

    def plan(self, request: Request) -> Plan:
        """Plan a request; numbers with two meanings are told apart first, and the graph is understood again.

        Raises:
            RequestError: a size is impossible.
            UnsupportedError: the model holds what cannot be carried to these sizes.
        """
        warning = None
        if request.budget:
            request, warning = within_budget(self.structure, request, lambda r: rewrite(self._tried(r)).proto.graph)
        with _blaming(self.source):
            plan = self._plan(request)
        if warning is not None:
            plan.warnings.insert(0, warning)
        return plan

    def _tried(self, request: Request) -> Plan:
        """A plan to count by: which sizes are near a budget is no matter of what a method refuses."""
        try:
            return self.plan(request)
        except Refusal:
            return self.plan(replace(request, method=Front.name))

    def _plan(self, request: Request) -> Plan:
        graph = self.graph
        for attempt in range(_SEPARATIONS + 1):
            known = graph is self.graph and not request.kinds
            structure = self.structure if known else understand(graph, *self._by_hand, request.kinds)
            try:
                return make_plan(structure, request)
            except Parted as parted:
                separated = split_literals(structure.analysis, parted.partings) if attempt < _SEPARATIONS else None
                if separated is None:
                    raise
                graph = separated
        raise AssertionError("unreachable")

    def rewrite(self, plan: Plan) -> Rewritten:
        """Rewrite the graph by a plan, and prove it.

        Raises:
            FrontError: the rewritten graph is not what was planned.
        """
        with _blaming(self.source):
            rewritten = rewrite(plan)
            verify(plan, rewritten)
        return rewritten

    def resized(self, request: Request, tell: Callable[[int], None] = lambda done: None) -> ModelFile:
        """The resized model in memory, of any size, its weights beside the graph.

        Raises:
            FrontError: as by `plan` and `rewrite`.
        """
        plan = self.plan(request)
        rewritten = self.rewrite(plan)
        arrays: dict[str, np.ndarray] = {}
        fill(plan.structure.graph, rewritten.pending, arrays.__setitem__, tell)
        return FilledModel(rewritten.proto, arrays)


@contextlib.contextmanager
def _blaming(model: ModelFile) -> Iterator[None]:
    """Where something fails that nobody foresaw, ask the checker whether the model is to blame.

    Raises:
        DamagedError: it is.
    """
    try:
        yield
    except (FrontError, MemoryError):
        raise
    except Exception as error:
        fault = invalid(model)
        if fault is None:
            raise
        raise DamagedError(f"{model.path or 'the model'} is not valid: {fault}") from error


class FilledModel(ModelFile):
    """A model whose large weights are arrays in memory, beside the graph: no message holds more than 2 GiB."""

    def __init__(self, proto: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(proto, None, {}, b"")
        self._arrays = arrays
        self.settled = False  # calibration changes the arrays

    def missing(self) -> set[str]:
        """Names of the initializers whose values are not in `proto` itself."""
        beside = {tensor.name for tensor in self.proto.graph.initializer if tensor.name in self._arrays}
        return super().missing() | beside

    def array(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The values of a constant."""
        found = self._arrays.get(tensor.name)
        return found if found is not None else super().array(tensor)


def read_any(model: ModelLike) -> ModelFile:
    """Read a model from a path, a ModelProto or a graphsurgeon Graph; one that is read already passes.

    Raises:
        RequestError: it is no model, or a learngene.
        FileError: it cannot be read.
    """
    if isinstance(model, ModelFile):
        return model
    if is_gene(model) and holds_gene(model):
        raise RequestError("this is a learngene", got=str(model), hint="front-onnx init makes models of it")
    if isinstance(model, str | os.PathLike | onnx.ModelProto):
        return read_model(model)
    if type(model).__module__.startswith("onnx_graphsurgeon"):
        import onnx_graphsurgeon as gs  # slow to import, and only its own users need it

        return read_model(gs.export_onnx(model))
    raise RequestError(
        "a model is a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph",
        got=type(model).__name__,
    )


def to_graphsurgeon(proto: onnx.ModelProto) -> gs.Graph:
    """A ModelProto as an onnx_graphsurgeon.Graph."""
    import onnx_graphsurgeon as gs

    return gs.import_onnx(proto)
