"""A learngene as a model of its source's size: every tensor has just the frequencies that were kept."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from front_onnx.gene.gene import Gene, Member, Stack
from front_onnx.read.model_file import ModelFile
from front_onnx.read.tensor_data import has_data

__all__ = ["GeneModel"]

_CACHED = 512 << 20  # bytes of expanded stacks that are kept


class GeneModel(ModelFile):
    """What `understand` and `plan` read in place of the source: resizing it is using the learngene (Eq. 8)."""

    def __init__(self, gene: Gene, path: Path) -> None:
        super().__init__(gene.template, path, {}, b"")
        self._gene, self._files = gene, None
        self._members: dict[str, tuple[Stack, Member]] = {m.name: (s, m) for s in gene.stacks for m in s.members}
        self._values = set(gene.values)
        self._expanded: OrderedDict[str, np.ndarray] = OrderedDict()
        self.check()

    @property
    def runs(self) -> bool:
        """False: the file is no model."""
        return False

    @property
    def external(self) -> bool:
        """True if the source had its weights in data files."""
        return bool(self._gene.about.get("external"))

    @property
    def size(self) -> int:
        """Bytes of the learngene's file."""
        assert self.path is not None
        return self.path.stat().st_size

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values of an initializer, read-only."""
        if has_data(tensor):
            return super().array(tensor)
        if tensor.name in self._members:
            stack, member = self._members[tensor.name]
            entry = self._weights(stack)[member.index]
            return np.ascontiguousarray(entry.T) if member.transposed else entry
        if tensor.name in self._values:
            array = self._gene.arrays[f"value/{tensor.name}"]
            array.flags.writeable = False
            return array
        return super().array(tensor)

    def _weights(self, stack: Stack) -> np.ndarray:
        if stack.key in self._expanded:
            self._expanded.move_to_end(stack.key)
            return self._expanded[stack.key]
        weights = stack.weights(self._gene.arrays[stack.key])
        weights.flags.writeable = False
        self._expanded[stack.key] = weights
        while len(self._expanded) > 1 and sum(kept.nbytes for kept in self._expanded.values()) > _CACHED:
            self._expanded.popitem(last=False)
        return weights

    def fingerprint(self) -> str:
        """That of the learngene: of what it is of (a hash of the source among that), ratio and band."""
        return hashlib.sha256(json.dumps(self._gene.about, sort_keys=True).encode()).hexdigest()

    def are_apart(self, names: Sequence[str]) -> bool:
        """Blocks of which nothing but their mean was kept are equal, and no copies of each other."""
        return len({self._members[name][1].index for name in names if name in self._members}) > 1

    def _check_data(self, tensor: TensorProto) -> None:
        if tensor.name not in self._members and tensor.name not in self._values:
            super()._check_data(tensor)

    def edited(self, proto: onnx.ModelProto) -> ModelFile:
        """The same weights behind another graph."""
        other = copy(self)
        other.proto = proto
        return other

    def missing(self) -> set[str]:
        """Names of the initializers whose values are not in `proto` itself."""
        return {t.name for t in self.proto.graph.initializer if t.name in self._members or t.name in self._values}
