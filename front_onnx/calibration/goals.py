"""Where the weights of a start go: into the resized graph itself, or into a model of its size that there already is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from onnx import helper

from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError, RequestError
from front_onnx.match.interface import paired_inputs, paired_outputs
from front_onnx.match.into import moved_weights, resize_request
from front_onnx.match.matching import Match, Matching, match
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Inputs
from front_onnx.session import FilledModel, Session
from front_onnx.write.rewrite import Rewritten

__all__ = ["Goal", "Resized", "Standing"]

Feeds = Sequence[Mapping[str, np.ndarray]]
Arrays = Mapping[str, np.ndarray]


class Goal:
    """What a start is made for, and compared as."""

    def filled(self, rewritten: Rewritten, arrays: Arrays, changed: Arrays) -> tuple[Graph, Arrays, Arrays]:
        """The graph to compare, contents of its constants, and those of them that are to be written.

        Args:
            rewritten: the resized source.
            arrays: what its plan says that its weights are.
            changed: those that were fitted.
        """
        raise NotImplementedError

    def feeds(self, feeds: Feeds) -> Feeds:
        """Feeds of the resized source as feeds of what is compared.

        Raises:
            RequestError: it does not run on them.
        """
        return feeds

    def stands(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """The source's output that each output stands for, of those of the resized source where it is another one."""
        return outputs

    @property
    def there(self) -> Graph | None:
        """A start that is there already."""
        return None


class Resized(Goal):
    """The resized source itself."""

    def filled(self, rewritten: Rewritten, arrays: Arrays, changed: Arrays) -> tuple[Graph, Arrays, Arrays]:
        """Its graph; what was fitted is to be written."""
        held = {**arrays, **changed}
        return Graph(FilledModel(rewritten.proto, held)), held, changed


class Standing(Goal):
    """A model that there already is, whatever its exporter called things: it gets weights by structure and role.

    Args:
        source: where weights come from.
        target: the model they go to.
        by_hand: what goes where by hand: weights, inputs, outputs.

    Attributes:
        matching: which weight is to go where.
        matches: where they went; one for each piece of the target's weights.

    Raises:
        FrontError: nothing of the source goes into it.
    """

    def __init__(self, source: Structure, target: Structure, by_hand: Mapping[str, str | None]) -> None:
        self.source, self.target = source, target
        self.matching: Matching = match(source, target, by_hand)
        if not any(entry.source is not None for entry in self.matching.matches):
            reason = self.matching.matches[0].reason if self.matching.matches else "it has no weights"
            raise FrontError(f"nothing of the source goes into this target: {reason}")
        self._by_hand = by_hand
        self.matches: list[Match] = self.matching.matches
        self._inputs: dict[str, str] = {}

    def request(self, scale: str) -> Request:
        """The request that gives the source the sizes of the target."""
        return resize_request(self.source, self.matching, scale)

    def meet(self, rewritten: Rewritten) -> None:
        """Find which input of the resized source each input of the target is.

        Raises:
            RequestError: one has no counterpart, or could have several.
        """
        inside = {tensor.name for tensor in rewritten.proto.graph.initializer}
        ours = [info for info in rewritten.proto.graph.input if info.name not in inside]
        self._inputs = paired_inputs(ours, self.target.graph.inputs, self._by_hand)

    def filled(self, rewritten: Rewritten, arrays: Arrays, changed: Arrays) -> tuple[Graph, Arrays, Arrays]:
        """The target's graph with all that the source has for it.

        Raises:
            FrontError: a weight does not fit.
        """
        resized = Session(FilledModel(rewritten.proto, {**arrays, **changed})).structure
        moved, self.matches = moved_weights(resized, self.matching, self.target)
        return self.target.graph, moved, moved

    def feeds(self, feeds: Feeds) -> Feeds:
        """Feeds by the target's names, in its types."""
        types = {
            i.name: helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in self.target.graph.inputs
        }
        found = []
        for feed in feeds:
            pairs = ((mine, feed[name]) for mine, name in self._inputs.items() if name in feed)
            found.append({mine: array.astype(types[mine], copy=False) for mine, array in pairs})
        if (failure := self._own_inputs.failure(found[0])) is not None:
            raise RequestError(f"the target does not run on samples of the source: {failure}")
        return found

    @cached_property
    def _own_inputs(self) -> Inputs:
        return Inputs.of(self.target.graph)

    def stands(self, outputs: Mapping[str, str]) -> Mapping[str, str]:
        """The source's outputs by the target's names; those without a counterpart are not compared."""
        return {mine: outputs.get(name, name) for mine, name in self._outputs.items()}

    @property
    def there(self) -> Graph | None:
        """The target as it is."""
        return self.target.graph

    @cached_property
    def _outputs(self) -> dict[str, str]:
        ours, theirs = self.source.graph.proto.output, self.target.graph.proto.output
        return paired_outputs([*ours], [*theirs], self._by_hand)
