"""Small models and ways to run them, without torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

DIGITS = Path(__file__).parent.parent / "models" / "digits" / "digits.onnx"
DIGIT_INPUTS = DIGITS.with_name("inputs.npz")


def mlp(
    depth: int = 3, width: int = 6, inputs: int = 5, classes: int = 4, *, odd: str | None = None, repeat: bool = True
) -> onnx.ModelProto:
    """Equal layers between an embedding and a head; `odd` puts an operator nobody knows after the embedding.

    With `repeat` off every layer has its own width, so that no block repeats.
    """
    rng = np.random.default_rng(7)
    weights: list[TensorProto] = []
    nodes = []

    def layer(name: str, source: str, n: int, m: int, activate: bool = True) -> str:
        weights.append(numpy_helper.from_array(rng.standard_normal((n, m)).astype(np.float32), f"{name}.weight"))
        weights.append(numpy_helper.from_array(rng.standard_normal(m).astype(np.float32), f"{name}.bias"))
        nodes.append(helper.make_node("MatMul", [source, f"{name}.weight"], [f"{name}.product"], f"/{name}/MatMul"))
        nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [f"{name}.sum"], f"/{name}/Add"))
        if not activate:
            return f"{name}.sum"
        nodes.append(helper.make_node("Relu", [f"{name}.sum"], [f"{name}.out"], f"/{name}/Relu"))
        return f"{name}.out"

    value = layer("embed", "x", inputs, width)
    if odd is not None:
        nodes.append(helper.make_node(odd, [value], ["odd"], "/middle/odd_one", domain="com.example"))
        value = "odd"
    size = width
    for number in range(depth):
        wider = size if repeat else size + 1 + number
        value = layer(f"layers.{number}", value, size, wider)
        size = wider
    value = layer("head", value, size, classes, activate=False)
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("com.example", 1)] if odd else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: onnx.ModelProto | Path, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model; arrays that it has no input for are left out."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    return session.run(None, {name: array for name, array in feed.items() if name in names})


def feed(model: onnx.ModelProto, *, batch: int = 2, length: int = 7, top: int = 40) -> dict[str, np.ndarray]:
    """Inputs for a model: token ids below `top`, masks of ones, noise."""
    rng = np.random.default_rng(3)
    initializers = {tensor.name for tensor in model.graph.initializer}
    arrays: dict[str, np.ndarray] = {}
    for entry in model.graph.input:
        if entry.name in initializers:
            continue
        kind = entry.type.tensor_type
        shape = [d.dim_value or (batch if at == 0 else length) for at, d in enumerate(kind.shape.dim)]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "i":
            arrays[entry.name] = np.ones(shape, dtype) if "mask" in entry.name else rng.integers(0, top, shape, dtype)
        else:
            arrays[entry.name] = rng.standard_normal(shape).astype(dtype)
    return arrays


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All initializers and all tensors of Constant nodes, by the name of the value."""
    found = weights(model)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def output_shapes(model: onnx.ModelProto) -> list[list[int | str]]:
    """Declared shapes of the outputs."""
    return [
        [d.dim_value if d.HasField("dim_value") else d.dim_param for d in entry.type.tensor_type.shape.dim]
        for entry in model.graph.output
    ]


def unsigned(model: onnx.ModelProto | Path) -> bytes:
    """The bytes of a model but for what it says of where it comes from: the request, as it was worded."""
    found = onnx.ModelProto()
    found.CopyFrom(onnx.load(str(model)) if isinstance(model, Path) else model)
    kept = [entry for entry in found.metadata_props if not entry.key.startswith("front_onnx.")]
    del found.metadata_props[:]
    found.metadata_props.extend(kept)
    return found.SerializeToString(deterministic=True)
