"""What the public functions take, in words of types: models, sizes, names, options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypedDict

import onnx

from front_onnx.read.model_file import ModelFile

__all__ = [
    "GraphsurgeonGraph",
    "MatchOptions",
    "ModelLike",
    "Names",
    "PathLike",
    "Progress",
    "ResizeOptions",
    "Sizes",
    "several",
    "silent",
]


class GraphsurgeonGraph(Protocol):
    """An `onnx_graphsurgeon.Graph`, told by what it has: that package is slow to import and has no types."""

    nodes: list[object]
    inputs: list[object]
    outputs: list[object]
    opset: int


PathLike = str | os.PathLike[str]
ModelLike = PathLike | onnx.ModelProto | GraphsurgeonGraph | ModelFile
"""A model: a path, an onnx.ModelProto, an onnx_graphsurgeon.Graph, or one that `read_model` has read."""

Sizes = int | str | Sequence[int] | Mapping[str, int]
"""A size: one for all chains, one per chain ([3, 4, 6, 3] or "3,4,6,3"), or by name ({"encoder": 4} or "encoder=4")."""

Names = str | Sequence[str]
"""One name or several."""

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


class SizeOptions(TypedDict, total=False):
    """The options of `resize` that say sizes; see there."""

    depth: Sizes | None
    width: Sizes | None
    width_mult: float | str | None
    heads: Sizes | None
    head_dim: Sizes | None
    dims: Mapping[str, int] | None
    freeze: Names | None
    round_to: int | None
    depth_mult: float | str | None
    exact: bool
    params: int | str | None
    size: int | str | None


class ResizeOptions(SizeOptions, total=False):
    """What `resize` takes by name, but for what a learngene knows itself; see there."""

    method: str
    ratio: float
    band: str
    symmetry: float
    align: bool
    order: bool
    output: PathLike | None
    dry_run: bool
    validate: bool
    seed: int
    progress: Progress


class MatchOptions(TypedDict, total=False):
    """How weights find their way into a model from elsewhere; see `init_into`."""

    scale: str | None
    method: str
    symmetry: float
    mapping: PathLike | Mapping[str, str | None] | None


def several(given: Names | None) -> tuple[str, ...]:
    """The names in an argument that takes one or several."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""
