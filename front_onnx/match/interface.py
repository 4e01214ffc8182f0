"""Inputs and outputs of two models that correspond: by name, by hand, or because nothing else is like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from front_onnx.errors import RequestError

__all__ = ["paired_inputs", "paired_outputs"]

_Kind = tuple[int, int]  # element type, rank


def paired_inputs(
    source: Sequence[onnx.ValueInfoProto],
    target: Sequence[onnx.ValueInfoProto],
    by_hand: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """The source's input for each of the target's.

    Args:
        source: inputs of the source.
        target: inputs of the target.
        by_hand: what a user said of names, of weights perhaps too.

    Raises:
        RequestError: one of the target's has no counterpart, or could have several.
    """
    found = _paired(source, target, by_hand or {})
    left = next((info.name for info in target if info.name not in found), None)
    if left is not None:
        taken = set(found.values())
        choice = ", ".join(info.name for info in source if info.name not in taken) or "nothing that is left"
        hint = f'--map with {{"{left}": "SOURCE INPUT"}}'
        raise RequestError("which input of the source is this input of the target?", got=left, wanted=choice, hint=hint)
    return found


def paired_outputs(
    source: Sequence[onnx.ValueInfoProto],
    target: Sequence[onnx.ValueInfoProto],
    by_hand: Mapping[str, str | None] | None = None,
) -> dict[str, str]:
    """The source's output for each of the target's that has one."""
    return _paired(source, target, by_hand or {})


def _paired(
    source: Sequence[onnx.ValueInfoProto], target: Sequence[onnx.ValueInfoProto], by_hand: Mapping[str, str | None]
) -> dict[str, str]:
    ours = {info.name: _kind(info) for info in source}
    theirs = {info.name: _kind(info) for info in target}
    found = {name: other for name in theirs if (other := by_hand.get(name)) in ours and other is not None}
    found |= {name: name for name in theirs if name not in found and name in ours and name not in found.values()}
    for name, kind in theirs.items():
        if name in found:
            continue
        like = [other for other, own in ours.items() if own == kind and other not in found.values()]
        mine = [other for other, own in theirs.items() if own == kind and (other == name or other not in found)]
        if len(like) == 1 and len(mine) == 1:
            found[name] = like[0]
    return found


def _kind(info: onnx.ValueInfoProto) -> _Kind:
    """Floats of all widths are alike, and so are whole numbers."""
    tensor = info.type.tensor_type
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    whole = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    kind = floats[0] if tensor.elem_type in floats else whole[0] if tensor.elem_type in whole else tensor.elem_type
    return kind, len(tensor.shape.dim) if tensor.HasField("shape") else -1
