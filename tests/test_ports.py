"""Inputs and outputs of the graph that belong to blocks, in graphs made by hand: they come and go with depth."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graphs import Net
from tiers import few
from zoo.oracle import compare

from front_onnx.api import inspect, resize, validate
from front_onnx.errors import FrontError

HEAD = 4


def _linear(net: Net, x: str, rows: int, columns: int, name: str) -> str:
    return net.add("MatMul", x, net.weight(rows, columns, name=f"{name}.weight"))


def _called(net: Net, name: str) -> str:
    """The last node's output, by this name."""
    net.nodes[-1].output[0] = name
    return name


def _cached(net: Net, part: str, past: str, present: str) -> str:
    """Heads [b, h, t, d] behind what is cached of them."""
    y = net.add("Reshape", part, net.ints(0, 0, -1, HEAD))
    net.add("Concat", past, net.add("Transpose", y, perm=[0, 2, 1, 3]), axis=2)
    return _called(net, present)


def decoder(
    depth: int,
    width: int = 8,
    *,
    by: str = "block",
    name: Callable[[str, int, str], str] = "{}.{}.{}".format,
    each: Callable[[Net, int, str], str] = lambda net, i, x: x,
) -> onnx.ModelProto:
    """Blocks with keys and values of their own; `each(net, block, x)` may do something with what a block makes."""
    net = Net(random.Random(depth + width))
    shape = ["batch", width // HEAD, "past", HEAD]
    x = _linear(net, net.input(["batch", "sequence", 3], name="x"), 3, width, "embed")
    kinds, outputs = ("key", "value"), ["y"]
    for i in range(depth):
        stem = f"layers.{i}"
        q, k, v = (_linear(net, x, width, width, f"{stem}.{part}") for part in "qkv")
        q = net.add("Transpose", net.add("Reshape", q, net.ints(0, 0, -1, HEAD)), perm=[0, 2, 1, 3])
        names = [(net.input(shape, name=name("past", i, kind)), name("present", i, kind)) for kind in kinds]
        k, v = (_cached(net, part, *pair) for part, pair in zip((k, v), names, strict=True))
        outputs += [present for _, present in names]
        weights = net.add("Softmax", net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
        y = net.add("Transpose", net.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        y = net.add("Reshape", y, net.ints(0, 0, width))
        x = net.add("Add", x, _linear(net, y, width, width, f"{stem}.out"))
        x = each(net, i, x)
    ln = (net.weight(width, name=f"norm.{kind}") for kind in ("weight", "bias"))
    _linear(net, net.add("LayerNormalization", x, *ln), width, 11, "head")
    _called(net, "y")
    if by == "kind":
        first, *rest = net.inputs
        net.inputs = [first, *sorted(rest, key=lambda info: "value" in info.name)]
        outputs = ["y", *sorted(outputs[1:], key=lambda name: "value" in name)]
    read = {name for node in net.nodes for name in node.input}
    outputs += [n for node in net.nodes for n in node.output if n not in read and n not in outputs]
    return _declared(net.model(*outputs))


def _declared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Outputs with the shapes that follow from the inputs."""
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    found = onnx.shape_inference.infer_shapes(model, data_prop=True)
    infos = {info.name: info for info in found.graph.output}
    made = [infos[info.name] for info in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(made)
    return model


def _names(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [v.name for v in model.graph.input], [v.name for v in model.graph.output]


@pytest.mark.parametrize("by", ["block", "kind"])
@pytest.mark.parametrize(
    "size", few([{"depth": 1}, {"depth": 4, "width": 4}, {"depth": 2}, {"depth": 5}, {"width": 12}], 2, mark="slow")
)
def test_a_cache_follows_depth_and_width(by, size):
    """Names, their order, the declared shapes and the outputs are those of a graph built at that size."""
    made = resize(decoder(3, by=by), **size).model
    assert compare(made, decoder(size.get("depth", 3), size.get("width", 8), by=by)) == []


def test_the_order_of_names_is_the_source_s():
    assert _names(resize(decoder(2, by="kind"), depth=3).model) == (
        ["x", *(f"past.{i}.{kind}" for kind in ("key", "value") for i in range(3))],
        ["y", *(f"present.{i}.{kind}" for kind in ("key", "value") for i in range(3))],
    )
    assert _names(resize(decoder(3), depth=2).model)[1] == [
        "y",
        *(f"present.{i}.{kind}" for i in range(2) for kind in ("key", "value")),
    ]


def test_heads_of_a_cache_are_heads():
    sizes = {dim.name: (dim.kind, dim.size) for dim in inspect(decoder(3)).dims}
    assert sizes["heads"] == ("heads", 2)
    assert sizes["head_dim"] == ("head_dim", HEAD)


def test_names_that_do_not_count_are_refused():
    def letters(stem: str, block: int, kind: str) -> str:
        return f"{stem}_{'abc'[block]}_{kind}"

    with pytest.raises(FrontError, match=r"past_c_.*inputs of blocks do not count"):
        resize(decoder(3, name=letters), depth=2)
    assert compare(resize(decoder(3, name=letters), width=12).model, decoder(3, 12, name=letters)) == []


def _hidden(net: Net, block: int, x: str) -> str:
    return _called(net, f"hidden.{block + 1}")


def hidden(depth: int, width: int = 8, *, last: str) -> onnx.ModelProto:
    """A decoder whose hidden states leave it, one more than blocks: the last behind the norm or not."""
    model = decoder(depth, width, each=_hidden)
    embed, norm = (next(n for n in model.graph.node if n.op_type == op) for op in ("MatMul", "LayerNormalization"))
    end = f"hidden.{depth}"
    if last == "norm":
        tensors = {end: "end", embed.output[0]: "hidden.0", norm.output[0]: end}
    else:
        tensors = {embed.output[0]: "hidden.0"}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for slot, name in enumerate(names):
                names[slot] = tensors.get(name, name)
    for i in range(depth + 1):
        model.graph.output.append(helper.make_tensor_value_info(f"hidden.{i}", TensorProto.FLOAT, None))
    return _declared(model)


@pytest.mark.parametrize("last", ["norm", "block"])
@pytest.mark.parametrize(
    "size", few([{"depth": 1}, {"depth": 4, "width": 12}, {"depth": 2}, {"depth": 5}], 2, mark="slow")
)
def test_hidden_states_follow_depth(last, size):
    made = resize(hidden(3, last=last), **size).model
    assert compare(made, hidden(size["depth"], size.get("width", 8), last=last)) == []


def test_hidden_states_beside_what_the_chain_makes():
    """One tensor may be both the last hidden state and another output, through an Identity."""

    def twice(depth: int) -> onnx.ModelProto:
        model = hidden(depth, last="block")
        model.graph.node.append(helper.make_node("Identity", [f"hidden.{depth}"], ["last"], "again"))
        model.graph.output.append(helper.make_tensor_value_info("last", TensorProto.FLOAT, None))
        return _declared(model)

    for depth in (2, 4):
        assert compare(resize(twice(3), depth=depth).model, twice(depth)) == []


def test_a_branch_to_an_output_belongs_to_its_block():
    def turned(net: Net, block: int, x: str) -> str:
        net.add("Transpose", net.add("Relu", x), perm=[1, 0, 2])
        _called(net, f"turned_{block}")
        return x

    for depth in (2, 5):
        assert compare(resize(decoder(3, each=turned), depth=depth).model, decoder(depth, each=turned)) == []


def test_an_output_of_one_block_is_refused():
    def middle(net: Net, block: int, x: str) -> str:
        return _called(net, "feature.2") if block == 1 else x

    model = decoder(3, each=middle)
    model.graph.output.append(helper.make_tensor_value_info("feature.2", TensorProto.FLOAT, None))
    for depth in (2, 4):
        with pytest.raises(FrontError, match=r"feature\.2.*outputs of blocks do not count"):
            resize(_declared(model), depth=depth)
    resize(_declared(model), width=12)


def test_validate_shows_the_interface():
    shown = validate(resize(decoder(3), depth=2, width=12).model, like=decoder(3)).differences
    assert "input past.2.key: missing, was float [batch, 2, past, 4]" in shown
    assert "input past.1.key: float [batch, 3, past, 4], was float [batch, 2, past, 4]" in shown
    assert any(line.startswith("output present.2.value: missing") for line in shown)


@pytest.mark.parametrize("length", ["past + sequence", "total"])
def test_made_up_masks_are_as_long_as_past_and_present(length):
    """A model that adds a mask of everything to what is cached and what is new runs."""
    net = Net(random.Random(0))
    ids = net.input(["batch", "sequence"], np.int64, name="ids")
    mask = net.input(["batch", length], np.int64, name="mask")
    past = net.input(["batch", "past", 4], name="past")
    joined = net.add("Concat", past, net.add("Gather", net.weight(9, 4), ids), axis=1)
    net.add("Mul", joined, net.add("Unsqueeze", net.add("Cast", mask, to=TensorProto.FLOAT), net.ints(2)))
    assert validate(_declared(net.model())).passed


@pytest.mark.parametrize("size", [{"depth": 5}, {"width": 12}, {"depth": 4, "width": 16}])
def test_growth_without_loss_is_measured_with_a_cache(size, tmp_path):
    """What a block has cached is fed to the block that is its copy; what new blocks make stands for nothing."""
    onnx.save(decoder(3), tmp_path / "source.onnx")
    result = resize(tmp_path / "source.onnx", **size, method="lossless", output=tmp_path / "grown.onnx")
    assert result.agreement is not None and result.agreement.worst < 1e-5
    names = _names(onnx.load(tmp_path / "grown.onnx"))[1]
    new = [name for name in names if name not in result.agreement.differences]
    assert len(new) == 2 * (size.get("depth", 3) - 3)
    if "width" in size:
        decoder_of = {key.rsplit(".", 1)[0] for key in np.load(tmp_path / "grown.decode.npz")}
        assert decoder_of == {name for name in names if name != "y"}
