"""What is said of a model does not depend on the order in which its file lists the nodes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import DIGITS
from small_graphs import Net
from small_pieces import gated_mlp, group_norm, grouped_queries, norm, positions, self_attention, shuffled
from tiers import few

from front_onnx.api import inspect
from front_onnx.axes.size import size_of
from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError
from front_onnx.plan.request import Request
from front_onnx.session import Session
from front_onnx.summary import describe_structure

EXPORTS = Path(__file__).parent / "exports"
ORDERS = 3
# Real exports take longest: the quick run has one of them, and one order of each model; the others come later.
LONG = ["digits", "keras-encoder-source", "jax-convnext-source", "jax-vit-source"]
_NUMBER = re.compile(r"_\d+\b")  # dims of one name are numbered in the order of the file


def in_another_order(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The model with its nodes in a random order in which nothing is read before it is made."""
    rng, result = random.Random(seed), onnx.ModelProto()
    result.CopyFrom(model)
    left = list(result.graph.node)
    made = {name for node in left for name in node.output}
    known: set[str] = set()
    order = []
    while left:
        ready = [node for node in left if not (_read(node) & made) - known]
        node = rng.choice(ready)
        left.remove(node)
        known.update(node.output)
        order.append(node)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in order]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def _read(node: onnx.NodeProto) -> set[str]:
    inner = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return {*node.input, *(name for graph in inner for n in graph.node for name in _read(n))}


def told(structure: Structure) -> object:
    """What `inspect` says, without the numbers that dims of one name have; and which weights have a dim."""
    about = describe_structure(structure)
    del about["fingerprint"]  # of the file
    graph = structure.graph
    dims = [
        (
            *(_NUMBER.sub("", str(value)) for value in described.values()),
            *sorted(graph.read_by(edge) for edge in dim.edges),
        )
        for described, dim in zip(about.pop("dims"), (d for d in structure.dims if d.named), strict=True)
    ]
    chains = [[sorted(map(graph.read_by, there)) for there in chain.places.values()] for chain in structure.chains]
    return about, sorted(dims), [sorted(chain) for chain in chains]


def planned(model: onnx.ModelProto, request: Request) -> object:
    """The sizes and edits of a plan, or why there is none."""
    try:
        plan = Session(model).plan(request)
    except FrontError as refusal:
        return _NUMBER.sub("", str(refusal))
    graph = plan.structure.graph
    sizes = sorted((_NUMBER.sub("", d.name), d.size, plan.sizes[d.var] * d.times) for d in plan.structure.dims)
    contents = sorted((graph.read_by(edge), str(content)) for edge, content in plan.contents.items())
    attributes = sorted((graph.nodes[node].output[0], *map(str, rest)) for node, *rest in plan.attributes)
    return sizes, plan.units, contents, attributes, sorted(_NUMBER.sub("", line) for line in plan.warnings)


def requests(structure: Structure) -> list[Request]:
    """Wider, narrower, as deep again, and at a lower ratio."""
    widths = [size_of(axis) for axis in structure.residuals if axis is not None]
    found = [
        Request(width_mult="2"),
        Request(width_mult="0.5"),
        Request(ratio=0.5),
        Request(width=widths[0] * 3 if widths else 32),
    ]
    if structure.chains:
        found.append(Request(depth=",".join(str(chain.depth + chain.layers) for chain in structure.chains)))
    return found


def _sequence(*pieces: Callable) -> onnx.ModelProto:
    net = Net(random.Random(5))
    shape = [2, 4, 12]
    x = net.add("MatMul", net.input([2, 4, 5]), net.weight(5, 12))
    for piece in pieces:
        x = piece(net, x, shape)
    net.add("MatMul", x, net.weight(12, 3))
    return net.model()


def _image(*pieces: Callable) -> onnx.ModelProto:
    net = Net(random.Random(6))
    shape = [2, 8, 6, 6]
    x = net.add("Conv", net.input([2, 3, 6, 6]), net.weight(8, 3, 3, 3), pads=[1] * 4)
    for piece in pieces:
        x = piece(net, x, shape)
    net.add("Gemm", net.add("Flatten", net.add("GlobalAveragePool", x)), net.weight(3, 8), transB=1)
    return net.model()


def branching(width: int = 6, unknown: tuple[str, ...] = ("/left/Odd", "/right/deep/Odd")) -> onnx.ModelProto:
    """Two branches of one input that meet before blocks; operators that nobody knows stand in both of them.

    The one on the left is nearer to the input. What they make has no declared shape.
    """
    rng = np.random.default_rng(0)
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def linear(name: str, x: str, n: int, m: int) -> str:
        weights.append(numpy_helper.from_array(rng.standard_normal((n, m)).astype(np.float32), f"{name}.weight"))
        nodes.append(helper.make_node("MatMul", [x, f"{name}.weight"], [f"{name}.out"], f"/{name}/MatMul"))
        return f"{name}.out"

    def odd(name: str, x: str) -> str:
        if name in unknown:
            nodes.append(helper.make_node("Odd", [x], [f"{name}.out"], name, domain="com.example"))
            return f"{name}.out"
        return x

    left = odd("/left/Odd", linear("left", "x", 5, width))
    right = linear("right.1", linear("right.0", "x", 5, 7), 7, width)
    right = odd("/right/deep/Odd", right)
    nodes.append(helper.make_node("Add", [left, right], ["met"], "/Add"))
    value = "met"
    for number in range(3):
        nodes.append(helper.make_node("Relu", [linear(f"blocks.{number}", value, width, width)], [f"r{number}"]))
        value = f"r{number}"
    linear("head", value, width, 3)
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5])],
        [helper.make_tensor_value_info("head.out", TensorProto.FLOAT, ["batch", 3])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def held_twice() -> onnx.ModelProto:
    """A size that is an axis of two inputs, is cut by a constant index and indexed by the input, in two branches."""
    net = Net(random.Random(7))
    table, places = net.input([6, 4]), net.add("Cast", net.input([3]), to=TensorProto.INT64)
    one = net.add("Gather", table, net.const([0, 2], np.int64))
    other = net.add("Gather", table, net.add("Clip", places, net.const(0, np.int64), net.const(5, np.int64)))
    both = net.add("Concat", net.add("Add", table, net.input([6, 4])), one, other, axis=0)
    net.add("MatMul", net.add("Relu", net.add("MatMul", both, net.weight(4, 8))), net.weight(8, 3))
    return net.model()


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "branches": lambda: branching(unknown=()),
    "branches that cannot be followed": branching,
    "two holds": held_twice,
    "attention": lambda: _sequence(positions, self_attention, norm, gated_mlp, self_attention, norm, gated_mlp),
    "grouped queries": lambda: _sequence(grouped_queries, norm, grouped_queries, norm),
    "groups": lambda: _image(group_norm, shuffled, group_norm, shuffled),
    "digits": lambda: onnx.load(DIGITS),
    **{path.stem: lambda path=path: onnx.load(path) for path in sorted(EXPORTS.glob("*-source.onnx"))},
}


@pytest.mark.parametrize("seeds", few([range(1), range(1, ORDERS)], 1), ids=["first", "others"])
@pytest.mark.parametrize("name", few(MODELS, lambda name: name not in LONG, mark="slow"))
def test_another_order_of_nodes_changes_nothing(name: str, seeds: range) -> None:
    model = MODELS[name]()
    structure = inspect(model)
    wanted, asked = told(structure), requests(structure)
    plans = [planned(model, request) for request in asked]
    for seed in seeds:
        other = in_another_order(model, seed)
        assert told(inspect(other)) == wanted, seed
        assert [planned(other, request) for request in asked] == plans, seed


def test_these_models_have_other_orders() -> None:
    others = [any(in_another_order(m, seed).graph.node != m.graph.node for seed in range(ORDERS))
              for m in (build() for build in MODELS.values())]  # fmt: skip
    assert sum(others) > len(others) - 2  # one is a plain line of nodes


@pytest.mark.parametrize("seed", range(ORDERS))
def test_the_unfollowed_node_nearest_to_the_input_is_blamed(seed: int) -> None:
    """Both branches end in an operator without a rule; what comes behind both of them names the first one."""
    model = in_another_order(branching(), seed)
    structure = inspect(model)
    reasons = {structure.reason(dim.frozen) for dim in structure.dims if dim.frozen is not None}
    left, right = (f"Odd {name} cannot be followed: operator Odd of com.example has no rule"
                   for name in ("/left/Odd", "/right/deep/Odd"))  # fmt: skip
    assert reasons == {left, right}
    behind = [dim for dim in structure.dims if any(structure.graph.read_by(e).startswith("blocks") for e in dim.edges)]
    assert behind and {structure.reason(dim.frozen) for dim in behind} == {left}
    assert [entry["node"] for entry in describe_structure(structure)["unfollowed"]] == ["/left/Odd", "/right/deep/Odd"]
