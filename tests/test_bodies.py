"""Bodies of If, Loop and Scan: stacked layers become what separate ones become; what cannot be followed is refused."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small import run
from small_graphs import Net, feeds_for, run_all

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError, RequestError
from front_onnx.write import verify as proof
from front_onnx.write.rewrite import rewrite

DEPTH, WIDTH, ROWS = 3, 8, 5

Index = Callable[[Net, str], str]


def _weights() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return (
        rng.standard_normal((DEPTH, WIDTH, WIDTH)).astype(np.float32) / 3,
        rng.standard_normal((DEPTH, WIDTH)).astype(np.float32),
    )


def _layer(net: Net, x: str, w: str, b: str) -> str:
    return net.add("Add", x, net.add("Tanh", net.add("Add", net.add("MatMul", x, w), b)))


def _stem(net: Net) -> str:
    return net.add("MatMul", net.input([ROWS, 4]), net.const(np.ones((4, WIDTH)), np.float32, "stem"))


def _head(net: Net, x: str) -> onnx.ModelProto:
    weight = np.random.default_rng(5).standard_normal((WIDTH, 6))
    return net.model(net.add("MatMul", x, net.const(weight, np.float32, "head")))


def unrolled() -> onnx.ModelProto:
    """Every layer with tensors of its own."""
    net = Net(random.Random(0))
    x = _stem(net)
    for number, (w, b) in enumerate(zip(*_weights(), strict=True)):
        x = _layer(net, x, net.const(w, name=f"layers.{number}.w"), net.const(b, name=f"layers.{number}.b"))
    return _head(net, x)


def looped(
    index: Index = lambda net, i: i,
    *,
    trips: int = DEPTH,
    inside: bool = False,
    more: Callable[[Net, str, str], str] = lambda net, x, i: x,
    goes_on: Callable[[Net, str, str], str] = lambda net, going, i: net.add("Identity", going),
) -> onnx.ModelProto:
    """A Loop that picks its layer by number."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    i, going, y = body.input([], np.int64), body.input([], bool), body.input(None)
    holder = body if inside else net
    place = index(body, i)
    w, b = (body.add("Gather", holder.const(array), place) for array in _weights())
    y = more(body, _layer(body, y, w, b), i)
    graph = body.body(goes_on(body, going, i), y)
    return _head(net, net.add("Loop", net.const(trips, np.int64), net.const(True, bool), x, body=graph))


def scanned() -> onnx.ModelProto:
    """A Scan over the layers."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    y, w, b = (body.input(None) for _ in range(3))
    graph = body.body(_layer(body, y, w, b))
    return _head(net, net.add("Scan", x, *map(net.const, _weights()), body=graph, num_scan_inputs=2))


def outputs(model: onnx.ModelProto) -> np.ndarray:
    return [*run_all(model, feeds_for(model)).values()][-1]


@pytest.mark.parametrize("scale", ["auto", "amp", "ortho"])
@pytest.mark.parametrize("asked", [{"depth": 5}, {"depth": 2}, {"width": 4}, {"depth": 4, "width": 12, "ratio": 0.7}])
@pytest.mark.parametrize("build", [looped, lambda: looped(inside=True), scanned], ids=["loop", "inside", "scan"])
def test_stacked_layers_become_what_separate_layers_become(build, asked, scale):
    separate, stacked = unrolled(), build()
    np.testing.assert_allclose(outputs(stacked), outputs(separate), rtol=1e-5)
    wanted = outputs(resize(separate, **asked, scale=scale, validate=False).model)
    got = outputs(resize(stacked, **asked, scale=scale, validate=False).model)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [looped, lambda: looped(inside=True), scanned], ids=["loop", "inside", "scan"])
def test_a_stack_is_one_chain_and_nothing_asked_changes_nothing(build):
    model = build()
    (chain,) = inspect(model).chains
    assert (chain.depth, len(chain.places)) == (DEPTH, 2)
    assert resize(model, validate=False).model == model


def shared() -> onnx.ModelProto:
    """A Loop that runs one layer again and again."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    _, going, y = body.input([], np.int64), body.input([], bool), body.input(None)
    w, b = (net.const(array[0]) for array in _weights())
    graph = body.body(body.add("Identity", going), _layer(body, y, w, b))
    return _head(net, net.add("Loop", net.const(DEPTH, np.int64), net.const(True, bool), x, body=graph))


@pytest.mark.parametrize("method", ["lossless", "zero"])
@pytest.mark.parametrize("asked", [{"depth": 4}, {"depth": 7}, {"depth": 5, "width": 16}])
@pytest.mark.parametrize("build", [looped, lambda: looped(inside=True), scanned], ids=["loop", "inside", "scan"])
def test_new_layers_of_a_stack_add_nothing(build, asked, method):
    """What a layer adds last is zero where the new ones are stacked."""
    how = method if method == "lossless" else "depth=zero,width=duplicate"
    result = resize(build(), **asked, method=how)
    assert not [warning for warning in result.plan.warnings if "exact" in warning or "empty" in warning]
    np.testing.assert_allclose(outputs(result.model), outputs(build()), rtol=1e-4, atol=1e-5)
    with pytest.raises(RequestError, match=r"only adds blocks \(dim loop1, got 2, wanted 3 or more\)"):
        resize(build(), depth=2, method=method)


def grouped() -> onnx.ModelProto:
    """A Scan over groups of layers, each a Scan over its layers."""
    net = Net(random.Random(0))
    x = _stem(net)
    outer = net.inner("outer")
    state, w, b = (outer.input(None) for _ in range(3))
    body = outer.inner("body")
    graph = body.body(_layer(body, *(body.input(None) for _ in range(3))))
    made = outer.body(outer.add("Scan", state, w, b, body=graph, num_scan_inputs=2))
    stacks = [net.const(np.stack([array, array[::-1]])) for array in _weights()]
    return _head(net, net.add("Scan", x, *stacks, body=made, num_scan_inputs=2))


@pytest.mark.parametrize("depth", [[4, 2], [3, 5], [4, 6]])
def test_new_groups_of_layers_add_nothing(depth):
    result = resize(grouped(), depth=depth, method="lossless")
    assert [after for _, after in result.plan.depths] == depth and not result.plan.warnings
    np.testing.assert_allclose(outputs(result.model), outputs(grouped()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lossless", "zero"])
def test_a_layer_that_is_run_again_is_never_empty(method):
    """All blocks are the one: that is told, and fewer are refused as of any other chain."""
    said = resize(shared(), depth=4, method=method).plan.warnings
    assert any(warning.startswith("loop1: not exact" if method == "lossless" else "loop1: new") for warning in said)
    with pytest.raises(RequestError, match=r"only adds blocks \(dim loop1, got 2, wanted 3 or more\)"):
        resize(shared(), depth=2, method=method)


def test_what_a_body_makes_of_each_layer_comes_back(tmp_path):
    """An output that has an entry for each layer: those of the layers that the source has are its own."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    y, w, b = (body.input(None) for _ in range(3))
    made = _layer(body, y, w, b)
    graph = body.body(made, body.add("ReduceMean", made, keepdims=0))
    ends = net.add("Scan", x, *map(net.const, _weights()), body=graph, num_scan_inputs=2, outputs=2)
    source = net.model(*ends)
    onnx.save(source, tmp_path / "source.onnx")
    result = resize(tmp_path / "source.onnx", depth=5, method="lossless", output=tmp_path / "deep.onnx")
    assert result.agreement is not None and len(result.agreement.differences) == 2 and result.agreement.worst < 1e-6
    states, (decoder,) = outputs(onnx.load(tmp_path / "deep.onnx")), np.load(result.decoder).values()
    np.testing.assert_allclose(decoder @ states, outputs(source), rtol=1e-5)


def test_layers_run_less_often_than_there_are_keep_their_number():
    with pytest.raises(FrontError, match="the number of an iteration is an index"):
        resize(looped(trips=2), depth=3, validate=False)


def backwards(net: Net, i: str) -> str:
    return net.add("Sub", net.const(DEPTH - 1, np.int64), i)


def scaled(net: Net, x: str, i: str) -> str:
    return net.add("Mul", x, net.add("Cast", i, to=1))


def first_only(net: Net, x: str, i: str) -> str:
    return net.add("Where", net.add("Equal", i, net.const(0, np.int64)), x, net.add("Neg", x))


@pytest.mark.parametrize(
    "model",
    [
        looped(backwards),
        looped(lambda net, i: net.add("Div", i, net.const(2, np.int64))),
        looped(more=scaled),
        looped(more=first_only),
    ],
    ids=["backwards", "in pairs", "scaled", "first only"],
)
def test_the_number_of_an_iteration_is_no_depth_where_it_is_computed_with(model):
    with pytest.raises(FrontError, match=r"the number of (an|the) iteration"):
        resize(model, depth=2, validate=False)
    result = resize(model, width=4, validate=False)
    assert outputs(result.model).shape == (ROWS, 6)


def test_a_loop_that_may_end_early_has_no_depth():
    model = looped(goes_on=lambda net, going, i: net.add("Less", i, net.const(1, np.int64)))
    assert not inspect(model).chains
    with pytest.raises(FrontError, match="no repeated block"):
        resize(model, depth=2, validate=False)


@pytest.mark.parametrize(("kind", "why"), [(np.int64, "a whole number is carried"), (np.float32, "picks one of")])
def test_a_counter_that_is_carried_keeps_the_depth(kind, why):
    """The body picks its layer by a number that it counts itself: how far, nobody sees."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    _, going, y, n = body.input([], np.int64), body.input([], bool), body.input(None), body.input([], kind)
    w, b = (body.add("Gather", net.const(array), body.add("Cast", n, to=7)) for array in _weights())
    graph = body.body(body.add("Identity", going), _layer(body, y, w, b), body.add("Add", n, body.const(1, kind)))
    start = net.const(0, kind)
    y, _ = net.add("Loop", net.const(DEPTH, np.int64), "", x, start, body=graph, outputs=2)
    model = _head(net, y)
    with pytest.raises(FrontError, match=why):
        resize(model, depth=2, validate=False)
    assert outputs(resize(model, width=4, validate=False).model).shape == (ROWS, 6)


def test_a_state_that_grows_is_refused_by_name():
    model = looped(more=lambda net, x, i: net.add("Concat", x, x, axis=0))
    with pytest.raises(FrontError, match="Loop"):
        resize(model, width=4, validate=False)


def test_a_loop_over_the_width_is_no_chain():
    """It runs once for each feature, so its length is the width and no depth."""
    net = Net(random.Random(0))
    x = _stem(net)
    body = net.inner("body")
    i, going, y = body.input([], np.int64), body.input([], bool), body.input(None)
    picked = body.add("Unsqueeze", body.add("Gather", x, i, axis=1), body.ints(1))
    y = body.add("Add", body.add("MatMul", y, net.weight(WIDTH, WIDTH)), picked)
    graph = body.body(body.add("Identity", going), y)
    model = _head(net, net.add("Loop", net.const(WIDTH, np.int64), "", x, body=graph))
    assert not inspect(model).chains
    result = resize(model, width_mult="1/2", validate=False)
    trips = next(t for t in result.model.graph.initializer if t.name == model.graph.node[1].input[0])
    assert numpy_helper.to_array(trips) == WIDTH // 2


def _branches(condition: Callable[[Net, str], str]) -> onnx.ModelProto:
    net = Net(random.Random(0))
    x = _stem(net)
    graphs = []
    for name in ("then", "else"):
        body = net.inner(name)
        graphs.append(body.body(body.add("Add", x, body.add("MatMul", x, body.weight(WIDTH, WIDTH)))))
    return _head(net, net.add("If", condition(net, x), then_branch=graphs[0], else_branch=graphs[1]))


def test_a_branch_that_a_size_chooses_stays_chosen():
    def as_wide(net: Net, x: str) -> str:
        size = net.add("Gather", net.add("Shape", x), net.const(1, np.int64))
        return net.add("Equal", size, net.const(WIDTH, np.int64))

    with pytest.raises(FrontError, match="a branch chosen by shape arithmetic"):
        resize(_branches(as_wide), width_mult="1/2", validate=False)
    result = resize(_branches(lambda net, x: net.input([], bool)), width_mult="1/2", validate=False)
    assert outputs(result.model).shape == (ROWS, 6)


def test_bodies_side_by_side_may_share_names():
    model = _branches(lambda net, x: net.input([], bool))
    for graph in (attr.g for node in model.graph.node for attr in node.attribute if attr.HasField("g")):
        for named in (*graph.initializer, *graph.output):
            named.name = named.name.replace("then.", "both.").replace("else.", "both.")
        for node in graph.node:
            for slots in (node.input, node.output):
                for slot, name in enumerate(slots):
                    slots[slot] = name.replace("then.", "both.").replace("else.", "both.")
    result = resize(model, width_mult="1/2", validate=False)
    wanted = resize(_branches(lambda net, x: net.input([], bool)), width_mult="1/2", validate=False)
    np.testing.assert_allclose(outputs(result.model), outputs(wanted.model), rtol=1e-6)


def test_frequencies_given_to_a_body_are_no_weights():
    """Sines and cosines of what is computed from a series are computed anew, wherever they are taken."""
    net = Net(random.Random(0))
    x = net.input([ROWS, 1])
    body = net.inner("body")
    _, going, total, table = body.input([], np.int64), body.input([], bool), body.input(None), body.input(None)
    waves = body.add("Sin", body.add("Mul", x, table))
    added = body.add("Add", total, body.add("MatMul", waves, net.weight(WIDTH, WIDTH)))
    graph = body.body(body.add("Identity", going), added, body.add("Identity", table))
    series = net.const(10000.0 ** (-np.arange(WIDTH) / WIDTH), np.float32, "series")
    start = net.const(np.zeros((ROWS, WIDTH)), np.float32)
    y, _ = net.add("Loop", net.const(DEPTH, np.int64), "", start, series, body=graph, outputs=2)
    result = resize(_head(net, y), width_mult="1/2", validate=False).model
    table = next(numpy_helper.to_array(t) for t in result.graph.initializer if t.name == "series")
    np.testing.assert_allclose(table, 10000.0 ** (-np.arange(WIDTH // 2) / (WIDTH // 2)), rtol=1e-5)


def test_the_proof_reads_bodies():
    model = looped(more=lambda net, x, i: net.add("Reshape", x, net.ints(ROWS, WIDTH)))
    plan = resize(model, width=4, dry_run=True).plan
    rewritten = rewrite(plan)
    proof.verify(plan, rewritten)
    body = next(attr.g for node in rewritten.proto.graph.node for attr in node.attribute if attr.HasField("g"))
    next(tensor for tensor in body.initializer if tensor.dims == [2]).CopyFrom(
        numpy_helper.from_array(np.array([ROWS, WIDTH]), body.initializer[0].name)
    )
    with pytest.raises(FrontError, match="does not hold together"):
        proof.verify(plan, rewritten)


SQUEEZED = """
    <ir_version: 8, opset_import: ["" : 17]>
    squeezed (float[batch, 1, 5] x) => (float[batch, 3] y) <int64 one = {1}, int64[1] axis = {1}> {
        h = MatMul(x, up)
        shape = Shape(h)
        side = Gather<axis = 0>(shape, one)
        alone = Equal(side, one)
        flat = If(alone) <
            then_branch = taken () => (float[batch, 8] a) { a = Squeeze(h, axis) },
            else_branch = other () => (float[batch, 1, 8] b) { b = Identity(h) }
        >
        y = MatMul(flat, down)
    }
"""


@pytest.mark.parametrize("names", [("taken", "other"), ("other", "taken")])
def test_a_branch_that_ranks_and_fixed_sizes_decide(names: tuple[str, str]) -> None:
    """What TorchScript makes of `squeeze(1)`: the other branch has another rank, and is never taken."""
    source = onnx.parser.parse_model(SQUEEZED)
    rng = np.random.default_rng(0)
    for name, shape in (("up", (5, 8)), ("down", (8, 3))):
        source.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    (node,) = (node for node in source.graph.node if node.op_type == "If")
    if names[0] == "other":  # the same, asked the other way round
        turned = onnx.helper.make_node("Not", ["alone"], ["several"])
        source.graph.node.insert([*source.graph.node].index(node), turned)
        (node,) = (node for node in source.graph.node if node.op_type == "If")
        node.input[0] = "several"
        branches = {attribute.name: attribute.g for attribute in node.attribute}
        swapped = onnx.helper.make_node(
            "If", node.input, node.output, then_branch=branches["else_branch"], else_branch=branches["then_branch"]
        )
        node.CopyFrom(swapped)
    made = resize(source, width_mult=2, method="lossless").model
    assert isinstance(made, onnx.ModelProto)
    assert {tuple(tensor.dims) for tensor in made.graph.initializer} >= {(5, 16), (16, 3)}
    feed = {"x": rng.normal(size=(4, 1, 5)).astype(np.float32)}
    np.testing.assert_allclose(run(made, feed)[0], run(source, feed)[0], rtol=1e-4, atol=1e-5)
