"""Small models for the tests of methods: a plain net, convolutions with norms, a recurrent net; all with learned-like
values."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["convolutional", "plain", "recurrent"]


class _Builder:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(11)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, *shape: int, mean: float = 0.0, deviation: float | None = None) -> str:
        scale = deviation if deviation is not None else np.prod(shape[1:] or (100,)) ** -0.5
        values = mean + scale * self.rng.standard_normal(shape)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        outs = [f"{name}_out", *("" for _ in range(outputs - 1))]
        self.nodes.append(helper.make_node(kind, inputs, outs, name, **attributes))
        return outs[0]

    def model(self, output: str, given: list[int | str], made: list[int | str]) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, given)
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, made)
        graph = helper.make_graph(self.nodes, "small", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def plain(layers: int = 3, width: int = 6) -> onnx.ModelProto:
    """A residual net of two linear layers a block, ReLU between, and no norm."""
    b = _Builder()
    value = b.node("Gemm", "x", b.weight("embed.weight", 5, width), b.weight("embed.bias", width))
    for number in range(layers):
        name = f"layers.{number}"
        inner = b.node(
            "Add",
            b.node("MatMul", value, b.weight(f"{name}.up.weight", width, 2 * width)),
            b.weight(f"{name}.up.bias", 2 * width),
        )
        inner = b.node("Relu", inner)
        out = b.node(
            "Add",
            b.node("MatMul", inner, b.weight(f"{name}.down.weight", 2 * width, width)),
            b.weight(f"{name}.down.bias", width),
        )
        value = b.node("Add", value, out)
    end = b.node("Gemm", b.node("Relu", value), b.weight("head.weight", width, 4), b.weight("head.bias", 4))
    return b.model(end, ["batch", 5], ["batch", 4])


def convolutional(layers: int = 3, width: int = 6) -> onnx.ModelProto:
    """Residual blocks: a convolution, a depthwise one, each with BatchNorm, and one of side 1."""
    b = _Builder()

    def norm(value: str, name: str, size: int) -> str:
        parts = [
            b.weight(f"{name}.weight", size, mean=1, deviation=0.1),
            b.weight(f"{name}.bias", size),
            b.weight(f"{name}.running_mean", size),
        ]
        variance = b.weight(f"{name}.running_var", size, mean=1, deviation=0.1)
        return b.node("BatchNormalization", value, *parts, variance)

    value = b.node(
        "Relu", norm(b.node("Conv", "x", b.weight("stem.weight", width, 3, 3, 3), pads=[1] * 4), "norm", width)
    )
    for number in range(layers):
        name, inner = f"layers.{number}", 2 * width
        way = b.node("Conv", value, b.weight(f"{name}.conv1.weight", inner, width, 1, 1))
        way = b.node("Relu", norm(way, f"{name}.norm1", inner))
        way = b.node("Conv", way, b.weight(f"{name}.conv2.weight", inner, 1, 3, 3), pads=[1] * 4, group=inner)
        way = b.node("Relu", norm(way, f"{name}.norm2", inner))
        way = norm(b.node("Conv", way, b.weight(f"{name}.conv3.weight", width, inner, 1, 1)), f"{name}.norm3", width)
        value = b.node("Relu", b.node("Add", value, way))
    flat = b.node("Flatten", b.node("GlobalAveragePool", value))
    end = b.node("Gemm", flat, b.weight("head.weight", 4, width), b.weight("head.bias", 4), transB=1)
    return b.model(end, ["batch", 3, 8, 8], ["batch", 4])


def recurrent(layers: int = 3, width: int = 6) -> onnx.ModelProto:
    """LSTM layers with a residual way around each, between two linear layers."""
    b = _Builder()
    value = b.node("MatMul", "x", b.weight("embed.weight", 5, width))
    axes = numpy_helper.from_array(np.array([1], np.int64), "direction")
    b.weights.append(axes)
    for number in range(layers):
        name = f"layers.{number}"
        parts = [
            b.weight(f"{name}.W", 1, 4 * width, width, deviation=0.3),
            b.weight(f"{name}.R", 1, 4 * width, width, deviation=0.3),
            b.weight(f"{name}.B", 1, 8 * width, deviation=0.3),
        ]
        way = b.node("Squeeze", b.node("LSTM", value, *parts, hidden_size=width), "direction")
        value = b.node("Add", value, way)
    end = b.node("MatMul", value, b.weight("head.weight", width, 4))
    return b.model(end, ["time", "batch", 5], ["time", "batch", 4])
