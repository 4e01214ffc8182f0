"""The oracle: a resized graph is right when it is the native export at that size with other weights.

`compare` pairs the two graphs from their outputs backwards, puts every resized tensor into the native slot it
is paired with, and runs both. It has no opinion about what the weights should be, and needs none: a constant,
a shape, an attribute or a wire that a size change should have touched and did not shows as a difference.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
from numpy.typing import ArrayLike
from onnx import numpy_helper

from .feeds import feeds
from .graphview import View, is_parameter
from .pairing import Pairing, pair

Model = Path | str | onnx.ModelProto
_TOLERANCE = 1e-4


def compare(
    resized: Model,
    native: Model,
    *,
    seed: int = 0,
    tied: bool = True,
    names: bool = False,
    tables: Sequence[ArrayLike] = (),
    twin: Model | None = None,
) -> list[str]:
    """What is wrong with `resized`, given the same architecture exported natively; empty when nothing is.

    `tied`: where two native slots hold equal tensors, or one the transpose of the other, so must the resized
    ones; and tensors of two values (attention masks) have to be equal. Turn it off for freshly initialised
    models, whose tensors are equal and constant by accident.
    `names`: initializers with a module's name have to stand where the native graph has that name.
    `tables`: contents of computed constants of the native model (rotary frequencies ...), to be equal here.
    `twin`: the native model exported once more, with other weights. Floats that are the same in both are computed and
    have to be equal here; those of one element that are not are weights like the larger ones.
    """
    ours, theirs = View(_load(resized)), View(_declared(_load(native)), None if twin is None else _load(twin))
    found = pair(ours, theirs)
    _opsets(ours, theirs, found)
    _left_overs(ours, theirs, found)
    _slots(ours, theirs, found, tied=tied, names=names, tables=[np.asarray(table) for table in tables])
    if not found.differences:
        _outputs(ours, theirs, found, seed)
    return found.differences


def _load(model: Model) -> onnx.ModelProto:
    loaded = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
    return _inlined(loaded) if loaded.functions else loaded


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without local functions; onnx inlines one only if it agrees about the versions of all domains."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    own = {function.domain for function in model.functions}
    for opset in (o for function in model.functions for o in function.opset_import if o.domain in own):
        opset.version = next((o.version for o in model.opset_import if o.domain == opset.domain), opset.version)
    model = onnx.inliner.inline_local_functions(model)
    assert not model.functions
    kept = [onnx.helper.make_opsetid(o.domain, o.version) for o in model.opset_import if o.domain not in own]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _declared(native: onnx.ModelProto) -> onnx.ModelProto:
    """The native model; if it declares inner shapes that its own operators contradict, with inferred ones."""
    try:
        onnx.shape_inference.infer_shapes(native, strict_mode=True)
        return native
    except onnx.shape_inference.InferenceError:
        copy = onnx.ModelProto()
        copy.CopyFrom(native)
        del copy.graph.value_info[:]
        return onnx.shape_inference.infer_shapes(copy)


def _opsets(ours: View, theirs: View, found: Pairing) -> None:
    mine, wanted = ({o.domain: o.version for o in view.model.opset_import} for view in (ours, theirs))
    if mine != wanted:
        found.report(f"opset imports {mine}, wanted {wanted}")


def _left_overs(ours: View, theirs: View, found: Pairing) -> None:
    """Nothing unused may stay behind; what the native export leaves unused itself is forgiven by kind."""
    dead, allowed = _unused(ours, found.resized_seen), _unused(theirs, found.native_seen)
    for kind, description in dead:
        match = next((other for other in allowed if other[0] == kind), None)
        if match is None:
            found.report(f"left over: {description} reaches no output")
        else:
            allowed.remove(match)


def _unused(view: View, seen: set) -> list[tuple[object, str]]:
    used = {value.node for value in seen if value.kind == "node"}
    read = {(value.scope, value.name) for value in seen if value.kind == "constant"}
    dead: list[tuple[object, str]] = []
    for number, node in enumerate(view.nodes):
        if number not in used and node.op_type != "Identity":
            dead.append((node.op_type, f"node {node.op_type} {node.name!r}"))
    for (scope, name), array in view.constants.items():
        if (scope, name) not in read:
            kind = (str(array.dtype), array.shape)
            dead.append((kind, f"constant {name!r} {array.dtype}{list(array.shape)}"))
    return dead


def _slots(ours: View, theirs: View, found: Pairing, *, tied: bool, names: bool, tables: Sequence[np.ndarray]) -> None:
    """Each native slot holds one tensor, tied ones the same, computed ones the computed values."""
    holders: dict[bytes, tuple[str, np.ndarray]] = {}
    for (number, position), held in found.slots.items():
        node = theirs.nodes[number]
        if node.op_type == "Shape":
            continue  # of a constant that is there for its shape alone, which the walk has compared
        native = theirs.operands(number)[position]
        wanted = theirs.array(native)
        arrays = [ours.array(value) for value in held]
        where = f"input {position} of native {node.op_type} {node.name!r} ({native.name!r})"
        if any(not np.array_equal(arrays[0], other) for other in arrays[1:]):
            found.report(f"{where}: computed once natively, but from {[value.name for value in held]} here")
        if tied:
            name, array = _holder(holders, wanted, held[0].name, arrays[0])
            if not np.array_equal(array, arrays[0]):
                found.report(f"{where}: tied, but holds {held[0].name!r} here and {name!r} elsewhere")
        if names and _is_module_name(native.name) and held[0].name != native.name:
            found.report(f"{where}: holds {held[0].name!r}")
        computed = theirs.is_computed(native) or _is_table(wanted, tables) or (tied and _is_mask(wanted))
        # Natively an angle is computed in single precision: position x 6e-8 off, and positions go up to some fifty.
        alike = arrays[0].shape == wanted.shape and np.allclose(arrays[0], wanted, rtol=1e-5, atol=4e-6)
        if computed and not alike:
            found.report(f"{where}: {held[0].name!r} is a computed table with other values")


def _holder(
    holders: dict[bytes, tuple[str, np.ndarray]], wanted: np.ndarray, name: str, array: np.ndarray
) -> tuple[str, np.ndarray]:
    """The first resized tensor that stood for this native one, or for its transpose.

    By content: exporters store the head of a tied model as a transposed copy of the embedding.
    """
    key = str(wanted.shape).encode() + wanted.tobytes()
    if key not in holders:
        holders[key] = (name, array)
        if wanted.ndim == 2:
            turned = np.ascontiguousarray(wanted.T)
            holders.setdefault(str(turned.shape).encode() + turned.tobytes(), (name, array.T))
    return holders[key]


def _is_module_name(name: str) -> bool:
    return "." in name and "::" not in name and "/" not in name


def _is_mask(array: np.ndarray) -> bool:
    """At most two distinct values: no random tensor has so few, so the architecture computed it."""
    return array.size >= 4 and np.unique(array).size <= 2


def _is_table(array: np.ndarray, tables: Sequence[np.ndarray]) -> bool:
    return any(
        array.size == table.size and np.allclose(array.reshape(-1), table.reshape(-1), rtol=1e-6) for table in tables
    )


def _outputs(ours: View, theirs: View, found: Pairing, seed: int) -> None:
    """Run the resized graph, and the native one with the resized weights."""
    loaded = _with_weights(ours, theirs, found)
    try:
        sessions = [_session(ours.model), _session(loaded)]
        for feed in feeds(theirs, seed):
            got, wanted = (session.run(None, feed) for session in sessions)
            for entry, a, b in zip(theirs.model.graph.output, got, wanted, strict=True):
                _values(f"output {entry.name!r} on {_shapes(feed)}", a, b, found)
    except Exception as error:  # onnxruntime's own exceptions have no common public base
        found.report(f"onnxruntime: {type(error).__name__}: {str(error).splitlines()[0]}")


def _values(where: str, got: np.ndarray, wanted: np.ndarray, found: Pairing) -> None:
    if got.shape != wanted.shape:
        found.report(f"{where}: shape {got.shape}, wanted {wanted.shape}")
    elif not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        found.report(f"{where}: not finite")
    else:
        off = float(np.abs(got.astype(np.float64) - wanted).max(initial=0))
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        if off > _TOLERANCE * scale:
            found.report(f"{where}: off by {off:.2e} on a scale of {scale:.2e}")


def _shapes(feed: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _with_weights(ours: View, theirs: View, found: Pairing) -> onnx.ModelProto:
    """A copy of the native model whose parameter slots hold the resized tensors, one initializer per slot."""
    copy = onnx.ModelProto()
    copy.CopyFrom(theirs.model)
    view = View(copy)  # numbers its nodes as `theirs` does
    for (number, position), held in found.slots.items():
        name = f"slot.{number}.{position}"
        view.nodes[number].input[position] = name
        copy.graph.initializer.append(numpy_helper.from_array(ours.array(held[0]), name))
    return copy


def parameters(model: Model) -> int:
    """How many float parameters a model holds."""
    view = View(_load(model))
    return sum(array.size for array in view.constants.values() if is_parameter(array))
