"""Blocks stay alike: what is one size in all blocks of the source is one in the result, or the request is refused."""

from __future__ import annotations

import random
import string

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import Net
from test_ports import _cached, _called, _declared, _linear
from tiers import few
from zoo.oracle import compare

from front_onnx.api import inspect, resize
from front_onnx.blocks import ports
from front_onnx.errors import FrontError, UnsupportedError
from front_onnx.plan.alike import check_alike
from front_onnx.write import verify as proof
from front_onnx.write.rewrite import rewrite

HEAD = 4


def decoder(depth: int, width: int, *, odd: str = "", at: int = 0, letters: bool = False) -> onnx.ModelProto:
    """Blocks with a cache each, of which block `at` is another one: without norm, without shortcut, with more."""
    net = Net(random.Random(depth + width))
    shape = ["batch", width // HEAD, "past", HEAD]
    x = _linear(net, net.input(["batch", "sequence", 3], name="x"), 3, width, "embed")
    outputs = ["y"]
    for i in range(depth):
        first, stem = len(net.nodes), f"layers.{i}"
        differs = odd if i == at else ""
        h = x
        if differs != "no norm":
            ln = (net.weight(width, name=f"{stem}.norm.{kind}") for kind in ("weight", "bias"))
            h = net.add("LayerNormalization", x, *ln)
        parts = [_linear(net, h, width, width, f"{stem}.{part}") for part in "qkv"]
        q = net.add("Transpose", net.add("Reshape", parts[0], net.ints(0, 0, -1, HEAD)), perm=[0, 2, 1, 3])
        number = string.ascii_lowercase[i] if letters else i
        names = [
            (net.input(shape, name=f"past.{number}.{kind}"), f"present.{number}.{kind}") for kind in ("key", "value")
        ]
        k, v = (_cached(net, part, *pair) for part, pair in zip(parts[1:], names, strict=True))
        outputs += [present for _, present in names]
        weights = net.add("Softmax", net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
        y = net.add("MatMul", weights, v)
        y = net.add("Reshape", net.add("Transpose", y, perm=[0, 2, 1, 3]), net.ints(0, 0, width))
        y = _linear(net, y, width, width, f"{stem}.out")
        if differs == "activation":
            y = net.add("Tanh", y)
        if differs == "projection":
            x = _linear(net, x, width, width, f"{stem}.projection")
        x = y if differs == "no shortcut" else net.add("Add", x, y)
        for place, node in enumerate(net.nodes[first:]):
            node.name = f"/layers.{i}/{node.op_type}_{place}"
    ln = (net.weight(width, name=f"norm.{kind}") for kind in ("weight", "bias"))
    _linear(net, net.add("LayerNormalization", x, *ln), width, 11, "head")
    _called(net, "y")
    return _declared(net.model(*outputs))


@pytest.mark.parametrize(
    "size", few([{"width": 8, "depth": 3}, {"width": 24}, {"width": 8}, {"width": 24, "depth": 6}], 2, mark="slow")
)
@pytest.mark.parametrize("odd", ["no norm", "no shortcut", "activation", "projection"])
def test_the_cache_of_a_first_block_that_differs_follows_like_all_others(odd: str, size: dict[str, int]) -> None:
    source = decoder(4, 16, odd=odd)
    assert [(len(chain.units), bool(chain.entry)) for chain in inspect(source).chains] == [(3, True)]
    assert compare(resize(source, **size).model, decoder(size.get("depth", 4), size["width"], odd=odd)) == []


@pytest.mark.parametrize("odd", ["no norm", "activation"])
def test_so_does_one_whose_names_do_not_count(odd: str) -> None:
    made = resize(decoder(4, 16, odd=odd, letters=True), width=8).model
    assert compare(made, decoder(4, 8, odd=odd, letters=True)) == []


@pytest.mark.parametrize("odd", ["activation", "projection"])
def test_and_that_of_the_last_block(odd: str) -> None:
    """It is of another kind and stays one block, as wide as the others."""
    made = resize(decoder(4, 16, odd=odd, at=3), width=8).model
    assert compare(made, decoder(4, 8, odd=odd, at=3)) == []


def test_a_cache_that_cannot_follow_is_refused_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the caches not tied, the first block would keep four heads where the others get two."""
    monkeypatch.setattr(ports, "tie_tensors", lambda *names: None)
    with pytest.raises(
        UnsupportedError, match=r"axis 1 of past\.0\.\w+ would be 4 in block 0, where block 1 has 2"
    ) as caught:
        resize(decoder(4, 16, odd="no norm"), width=8)
    assert caught.value.dim == "past.0.key.1"
    assert 'dims={"past.0.key.1": 2}' in str(caught.value)
    made = resize(decoder(4, 16, odd="no norm"), width=8, dims={"past.0.key.1": 2}).model
    assert compare(made, decoder(4, 8, odd="no norm")) == []


def test_the_proof_compares_blocks_with_each_other() -> None:
    """A block of the result that was tampered with differs from its siblings, an added one too."""
    plan = resize(decoder(3, 16), depth=4, width=8, dry_run=True).plan
    for block in (1, 3):
        rewritten = rewrite(plan)
        proof.verify(plan, rewritten)
        info = next(info for info in rewritten.proto.graph.input if info.name == f"past.{block}.key")
        info.type.tensor_type.shape.dim[3].dim_value = 8
        with pytest.raises(FrontError, match=f"past.{block}.key|present.{block}.key|cannot be|is not"):
            proof.verify(plan, rewritten)


def test_the_comparison_of_blocks_needs_no_planned_size(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resize(decoder(3, 16), depth=4, width=8, dry_run=True).plan
    rewritten = rewrite(plan)
    for info in rewritten.proto.graph.input:
        if info.name.startswith("past.3."):
            info.type.tensor_type.shape.dim[2].dim_value = 5
    monkeypatch.setattr(proof._Proof, "sizes", lambda self: None)
    with pytest.raises(FrontError, match=r"past\.\d\.key would be .* in another block"):
        proof.verify(plan, rewritten)


def _masked(width: int) -> onnx.ModelProto:
    """A table that is a mask by its contents, added to scores of six rows."""
    net = Net(random.Random(width))
    x = _linear(net, net.input(["batch", 6, 3], name="x"), 3, width, "embed")
    mask = np.triu(np.full((6, 6), -1e9, np.float32), 1)
    scores = net.add("MatMul", x, net.add("Transpose", x, perm=[0, 2, 1]))
    weights = net.add("Softmax", net.add("Add", scores, net.const(mask, name="mask")), axis=-1)
    _linear(net, net.add("MatMul", weights, x), width, 5, "head")
    return net.model(net.nodes[-1].output[0])


def test_the_proof_asks_again_what_constants_are() -> None:
    plan = resize(_masked(8), width_mult=2, dry_run=True).plan
    rewritten = rewrite(plan)
    proof.verify(plan, rewritten)
    mask = next(tensor for tensor in rewritten.proto.graph.initializer if tensor.name == "mask")
    values = np.random.default_rng(0).standard_normal((6, 6)).astype(np.float32)
    mask.CopyFrom(numpy_helper.from_array(values, "mask"))
    with pytest.raises(FrontError, match=r"mask would be read as .* and was planned as (mask|formula)"):
        proof.verify(plan, rewritten)


@pytest.mark.parametrize("block", range(3))
def test_a_number_that_does_not_follow_in_one_block_is_refused(block: int) -> None:
    """The width in the Reshape behind attention is planned for every block; here that of one is forgotten."""
    plan = resize(decoder(3, 16), width=8, dry_run=True).plan
    check_alike(plan)
    merging = [edge for edge, content in plan.contents.items() if getattr(content, "values", None) == (0, 0, 8)]
    assert len(merging) == 3
    del plan.contents[sorted(merging)[block]]
    with pytest.raises(UnsupportedError, match=rf"number 2 of \S+ would be 16 in block {block}, where block \d has 8"):
        check_alike(plan)


@pytest.mark.parametrize("block", range(3))
def test_an_attribute_that_does_not_follow_in_one_block_is_refused(block: int) -> None:
    def convolutions() -> onnx.ModelProto:
        net = Net(random.Random(1))
        x = net.add("Conv", net.input(["batch", 3, 8, 8], name="x"), net.weight(8, 3, 1, 1))
        for _ in range(3):
            y = net.add("Conv", x, net.weight(8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
            x = net.add("Add", x, net.add("Conv", net.add("Relu", y), net.weight(8, 8, 1, 1)))
        net.add("Conv", net.add("GlobalAveragePool", x), net.weight(5, 8, 1, 1))
        return net.model(net.nodes[-1].output[0])

    plan = resize(convolutions(), width=16, dry_run=True).plan
    check_alike(plan)
    assert [(name, value) for _, name, _, value in plan.attributes] == [("group", 16)] * 3
    del plan.attributes[block]
    with pytest.raises(
        UnsupportedError, match=rf"group of its node would be 8 in block {block}, where block \d has 16"
    ):
        check_alike(plan)


def test_a_declared_size_that_nothing_shows_stays_as_it_is_declared() -> None:
    """What is known at run time only has a stand-in in the analysis, which is never declared."""
    net = Net(random.Random(1))
    x = net.add("MatMul", net.input(["batch", 3], name="x"), net.weight(3, 8, name="embed"))
    net.add("MatMul", net.add("Relu", x), net.weight(8, 5, name="head"))
    net.nodes[-1].output[0] = "y"
    model = net.model("y")
    shape = model.graph.output[0].type.tensor_type.shape
    shape.Clear()
    for size in (7, 5):
        shape.dim.add().dim_value = size
    made = resize(model, dims={"embed": 16}).model
    assert [dim.dim_value for dim in made.graph.output[0].type.tensor_type.shape.dim] == [7, 5]
