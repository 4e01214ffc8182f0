"""Blocks in the wrong place for a chain: halves beside it, members of another kind, another order of the file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import run

import front_onnx


class Builder:
    """Nodes and weights in order."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, name: str, *shape: int) -> str:
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal(shape).astype(np.float32), name))
        return name

    def add(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], f"{op_type}_{len(self.nodes)}", **attributes))
        return name

    def model(self, inputs: dict[str, list], end: str, made: tuple = ("batch", 4)) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [end], ["y"]))
        given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, made)
        graph = helper.make_graph(self.nodes, "g", given, [out], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def recurrent(depth: int) -> onnx.ModelProto:
    """LSTM layers that each take and give [batch, time, width]; the last gives its last step only."""
    b = Builder()
    axes = numpy_helper.from_array(np.array([1]), "axes")
    b.weights.append(axes)
    b.weights.append(numpy_helper.from_array(np.array(-1), "last"))
    x = b.add("Tanh", b.add("MatMul", "x", b.weight("stem", 5, 6)))
    for i in range(depth):
        x = b.add("Transpose", x, perm=[1, 0, 2])
        x = b.add("LSTM", x, *(b.weight(f"{n}{i}.w", 1, 24, 6) for n in "wr"), hidden_size=6)
        x = b.add("Squeeze", x, "axes")
        if i < depth - 1:
            x = b.add("Transpose", x, perm=[1, 0, 2])
    return b.model(
        {"x": ["batch", "time", 5]}, b.add("MatMul", b.add("Gather", x, "last", axis=0), b.weight("head", 6, 4))
    )


@pytest.mark.parametrize("target", [2, 3, 5])
def test_the_layer_whose_transposes_were_merged_is_counted(target: int) -> None:
    source = recurrent(3)
    assert [chain.depth for chain in front_onnx.inspect(source).chains] == [3]
    resized = front_onnx.resize(source, depth=target).model
    assert [n.op_type for n in resized.graph.node] == [n.op_type for n in recurrent(target).graph.node]
    feed = {"x": np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)}
    assert run(resized, feed)[0].shape == (2, 4)


def halves(depth: int) -> onnx.ModelProto:
    """Blocks of two residual halves; the norm behind the last one is merged into it, so that it looks different."""
    b = Builder()
    x = b.add("MatMul", "x", b.weight("stem", 5, 6))
    for i in range(depth):
        x = b.add(
            "Add",
            x,
            b.add("MatMul", b.add("Tanh", b.add("MatMul", x, b.weight(f"mix.{i}", 6, 6))), b.weight(f"out.{i}", 6, 6)),
        )
        y = b.add("MatMul", b.add("Relu", b.add("MatMul", x, b.weight(f"up.{i}", 6, 24))), b.weight(f"down.{i}", 24, 6))
        x = b.add("Add", x, y) if i < depth - 1 else b.add("Max", b.add("Neg", x), y)
    return b.model({"x": ["batch", 5]}, b.add("MatMul", x, b.weight("head", 6, 4)))


@pytest.mark.parametrize("target", [2, 5])
def test_a_block_whose_halves_lie_on_both_sides_is_counted(target: int) -> None:
    resized = front_onnx.resize(halves(3), depth=target).model
    assert [n.op_type for n in resized.graph.node] == [n.op_type for n in halves(target).graph.node]


_OTHERS = ("Tanh", "Sigmoid", "Softplus", "Elu", "Softsign", "Neg")


def stage(depth: int) -> onnx.ModelProto:
    """Blocks of one kind and a last one of another, numbered on."""
    b = Builder()
    x = b.add("MatMul", "x", b.weight("stem", 5, 6))
    for i in range(depth + 1):
        y = x
        for k in range(6):
            name = b.weight(f"stage.{i}.part{k}.weight", 6, 6)
            y = b.add("Relu" if i < depth else _OTHERS[k], b.add("MatMul", y, name))
        x = b.add("Add", x, y)
    return b.model({"x": ["batch", 5]}, b.add("MatMul", x, b.weight("head", 6, 4)))


def test_a_block_of_another_kind_is_told_and_moves_its_number() -> None:
    result = front_onnx.resize(stage(3), depth=4)
    assert any("stage.3: of another kind" in warning for warning in result.plan.warnings)
    weights = {t.name: t.raw_data for t in result.model.graph.initializer}
    assert weights.keys() == {t.name for t in stage(4).graph.initializer}
    (odd,) = (t.raw_data for t in stage(3).graph.initializer if t.name == "stage.3.part0.weight")
    assert weights["stage.4.part0.weight"] == odd
    assert not front_onnx.resize(recurrent(3), depth=4).plan.warnings


def translator(*, decoder_first: bool) -> onnx.ModelProto:
    """An encoder and a decoder that mixes the encoder's end in; the file may hold the decoder's first nodes first."""
    encoder, decoder = Builder(), Builder()
    e = encoder.add("MatMul", "x", encoder.weight("a.stem", 5, 6))
    for i in range(3):
        e = encoder.add("Add", e, encoder.add("Relu", encoder.add("MatMul", e, encoder.weight(f"a.{i}.w", 6, 6))))
    d = decoder.add("MatMul", "z", decoder.weight("b.stem", 4, 6))
    count = len(decoder.nodes)
    for i in range(4):
        if i == 1:
            count = len(decoder.nodes)
        mixed = decoder.add("Tanh", decoder.add("MatMul", d, decoder.weight(f"b.{i}.w", 6, 6)))
        d = decoder.add("Add", d, decoder.add("Mul", mixed, "end"))
    d = decoder.add("MatMul", d, decoder.weight("b.head", 6, 3))
    for node in decoder.nodes:  # names of their own
        node.name = "d" + node.name
        node.input[:] = ["d" + n if n.startswith("t") else n for n in node.input]
        node.output[:] = ["d" + n for n in node.output]
    encoder.nodes.append(helper.make_node("Identity", [e], ["end"]))
    early, late = decoder.nodes[: count - 1], decoder.nodes[count - 1 :]
    nodes = [*early[:1], *encoder.nodes, *early[1:], *late] if decoder_first else [*encoder.nodes, *early, *late]
    encoder.nodes, encoder.weights = nodes, [*encoder.weights, *decoder.weights]
    return encoder.model({"x": ["batch", 5], "z": ["batch", 4]}, "d" + d, ("batch", 3))


@pytest.mark.parametrize("decoder_first", [False, True])
def test_an_encoder_comes_before_its_decoder(decoder_first: bool) -> None:
    structure = front_onnx.inspect(translator(decoder_first=decoder_first))
    assert [(chain.name, chain.depth) for chain in structure.chains] == [("a", 3), ("b", 4)]


def test_onnxruntimes_operators_in_the_domain_of_onnx() -> None:
    """Its optimiser writes SimplifiedLayerNormalization there, of which the onnx package knows nothing."""
    b = Builder()
    x = b.add("MatMul", "x", b.weight("stem", 5, 6))
    for i in range(3):
        y = b.add("SimplifiedLayerNormalization", x, b.weight(f"norm.{i}", 6), axis=-1, epsilon=1e-5)
        x = b.add("Add", x, b.add("Relu", b.add("MatMul", y, b.weight(f"w.{i}", 6, 6))))
    model = b.model({"x": ["batch", 5]}, b.add("MatMul", x, b.weight("head", 6, 4)))
    assert front_onnx.validate(model).passed
    resized = front_onnx.resize(model, depth=5, width=9)
    assert resized.validation.passed and "onnxruntime's own" in resized.validation.checks[0].detail


def test_a_shape_taken_apart_by_one_split() -> None:
    """As onnxruntime's optimiser writes several Gathers of one shape."""
    b = Builder()
    for name, value in (("zero", [0]), ("heads", [2, 3]), ("all", [6])):
        b.weights.append(numpy_helper.from_array(np.array(value), name))
    x = b.add("MatMul", "x", b.weight("stem", 5, 6))
    for i in range(3):
        y = b.add("MatMul", x, b.weight(f"{i}.w", 6, 6))
        shape = b.add("Shape", y)
        b.nodes.append(helper.make_node("Split", [shape], [f"{i}.batch", f"{i}.time", f"{i}.width"], f"split{i}"))
        y = b.add("Reshape", y, b.add("Concat", f"{i}.batch", f"{i}.time", "heads", axis=0))
        y = b.add("Softmax", b.add("MatMul", y, b.add("Transpose", y, perm=[0, 1, 3, 2])), axis=-1)
        y = b.add("ReduceMean", y, axes=[2, 3], keepdims=0)
        y = b.add("Unsqueeze", y, "minus")
        x = b.add("Add", x, b.add("Mul", b.add("MatMul", x, b.weight(f"{i}.o", 6, 6)), y))
    b.weights.append(numpy_helper.from_array(np.array([-1]), "minus"))
    model = b.model({"x": ["batch", "time", 5]}, b.add("MatMul", x, b.weight("head", 6, 4)), ("batch", "time", 4))
    resized = front_onnx.resize(model, depth=2, width=12)
    assert resized.validation.passed
    feed = {"x": np.ones((2, 7, 5), np.float32)}
    assert run(resized.model, feed)[0].shape == (2, 7, 4)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("depth", ["3,3", "4,3", "3,2", "5,5"])
def test_two_stages_in_one_sequence_of_names(step: int, depth: str) -> None:
    """What both stages add would have one name: each tensor keeps a name of its own."""
    b = Builder()
    x, count = b.add("MatMul", "x", b.weight("stem", 5, 6)), 0
    for width, wider in ((6, 8), (8, 4)):
        for _ in range(2):
            x = b.add("Relu", b.add("MatMul", x, b.weight(f"w_{count}.stored", width, width)))
            count += step
        x = b.add("MatMul", x, b.weight(f"w_{count}.stored", width, wider))
        count += 1
    source = b.model({"x": ["batch", 5]}, x)
    resized = front_onnx.resize(source, depth=depth).model
    names = [tensor.name for tensor in resized.graph.initializer]
    assert len(set(names)) == len(names) == 1 + sum(map(int, depth.split(","))) + 2
