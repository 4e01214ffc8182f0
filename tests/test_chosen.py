"""Chains by hand: `--block` names one unit, and the rest follows or is refused with the node that does not repeat."""

from __future__ import annotations

import random

import onnx
import pytest
from small import DIGITS, run, unsigned, weights
from small_graphs import Net, feeds_for, run_all
from test_blocks import assert_native, nameless, staged, transformer, weighted

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError

BLOCK = "/blocks.{}/norm1/LayerNormalization../blocks.{}/Add_1"


def refusal(proto: object, block: object) -> FrontError:
    with pytest.raises(FrontError) as caught:
        inspect(proto, block=block)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    return caught.value


def reader(proto: onnx.ModelProto, weight: str) -> str:
    """The node that reads a weight."""
    return next(node.name for node in proto.graph.node if weight in node.input)


@pytest.mark.parametrize("unit", [0, 2, 5])
def test_any_unit_stands_for_all(unit: int) -> None:
    (chain,), (found,) = inspect(DIGITS, block=BLOCK.format(unit, unit)).chains, inspect(DIGITS).chains
    assert (chain.name, chain.depth, chain.places) == (found.name, found.depth, found.places)


def test_the_result_is_what_the_tool_finds_by_itself() -> None:
    source = onnx.load(DIGITS)
    mine, found = (resize(source, depth=3, width=24, block=b, validate=False).model for b in (BLOCK.format(1, 1), None))
    assert unsigned(mine) == unsigned(found)


def test_a_unit_of_several_layers_counts_as_one() -> None:
    source = onnx.load(DIGITS)
    structure = inspect(source, block=BLOCK.format(2, 3))
    assert [chain.depth for chain in structure.chains] == [3]
    result = resize(source, depth=2, block=BLOCK.format(2, 3)).model
    assert sum("attn.proj.weight" in name for name in weights(result)) == 4


def test_tensors_name_a_unit_by_what_it_reads_and_makes() -> None:
    structure = inspect(DIGITS, block="/blocks.0/Add_1_output_0../blocks.1/Add_1_output_0")
    assert [chain.depth for chain in structure.chains] == [6]


@pytest.mark.parametrize("pre", [True, False])
def test_models_without_names_are_told_by_their_tensors(pre: bool) -> None:
    source = nameless(transformer(3, pre=pre))
    (found,) = inspect(source).chains
    (chain,) = inspect(source, block=f"{found.start_of(1)}..{found.start_of(2)}").chains
    assert chain.places == found.places


def test_where_a_unit_begins_is_the_users_choice() -> None:
    """Rotated by half a layer: the feed-forward part first, the attention of the next layer behind it.

    The attention before the first unit and the feed-forward part behind the last make one more layer.
    """
    source = transformer(4, pre=True)
    block = f"{reader(source, 'layer.0.ln2.weight')}..{reader(source, 'layer.1.out.bias')}"
    (chain,) = inspect(source, block=block).chains
    assert chain.depth == 4 and len(chain.units) == 3
    result = resize(source, depth=2, block=block, validate=False).model
    assert weighted(result) == weighted(transformer(2))
    run_all(result, feeds_for(result))


def test_one_block_for_each_chain() -> None:
    source = staged([4, 3])
    tails = [node.output[0] for node in source.graph.node if node.op_type == "Relu"]
    blocks = [f"{tails[i]}..{tails[i + 2]}" for i in (9, 1)]  # two in a block: what the second block reads and makes
    assert [chain.depth for chain in inspect(source, block=blocks).chains] == [4, 3]
    assert [chain.depth for chain in inspect(source, block=blocks[0]).chains] == [3]
    assert_native(source, staged([2, 5]), depth=[2, 5], block=blocks)


def side_by_side() -> onnx.ModelProto:
    """Two stacks behind one input, each with an output of its own."""
    net = Net(random.Random(0))
    x = net.input([2, 6], name="x")
    tails = []
    for name, depth in (("big", 4), ("small", 3)):
        y = x
        for i in range(depth):
            y = net.add("MatMul", net.add("Relu", y), net.weight(6, 6, name=f"{name}.{i}.w"))
        tails.append(net.add("MatMul", y, net.weight(6, 2, name=f"{name}.head")))
    return net.model(*tails)


def test_a_stack_that_leads_to_another_output() -> None:
    """Of the chains that lead to several outputs, the user may point at one."""
    source = side_by_side()
    assert [chain.depth for chain in inspect(source).chains] == [4, 3]
    product = next(node for node in source.graph.node if "small.1.w" in node.input)
    relu = next(node.name for node in source.graph.node if node.output[0] == product.input[0])
    (chain,) = inspect(source, block=f"{relu}..{product.name}").chains
    assert (chain.depth, chain.name) == (3, "small")
    result = resize(source, depth=5, block=f"{relu}..{product.name}", validate=False).model
    assert {f"small.{i}.w" for i in range(5)} | {f"big.{i}.w" for i in range(4)} <= set(weights(result))
    run(result, feeds_for(result))


def test_where_branches_go_on_the_unit_repeats_most_often() -> None:
    """Behind the trunk, the branch with most work has one unit more, the other has three."""
    net = Net(random.Random(0))

    def block(x: str, name: str) -> str:
        return net.add("Relu", net.add("MatMul", x, net.weight(6, 6, name=f"{name}.w")))

    x = net.add("MatMul", net.input([2, 5]), net.weight(5, 6))
    for i in range(2):
        x = block(x, f"trunk.{i}")
    one, three = block(x, "one"), x
    for _ in range(4):
        one = net.add("MatMul", net.add("Sigmoid", one), net.weight(6, 6))
    for i in range(3):
        three = block(three, f"three.{i}")
    source = net.model(*(net.add("MatMul", end, net.weight(6, 2)) for end in (one, three)))
    product = next(node for node in source.graph.node if "trunk.0.w" in node.input)
    relu = next(node for node in source.graph.node if product.output[0] in node.input)
    (chain,) = inspect(source, block=f"{product.name}..{relu.name}").chains
    assert chain.depth == 5


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "..", "a", "a..", "..b", "a.b"])
def test_a_block_has_two_ends(text: str) -> None:
    assert "NODE..NODE" in str(refusal(DIGITS, [text]))


def test_unknown_names_come_with_the_nearest_ones() -> None:
    line = str(refusal(DIGITS, BLOCK.format(0, 0).replace("Normalization", "Normalisation")))
    assert "/blocks.0/norm1/LayerNormalisation" in line and "/blocks.0/norm1/LayerNormalization" in line


def test_the_end_comes_before_the_beginning() -> None:
    assert "before its beginning" in str(refusal(DIGITS, BLOCK.format(3, 1)))


def test_names_that_stand_for_several_nodes() -> None:
    source = transformer(3)
    for node in source.graph.node:
        node.name = "same"
    assert "name the tensors" in str(refusal(source, "same..same"))


def test_what_does_not_repeat_is_named() -> None:
    """The last block with the norm behind it; half a block, which the other half follows."""
    error = refusal(DIGITS, "/blocks.5/norm1/LayerNormalization../norm/LayerNormalization")
    assert error.node == "/Gather_1" and "LayerNormalization [48] [48]" in str(error.wanted)
    error = refusal(DIGITS, "/blocks.0/norm1/LayerNormalization../blocks.0/Add")
    assert error.node == "/blocks.0/mlp/fc1/MatMul" and error.got == "MatMul [48, 192]"
    assert error.wanted == "MatMul [48, 144] like /blocks.0/attn/qkv/MatMul"


def test_a_tensor_that_other_data_passes_by() -> None:
    error = refusal(DIGITS, "/blocks.0/norm1/LayerNormalization_output_0../blocks.1/norm1/LayerNormalization_output_0")
    assert "/blocks.0/norm1/LayerNormalization_output_0" in str(error) and error.hint


def test_nodes_off_the_way_of_the_data() -> None:
    source = transformer(3)
    sizes = next(node.name for node in source.graph.node if node.op_type == "Concat")
    assert sizes in str(refusal(source, f"{sizes}..{sizes}"))


def test_two_units_of_one_chain() -> None:
    assert "two units" in str(refusal(DIGITS, [BLOCK.format(0, 0), BLOCK.format(2, 2)]))
