"""A learngene: coefficients of stacks, single tensors, and the graph without its weights as a template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from front_onnx.gene.basis import Basis, analyse, synthesise
from front_onnx.summary import parameter_count
from front_onnx.transform.stack import working_type

__all__ = ["Gene", "Member", "Stack"]


@dataclass(frozen=True)
class Member:
    """A tensor of the template that is entry `index` of a stack, perhaps transposed."""

    name: str
    index: int
    transposed: bool = False


@dataclass(frozen=True)
class Stack:
    """The tensors in one place of all blocks, or a single tensor, as coefficients.

    Attributes:
        members: the tensors that it holds; a tied transpose is a member too.
        depth: what is kept along the blocks.
        axes: what is kept along each axis of a tensor.
        lowest: what no value falls below (variances).
        energy: the part of the squared values that is kept (Parseval); 1 if nothing is cut.
    """

    members: tuple[Member, ...]
    depth: Basis
    axes: tuple[Basis, ...]
    lowest: float | None = None
    energy: float = 1.0

    @property
    def key(self) -> str:
        """The name of its coefficients in a learngene file."""
        return f"stack/{self.members[0].name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """[L, ...] of the weights."""
        return (self.depth.size, *(axis.size for axis in self.axes))

    @property
    def kept(self) -> tuple[int, ...]:
        """[l, ...] of the coefficients."""
        return (self.depth.kept, *(axis.kept for axis in self.axes))

    def coefficients(self, blocks: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
        """What is kept of L blocks of one shape (Eq. 3 and 4), in their type, and the part of the energy in it."""
        dtype = blocks[0].dtype
        stack = np.stack([np.asarray(block, working_type(dtype)) for block in blocks])
        total = float(np.vdot(stack, stack))
        for axis, basis in enumerate((self.depth, *self.axes)):
            stack = analyse(stack, axis, basis)
        energy = float(np.vdot(stack, stack)) / total if total else 1.0
        return np.ascontiguousarray(stack.astype(dtype)), min(energy, 1.0)

    def weights(self, coefficients: np.ndarray) -> np.ndarray:
        """[L, ...]: the weights that have just these coefficients, in their type."""
        dtype = coefficients.dtype
        stack = coefficients.astype(working_type(dtype))
        for axis, basis in enumerate((self.depth, *self.axes)):
            stack = synthesise(stack, axis, basis)
        if self.lowest is not None:
            stack = np.maximum(stack, np.asarray(self.lowest, stack.dtype))
        return stack.astype(dtype)


@dataclass(frozen=True, eq=False)
class Gene:
    """What is cut out of a trained model once, and used without it.

    Attributes:
        template: the source's graph; initializers that are in `stacks` or `values` lack their data here.
        stacks: what is cut.
        values: the tensors that are kept whole, by name: nothing of them can be resized, or the ratio is 1.
        arrays: coefficients and values by the name they have in a learngene file ("stack/...", "value/...").
        about: ratio, band, scale convention, fingerprint of the source, its chains and dims; plain data.
    """

    template: onnx.ModelProto
    stacks: tuple[Stack, ...]
    values: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @property
    def parameters(self) -> tuple[int, int]:
        """(floating-point weights of the source, numbers that are kept in their place)."""
        total = parameter_count(self.template.graph)
        cut = sum(len(stack.members) * math.prod(stack.shape[1:]) - math.prod(stack.kept) for stack in self.stacks)
        return total, total - cut
