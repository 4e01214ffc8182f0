"""Cutting a learngene out of a model: a plan of the same size at a ratio says what every tensor keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import onnx

from front_onnx.gene.basis import basis_of
from front_onnx.gene.gene import Gene, Member, Stack
from front_onnx.plan.plan import Plan
from front_onnx.summary import describe_structure
from front_onnx.transform.contents import Resampled
from front_onnx.transform.weights import fill
from front_onnx.write.rewrite import Rewritten

__all__ = ["cut_out"]

_SMALL = 1024  # bytes: shorter tensors stay in the template
_ABOUT = ("producer", "opset", "parameters", "chains", "dims")


def cut_out(plan: Plan, rewritten: Rewritten, band: str, progress: Callable[[int, int], None]) -> Gene:
    """The learngene of a model.

    Args:
        plan: a plan that changes no size, at the wanted ratio.
        rewritten: that plan carried out.
        band: "low", or "mid" or "high" to compare with (Table 13).
        progress: told (done, total) tensors.
    """
    graph = plan.structure.graph
    template = onnx.ModelProto()
    template.CopyFrom(rewritten.proto)
    groups: dict[tuple[object, ...], list[tuple[Member, Resampled]]] = defaultdict(list)
    whole = {}
    for name, content in rewritten.pending.items():
        if isinstance(content, Resampled):
            key = (content.names, content.depth, content.axes, content.lowest)
            groups[key].append((Member(name, content.index, content.transposed), content))
        else:
            whole[name] = content
    total = len(rewritten.pending)
    arrays: dict[str, np.ndarray] = {}
    fill(graph, whole, lambda name, array: arrays.__setitem__(f"value/{name}", array), lambda n: progress(n, total))
    for tensor in template.graph.initializer:
        if tensor.HasField("raw_data") and len(tensor.raw_data) > _SMALL:
            arrays[f"value/{tensor.name}"] = graph.model.array(tensor)
    stacks = []
    done = len(whole)
    for members in groups.values():
        content = members[0][1]
        ordered = tuple(sorted((m for m, _ in members), key=lambda m: (m.transposed, m.index, m.name)))
        depth, axes = basis_of(content.depth, band), tuple(basis_of(axis, band) for axis in content.axes)
        cut = Stack(ordered, depth, axes, content.lowest)
        kept, energy = cut.coefficients([graph.array(name) for name in content.names])
        stack = Stack(ordered, depth, axes, content.lowest, round(energy, 6))
        stacks.append(stack)
        arrays[stack.key] = kept
        progress(done := done + len(members), total)
    values = [name.removeprefix("value/") for name in arrays if name.startswith("value/")]
    _strip(template, {*values, *(m.name for stack in stacks for m in stack.members)})
    described = describe_structure(plan.structure)
    source = {key: described[key] for key in _ABOUT}
    about = {
        "ratio": plan.request.ratio,
        "band": band,
        "transform": "orthonormal DCT-II",
        "scale": plan.request.scale,
        "external": graph.model.external,
        "source": source
        | {"model": graph.model.path.name if graph.model.path else None, "sha256": graph.model.digest()},
    }
    return Gene(template, tuple(sorted(stacks, key=lambda s: s.key)), tuple(sorted(values)), arrays, about)


def _strip(template: onnx.ModelProto, names: set[str]) -> None:
    """Take the data of initializers out of the template."""
    for tensor in template.graph.initializer:
        if tensor.name in names:
            kept = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            kept.doc_string = tensor.doc_string
            if not tensor.HasField("doc_string"):
                kept.ClearField("doc_string")
            kept.metadata_props.extend(tensor.metadata_props)
            tensor.CopyFrom(kept)
