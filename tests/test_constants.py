"""Constants that are no weights: masks stretched over heads, tensors that are there for their shape, empty ones."""

from __future__ import annotations

import random

import numpy as np
import onnx
from small_graphs import Net, assert_as_planned, feeds_for, run_all

import front_onnx
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model


def _resized(proto: onnx.ModelProto, **wanted: object) -> onnx.ModelProto:
    result = front_onnx.resize(proto, **wanted, validate=False)
    assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))
    return result.model


def _weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def _layers(depth: int, layer) -> onnx.ModelProto:
    """Equal residual layers of width 12 over a sequence of 5."""
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([2, 5, 7]), net.weight(7, 12))
    for number in range(depth):
        x = net.add("Add", x, layer(net, x, number))
    net.add("MatMul", x, net.weight(12, 3))
    return net.model()


def _heads(net: Net, x: str, order: tuple[int, ...]) -> str:
    split = net.add("Reshape", net.add("MatMul", x, net.weight(12, 12)), net.ints(2, 5, 4, 3))
    return net.add("Transpose", split, perm=order)


def test_a_mask_stretched_over_heads_is_repeated():
    mask = np.broadcast_to(np.tril(np.ones((5, 5), bool)), (2, 4, 5, 5))

    def layer(net: Net, x: str, number: int) -> str:
        q, k, v = (_heads(net, x, order) for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)))
        scores = net.add("Where", net.const(mask, name=f"mask{number}"), net.add("MatMul", q, k), net.const(-9.0, "f4"))
        mixed = net.add("MatMul", net.add("Softmax", scores), v)
        flat = net.add("Reshape", net.add("Transpose", mixed, perm=[0, 2, 1, 3]), net.ints(2, 5, 12))
        return net.add("MatMul", flat, net.weight(12, 12))

    source = _layers(2, layer)
    for width, heads in ((6, 2), (18, 6)):
        resized = _resized(source, width=width)
        masks = [array for array in _weights(resized).values() if array.dtype == bool]
        assert masks and all(np.array_equal(m, np.broadcast_to(mask[:, :1], (2, heads, 5, 5))) for m in masks)


def test_the_scale_of_scores_follows_the_head_behind_a_view():
    """Where attention is written as an Einsum taken apart, the scores are reshaped before they are scaled."""

    def layer(net: Net, x: str, number: int) -> str:
        q, k, v = (_heads(net, x, order) for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)))
        scores = net.add("Squeeze", net.add("Unsqueeze", net.add("MatMul", q, k), net.ints(4)), net.ints(4))
        scaled = net.add("Mul", scores, net.const(3**-0.5, np.float32, name=f"scale{number}"))
        mixed = net.add("MatMul", net.add("Softmax", scaled), v)
        flat = net.add("Reshape", net.add("Transpose", mixed, perm=[0, 2, 1, 3]), net.ints(2, 5, 12))
        return net.add("MatMul", flat, net.weight(12, 12))

    resized = _weights(_resized(_layers(2, layer), head_dim=6, heads=2))
    scales = [array for name, array in resized.items() if name.startswith("scale")]
    assert scales and np.allclose(scales, 6**-0.5)


def test_the_shape_of_a_copied_weight_follows_the_weight():
    """An exporter may leave a second copy of a weight behind, read for its shape alone."""

    def layer(net: Net, x: str, number: int) -> str:
        weight = net.numbers.uniform(-1, 1, (12, 12)).astype(np.float32)
        copy = net.const(weight.reshape(1, 4, 3, 12), name=f"copy{number}")
        sizes = net.add("Gather", net.add("Shape", copy), net.ints(1, 2))
        flat = net.add("Reshape", x, net.ints(-1, 12))
        made = net.add("Gemm", flat, net.const(weight, name=f"weight{number}"), transB=1)
        split = net.add("Reshape", made, net.add("Concat", net.ints(2, 5), sizes, axis=0))
        return net.add("Reshape", net.add("Mul", split, net.weight(4, 3)), net.ints(2, 5, 12))

    source = _layers(3, layer)
    resized = _weights(_resized(source, dims={"hidden": 2}, depth=2))
    assert {array.shape for name, array in resized.items() if name.startswith("copy")} == {(1, 2, 3, 6)}
    assert not np.array_equal(resized["weight0"], _weights(source)["weight0"])


def test_a_weight_that_is_measured_as_well_is_stored_once():
    def layer(net: Net, x: str, number: int) -> str:
        weight = net.weight(12, 12, name=f"weight{number}")
        sizes = net.add("Gather", net.add("Shape", weight), net.ints(1))
        return net.add("Reshape", net.add("MatMul", x, weight), net.add("Concat", net.ints(2, 5), sizes, axis=0))

    resized = _weights(_resized(_layers(3, layer), width=8))
    assert {name: array.shape for name, array in resized.items() if name.startswith("weight")} == {
        f"weight{number}": (8, 8) for number in range(3)
    }


def test_groups_of_a_norm_written_out_are_kept():
    """Two groups of channels, each with its own mean: more channels make larger groups."""

    def layer(net: Net, x: str, number: int) -> str:
        split = net.add("Reshape", x, net.ints(2, 5, 2, 6))
        centred = net.add("Sub", split, net.add("ReduceMean", split, net.ints(1, 3)))
        scaled = net.add("Mul", centred, net.weight(2, 6, name=f"gain{number}"))
        return net.add("MatMul", net.add("Reshape", scaled, net.ints(2, 5, 12)), net.weight(12, 12))

    source = _layers(2, layer)
    assert next(dim.size for dim in front_onnx.inspect(source).dims if dim.kind == "groups") == 2
    assert _weights(_resized(source, width=8))["gain0"].shape == (2, 4)


def test_a_width_of_two_directions_is_one_width():
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([5, 2, 7]), net.weight(7, 12))
    for _ in range(3):
        gates = (net.weight(2, 24, 12), net.weight(2, 24, 6))
        made = net.add("LSTM", x, *gates, hidden_size=6, direction="bidirectional")
        halves = (net.add("Slice", made, net.ints(i), net.ints(i + 1), net.ints(1)) for i in range(2))
        x = net.add("Concat", *(net.add("Squeeze", half, net.ints(1)) for half in halves), axis=2)
    net.add("MatMul", x, net.weight(12, 3))
    resized = _resized(net.model(), width=8, depth=2)
    assert (
        sorted(array.shape for array in _weights(resized).values() if array.ndim == 3)
        == [(2, 16, 4)] * 2 + [(2, 16, 8)] * 2
    )


def test_an_empty_tensor_is_left_alone():
    """Resize has a place for a region of interest, which some exporters fill with an empty tensor."""
    net = Net(random.Random(0))
    x = net.add("Conv", net.input([1, 3, 4, 4]), net.weight(6, 3, 1, 1))
    scales = net.const([1.0, 1.0, 2.0, 2.0], np.float32)
    x = net.add("Resize", x, net.const([], np.float32), scales, mode="nearest")
    net.add("Conv", x, net.weight(2, 6, 1, 1))
    assert _resized(net.model(), width_mult=0.5).graph.output


def test_two_batches_that_have_to_agree_get_one_size():
    """An exporter may name the same size of two inputs differently; inputs made up to check a model agree."""
    net = Net(random.Random(0))
    a, b = (net.add("MatMul", net.input([name, 5]), net.weight(5, 6)) for name in ("batch_a", "batch_b"))
    net.add("MatMul", net.add("Relu", net.add("Add", a, b)), net.weight(6, 3))
    feed = synthetic_inputs(Graph(read_model(net.model())), {})
    assert {array.shape for array in feed.values()} == {(2, 5)}
