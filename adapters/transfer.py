"""From a source model or learngene to new values of a user's parameters, by way of an export with fingerprints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
from front_onnx.adapters.fingerprint import Fingerprint

from front_onnx.axes.size import size_of
from front_onnx.errors import FrontError, RequestError
from front_onnx.gene.file import is_gene, read_gene
from front_onnx.into import init_into
from front_onnx.operators.record import Trait, record_of
from front_onnx.read.graph import Graph
from front_onnx.roles.piece import Piece
from front_onnx.session import read_any
from front_onnx.types import MatchOptions, PathLike

__all__ = ["Neutral", "Report", "Source", "has_statistics", "transfer"]

Source = PathLike


@dataclass(frozen=True, eq=False)
class Neutral:
    """A parameter of a norm that only adds its bias, so that exporters fold it away and weights stay as they are.

    Attributes:
        value: what it has to be for that.
        bias: the parameter beside it that is added.
    """

    value: np.ndarray
    bias: str


@dataclass(eq=False)
class Report:
    """What was set in a user's model and what was not.

    Attributes:
        set: parameters that hold new values.
        partly: parameters of which only a part was found; the rest is as it was.
        kept: parameters that are as they were, and why.
        unused: weights of the source that went nowhere.
        resized: tensors of the source that have another size there, or stand in another number of blocks.
    """

    set: list[str] = field(default_factory=list)
    partly: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.set)} parameters set, {len(self.partly)} partly, {len(self.kept)} kept"]
        if self.resized:
            lines.append(f"  resized on the way, without calibration: {len(self.resized)} weights or stacks of them")
        lines += [f"  partly set: {name}" for name in self.partly]
        lines += [f"  kept {name}: {reason}" for name, reason in self.kept.items()]
        lines += [f"  not used: {name}" for name in self.unused]
        return "\n".join(lines)


def has_statistics(source: Source) -> bool:
    """True if a source has batch norms of its own, and has not folded them into the weights before."""
    proto = read_gene(source).template if is_gene(source) else read_any(source).proto
    return any(node.op_type == "BatchNormalization" for node in proto.graph.node)


def transfer(
    source: Source,
    originals: Mapping[str, np.ndarray],
    export: Callable[[Mapping[str, np.ndarray], Path], None],
    neutral: Mapping[str, Neutral] | None = None,
    **options: Unpack[MatchOptions],
) -> tuple[dict[str, np.ndarray], Report]:
    """New values for the parameters of a user's model.

    Args:
        source: a learngene or an ONNX model, of any size.
        originals: the parameters' own values, by name.
        export: writes the model, with other values for all its parameters (float32), to a path.
        neutral: parameters of norms that the source has folded into its weights.
        options: `scale`, `mapping`, as for `front_onnx.init_into`.

    Returns:
        The parameters that change, in the types of their own values, and what was done.

    Raises:
        FrontError: the model cannot be exported, nothing matches, or the source cannot have the target's sizes.
    """
    neutral = neutral or {}
    coded = {name: array for name, array in originals.items() if name not in neutral}
    if not coded:
        raise RequestError("the model has no floating-point parameters")
    fingerprint = Fingerprint({name: array.shape for name, array in coded.items()})
    with tempfile.TemporaryDirectory(prefix="front-onnx-") as folder:
        path = Path(folder) / "target.onnx"
        values = {name: fingerprint.codes(name) for name in coded}
        export(values | {name: entry.value for name, entry in neutral.items()}, path)
        found, report = _found(source, path, fingerprint, coded, options)
    for name, entry in neutral.items():
        if entry.bias in found:
            found[name] = entry.value.astype(originals[name].dtype)
            report.set.append(name)
        else:
            report.kept[name] = "its norm was not matched"
    return found, report


def _found(
    source: Source,
    exported: Path,
    fingerprint: Fingerprint,
    originals: Mapping[str, np.ndarray],
    options: MatchOptions,
) -> tuple[dict[str, np.ndarray], Report]:
    graph = Graph(read_any(exported))
    moved = init_into(source, exported, output=exported.with_name("moved.onnx"), validate=False, **options)
    flat = np.zeros(fingerprint.total, np.float64)
    known = np.zeros(fingerprint.total, bool)
    strange = []
    for name, values in moved.arrays.items():
        own = graph.array(name)
        changed = own != values
        elements = fingerprint.decode(own)[changed]
        if (elements < 0).any():
            strange.append(name)
            continue
        flat[elements], known[elements] = values[changed], True
    report = Report(unused=[piece.tensors[0] for piece in moved.unused])
    pairs = [(entry.source, entry.target) for entry in moved.matches if entry.source is not None]
    report.resized = [theirs.tensors[0] for theirs, mine in pairs if _sizes(theirs) != _sizes(mine)]
    reasons: dict[str, str] = {}
    for entry in moved.matches:
        for tensor in entry.target.tensors if entry.source is None else ():
            for owner in fingerprint.owners(graph.array(tensor)):
                reasons.setdefault(owner, entry.reason)
    out = {}
    for place, name in enumerate(fingerprint.names):
        start, stop = fingerprint.starts[place : place + 2]
        held = known[start:stop]
        if not held.any():
            report.kept[name] = reasons.get(name, "it is not in the exported graph as it is")
            continue
        own = np.array(originals[name])
        own.reshape(-1)[held] = flat[start:stop][held].astype(own.dtype)
        out[name] = own
        (report.set if held.all() else report.partly).append(name)
    _take_by_name(source, originals, out, report, {t for e, _ in pairs for t in e.tensors})
    if strange:
        raise FrontError(
            "the exporter computed weights of others, so their values cannot be put back",
            got=", ".join(strange[:3]),
            hint="export with constant folding off, or use init --into and train the ONNX model",
        )
    return out, report


def _take_by_name(
    source: Source,
    originals: Mapping[str, np.ndarray],
    out: dict[str, np.ndarray],
    report: Report,
    used: Collection[str],
) -> None:
    """Set what the export does not hold whole, if the source has a tensor of its name and shape that went nowhere.

    A table of positions that is looked into at places that the exporter knows leaves it folded, or cut to the inputs.
    """
    if is_gene(source):
        return
    graph = Graph(read_any(source))
    for name in [*report.kept, *report.partly]:
        tensor = graph.constants.get(name)
        if tensor is None or name in used or tuple(tensor.dims) != originals[name].shape:
            continue
        readers = (record_of(graph.nodes[edge.node]) for edge in graph.consumers.get(name, ()))
        looked_up = any(reader.has(Trait.LOOKS_UP) for reader in readers)
        if len(tensor.dims) == 2 and len({*tensor.dims}) == 1 and not looked_up:
            continue  # a square matrix may lie there transposed
        out[name] = np.array(graph.array(name)).astype(originals[name].dtype)
        report.set.append(name)
        report.kept.pop(name, None)
        report.partly = [other for other in report.partly if other != name]
        report.unused = [other for other in report.unused if other != name]


def _sizes(piece: Piece) -> tuple[int, tuple[int, ...]]:
    """How many blocks hold a piece, and the sizes of its axes, as far as they are known."""
    return len(piece.tensors), tuple(size_of(axis) for axis in piece.axes or ())
