"""What a person or a script wants to know of a structure, a plan or a result, as plain data."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from front_onnx.axes.size import AxisRole, size_of
from front_onnx.blocks.chain import Chain
from front_onnx.blocks.evidence import found_by
from front_onnx.check.validate import Validation
from front_onnx.dims.structure import Dim, Structure
from front_onnx.plan.plan import Plan
from front_onnx.provenance import provenance
from front_onnx.read.graph import label
from front_onnx.read.subgraphs import all_graphs
from front_onnx.transform.contents import Drawn, Original, Resampled

__all__ = [
    "describe_method",
    "describe_plan",
    "describe_structure",
    "describe_validation",
    "duration",
    "parameter_count",
]


def parameter_count(graph: onnx.GraphProto) -> int:
    """Number of floating-point weights with more than one element, in initializers and Constant nodes."""
    graphs = [*all_graphs(graph)]
    tensors = [
        *(tensor for found in graphs for tensor in found.initializer),
        *(
            a.t
            for found in graphs
            for n in found.node
            if n.op_type == "Constant"
            for a in n.attribute
            if a.HasField("t")
        ),
    ]
    floats = (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    )
    counts = [int(np.prod(t.dims)) for t in tensors if t.data_type in floats]
    return sum(count for count in counts if count > 1)


def describe_structure(structure: Structure) -> dict[str, Any]:
    """Chains, dims and what can be resized."""
    graph = structure.graph
    return {
        "model": str(graph.model.path) if graph.model.path else None,
        "producer": " ".join([graph.model.proto.producer_name, graph.model.proto.producer_version]).strip(),
        "opset": dict(graph.opset),
        "nodes": len(graph.nodes),
        "functions_inlined": list(graph.model.inlined),
        "parameters": parameter_count(graph.proto),
        "bytes": graph.model.size,
        "chains": [_chain(structure, number, chain) for number, chain in enumerate(structure.chains)],
        "dims": [_dim(structure, dim) for dim in structure.dims if dim.named],
        "fingerprint": graph.model.fingerprint(),
        "made_from": provenance(graph.model.proto),
        "unfollowed": _unfollowed(structure),
        "baked": structure.analysis.symbols.traced,
    }


def _unfollowed(structure: Structure) -> list[dict[str, Any]]:
    """The nodes that could not be followed by their own fault, and how many others cannot be because of them."""
    graph, analysis = structure.graph, structure.analysis
    causes = sorted((t for t in analysis.troubles if t.is_cause), key=lambda t: analysis.telling.place(t.node))
    return [
        {
            "node": label(graph.nodes[cause.node]),
            "operator": graph.nodes[cause.node].op_type,
            "reason": cause.reason,
            "behind": sum(cause.node in t.causes for t in analysis.troubles if t.node != cause.node),
        }
        for cause in causes
    ]


def _chain(structure: Structure, number: int, chain: Chain) -> dict[str, Any]:
    graph = structure.graph
    names = {graph.constant_name(graph.nodes[e.node].input[e.slot]) for e in chain.places}
    operators = Counter(graph.nodes[node].op_type for segment in chain.units[0] for node in segment.nodes)
    residual = structure.residuals[number]
    return {
        "name": chain.name,
        "depth": chain.depth,
        "units": len(chain.units),
        "layers_per_unit": chain.layers,
        "first_block_differs": bool(chain.entry),
        "found": found_by(graph, chain),
        "parameters_per_unit": sum(int(np.prod(graph.constants[name].dims)) for name in names)
        // (chain.depth if chain.loop is not None else 1),
        "operators": dict(operators.most_common()),
        "width": size_of(residual) if residual is not None else None,
        "width_dims": structure.describe(residual) if residual is not None else None,
    }


def _dim(structure: Structure, dim: Dim) -> dict[str, Any]:
    return {
        "name": dim.name,
        "size": dim.size,
        "kind": dim.kind,
        "chain": structure.chains[dim.chain].name if dim.chain is not None and dim.kind != "fixed" else None,
        "relation": relation(structure, dim),
        "resizable": dim.frozen is None,
        "follows_width": dim.kind in ("residual", "heads", "kv_heads", "inner"),
        "reason": structure.reason(dim.frozen or dim.hold),
    }


def relation(structure: Structure, dim: Dim) -> str | None:
    """How a dim relates to the width of its chain: `4 x hidden`, `12 x 64`, `1/2 x the width 32` of two halves."""
    if dim.kind == "fixed":
        return None
    if dim.kind in ("heads", "kv_heads"):
        partner = _head_size(structure, dim)
        return f"{dim.size} x {partner.name} {partner.size}" if partner else None
    residual = structure.residual_of(dim.chain)
    if dim.kind not in ("inner", "residual") or residual is None:
        return None
    if dim.kind == "residual" and dim.size == size_of(residual):
        return None
    ratio = Fraction(dim.size, size_of(residual))
    shown = str(ratio.numerator) if ratio.denominator == 1 else f"{ratio.numerator}/{ratio.denominator}"
    variables = structure.analysis.algebra.expand(residual)
    if any(var.parts is not None for var in variables) or dim.kind == "residual":
        hidden = f"the width {size_of(residual)}"  # sines beside cosines, branches beside each other
    else:
        hidden = " x ".join(structure.by_variable[a].name for a in variables if a in structure.by_variable)
    return f"{shown} x {hidden}" if ratio.denominator <= 16 else None


def _head_size(structure: Structure, heads: Dim) -> Dim | None:
    """The size of each of some heads: that of queries and keys if values have another, in the same weights at best."""
    sizes = [dim for dim in structure.dims if dim.kind == "head_dim" and dim.chain == heads.chain]

    def apart(dim: Dim) -> tuple[bool, bool]:
        return set(heads.edges).isdisjoint(dim.edges), AxisRole.INNER not in dim.var.roles

    return min(sizes, key=apart, default=None)


def describe_plan(plan: Plan, proto: onnx.ModelProto) -> dict[str, Any]:
    """Before and after, and what is done; `proto` is the rewritten skeleton."""
    structure = plan.structure
    sizes = {dim.name: [dim.size, plan.sizes[dim.var] * dim.times] for dim in structure.dims}
    changed = {name: pair for name, pair in sizes.items() if pair[0] != pair[1]}
    kept = {dim.name: dim.size for dim in structure.dims if dim.name not in changed and dim.kind not in ("fixed",)}
    contents = [*plan.contents.values(), *(c for unit in plan.clones.values() for c in unit.values())]
    resampled = {c for c in contents if isinstance(c, Resampled | Drawn)}
    numbers = len({id(c) for c in plan.contents.values() if not isinstance(c, Resampled | Drawn | Original)})
    weights = [t for t in proto.graph.initializer if t.data_type in (1, 10, 11, 16) and np.prod(t.dims) > 1]
    return {
        "depth": {c.name: list(d) for c, d in zip(structure.chains, plan.depths, strict=True)},
        "dims": changed,
        "kept": kept,
        "rounded": {d.name: float(plan.rounded[d.var]) for d in structure.dims if d.var in plan.rounded},
        "parameters": [parameter_count(structure.graph.proto), parameter_count(proto.graph)],
        "nodes": [len(structure.graph.nodes), len(proto.graph.node)],
        "functions_inlined": list(structure.graph.model.inlined),
        "weights_resized": len(resampled),
        "weights_copied": max(len(weights) - len(resampled), 0),
        "constants_rewritten": numbers,
        "attributes_rewritten": len(plan.attributes),
        "methods": {direction: describe_method(plan, direction) for direction in ("depth", "width")},
        "scale": plan.request.scale,
        "ratio": plan.request.ratio,
        "warnings": list(plan.warnings),
    }


def describe_method(plan: Plan, direction: str) -> str:
    """The method of "depth" or "width", as users say it."""
    name, variant = plan.request.methods[direction]
    return f"{name}:{variant}" if variant else name


def describe_validation(validation: Validation | None) -> dict[str, Any] | None:
    """Checks as plain data."""
    if validation is None:
        return None
    return {
        "passed": validation.passed,
        "checks": [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in validation.checks],
        "differences": validation.differences,
    }


def duration(seconds: float) -> str:
    """45 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
