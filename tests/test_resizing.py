"""A resized graph runs, and every tensor in it has the shape that was planned; or it was refused."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from small_graphs import Net, analyse, assert_as_planned, assert_refused_by_plan, assert_understood, feeds_for, run_all
from small_pieces import CONVOLUTIONAL, ORDERS, SEQUENTIAL, attend, fused_qkv
from tiers import few

from front_onnx.api import inspect, resize
from front_onnx.errors import FrontError

SEEDS = 8
# Sizes are random: the quick run has one seed of each piece, the whole run three.
SOME = few(few(range(SEEDS), 3), 1, mark="slow")


def _sequence(seed: int, *pieces) -> onnx.ModelProto:
    net = Net(random.Random(seed))
    shape = [net.size(1, 2, 3), net.size(4, 5, 7), net.size(6, 8, 12)]
    x = net.add("MatMul", net.input([*shape[:2], 5]), net.weight(5, shape[-1]))
    for piece in pieces:
        x = piece(net, x, shape)
    net.add("MatMul", x, net.weight(shape[-1], 3))
    return net.model()


def _image(seed: int, *pieces) -> onnx.ModelProto:
    net = Net(random.Random(seed))
    shape = [net.size(1, 2), net.size(4, 6, 8), 6, 6]
    x = net.add("Conv", net.input([shape[0], 3, 6, 6]), net.weight(shape[1], 3, 3, 3), pads=[1] * 4)
    for piece in pieces:
        x = piece(net, x, shape)
    net.add("Gemm", net.add("Flatten", net.add("GlobalAveragePool", x)), net.weight(3, shape[1]), transB=1)
    return net.model()


def _attempt(proto: onnx.ModelProto, wanted: dict[str, int]) -> bool:
    """Resize and check; False if it was refused."""
    try:
        result = resize(proto, dims=wanted, validate=False)
    except FrontError as error:
        assert_refused_by_plan(error)
        return False
    try:
        assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))
    except Exception as error:
        pytest.fail(f"{wanted}: {type(error).__name__}: {str(error)[:600]}")
    return True


def _check(proto: onnx.ModelProto, rng: random.Random) -> dict[str, bool]:
    """Change every dim alone and all of them together; which kinds could be doubled."""
    assert_understood(analyse(proto), run_all(proto, feeds_for(proto)))
    dims = [dim for dim in inspect(proto).dims if dim.named]
    doubled: dict[str, bool] = {}
    for dim in dims:
        done = _attempt(proto, {dim.name: dim.size * 2})
        doubled[dim.kind] = doubled.get(dim.kind, True) and done
        _attempt(
            proto, {dim.name: rng.choice([dim.size + 1, dim.size * 3, max(1, dim.size // 2), max(1, dim.size - 1)])}
        )
    free = [dim for dim in dims if dim.kind != "fixed"]
    _attempt(proto, {dim.name: dim.size * 2 for dim in free})
    _attempt(proto, {dim.name: rng.choice([dim.size, dim.size * 2, dim.size * 3]) for dim in free})
    return doubled


@pytest.mark.parametrize("piece", SEQUENTIAL)
@pytest.mark.parametrize("seed", SOME)
def test_a_piece_of_a_sequence_model(piece, seed):
    doubled = _check(_sequence(seed, piece), random.Random(seed))
    assert {"inner", "residual"} & doubled.keys()
    assert all(doubled.get(kind, True) for kind in ("inner", "residual", "heads", "kv_heads", "head_dim"))


@pytest.mark.parametrize("piece", CONVOLUTIONAL)
@pytest.mark.parametrize("seed", SOME)
def test_a_piece_of_an_image_model(piece, seed):
    doubled = _check(_image(seed, piece), random.Random(seed))
    assert {"inner", "residual"} & doubled.keys()
    assert doubled.get("inner", True) and doubled.get("residual", True)


@pytest.mark.parametrize("seed", few(range(3 * SEEDS), range(0, 3 * SEEDS, 5)))
def test_pieces_in_a_row(seed):
    rng = random.Random(seed)
    build, pieces = (_sequence, SEQUENTIAL) if seed % 3 else (_image, CONVOLUTIONAL)
    _check(build(seed, *rng.choices(pieces, k=3)), rng)


@pytest.mark.parametrize("piece", [*SEQUENTIAL, *CONVOLUTIONAL])
def test_everything_at_once_by_a_factor(piece):
    for seed in range(SEEDS // 2):
        proto = (_sequence if piece in SEQUENTIAL else _image)(seed, piece)
        try:
            result = resize(proto, width_mult=2, validate=False)
        except FrontError:
            continue
        assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))


HEADS_APART = {  # weights of q, k and v, the projections, the scores, the values, the way out
    "all": (("hcd", "hcd"), "bthd,bshd->bhts", "bhts,bshd->bthd", "bthd,hdc->btc"),
    "one key head": (("hcd", "cd"), "bthd,bsd->bhts", "bhts,bsd->bthd", "bthd,hdc->btc"),
    "groups": (("kgcd", "kcd"), "btkgd,bskd->bkgts", "bkgts,bskd->btkgd", "btkgd,kgdc->btc"),
}


@pytest.mark.parametrize("kind", HEADS_APART)
@pytest.mark.parametrize("matmul", [False, True])
def test_heads_on_axes_of_their_own(kind, matmul):
    """Heads scale, their size stays, whichever axes of the weights they are."""
    (query, key), scores, values, out = HEADS_APART[kind]
    if matmul and kind != "all":
        pytest.skip("written with Einsum only")
    sizes = {"b": 2, "t": 5, "c": 12, "h": 4, "k": 4, "g": 3, "d": 6}
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([2, 5, 7]), net.weight(7, 12))
    made = []
    for letters in (query, key, key):
        equation = f"btc,{letters}->bt{letters.replace('c', '')}"
        made.append(net.add("Einsum", x, net.weight(*(sizes[i] for i in letters)), equation=equation))
    q, k, v = made
    if matmul:
        q, v = (net.add("Transpose", a, perm=[0, 2, 1, 3]) for a in (q, v))
        score = net.add("Softmax", net.add("MatMul", q, net.add("Transpose", k, perm=[0, 2, 3, 1])))
        y = net.add("Transpose", net.add("MatMul", score, v), perm=[0, 2, 1, 3])
    else:
        score = net.add("Softmax", net.add("Einsum", q, k, equation=scores))
        y = net.add("Einsum", score, v, equation=values)
    last = out.split(",")[1].split("-")[0]
    y = net.add("Einsum", y, net.weight(*(sizes[i] for i in last)), equation=out)
    net.add("MatMul", net.add("Add", x, y), net.weight(12, 3))
    proto = net.model()
    result = resize(proto, width_mult=2, validate=False)
    changed = {d.size: result.plan.sizes[d.var] * d.times for d in result.plan.structure.dims}
    assert changed[4] == 8 and changed[6] == 6 and changed[12] == 24 and changed.get(3, 3) == 3
    assert_as_planned(result.plan, run_all(result.model, feeds_for(result.model)))


@pytest.mark.parametrize("channels_last", [False, True])
def test_groups_of_a_statistic_are_kept(channels_last):
    """A group normalisation in small operators: the number of groups stays, channels per group scale."""
    net = Net(random.Random(0))
    x = net.add("Conv", net.input([2, 3, 5, 5]), net.weight(12, 3, 1, 1))
    axes, whole, apart = (
        ([1, 2, 4], [2, 5, 5, 12], [2, 5, 5, 4, 3]) if channels_last else ([2, 3], [2, 12, 25], [2, 4, 3, 25])
    )
    if channels_last:
        x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    grouped = net.add("Reshape", x, net.ints(*apart))
    x = net.add("Reshape", net.add("Sub", grouped, net.add("ReduceMean", grouped, net.ints(*axes))), net.ints(*whole))
    x = net.add("Transpose", x, perm=[0, 3, 1, 2]) if channels_last else net.add("Reshape", x, net.ints(2, 12, 5, 5))
    net.add("Conv", net.add("Relu", x), net.weight(7, 12, 1, 1))
    plan = resize(net.model(), width_mult=2, validate=False).plan
    assert {d.size: plan.sizes[d.var] for d in plan.structure.dims if d.size in (3, 4) and d.kind != "fixed"} == {
        3: 6,
        4: 4,
    }


@pytest.mark.parametrize("way", ["gather", "split", "slice"])
@pytest.mark.parametrize("change", [{"heads": 6}, {"head_dim": 8}, {"heads": 2, "head_dim": 3}])
def test_the_order_of_fused_factors_does_not_matter(way, change):
    """One weight written in three orders is one model, before resizing and after."""
    b, t, width, heads, d = 2, 5, 7, 3, 4
    weight = np.random.default_rng(0).normal(size=(width, 3, heads, d)).astype(np.float32)
    before, after = [], []
    for order in ORDERS:
        net = Net(random.Random(0))
        arranged = weight.transpose(0, *(1 + "3hd".index(letter) for letter in order))
        qkv = net.add("MatMul", net.input([b, t, width]), net.const(arranged.reshape(width, -1)))
        parts = fused_qkv(net, qkv, [b, t, 3 * heads * d], heads, order, way)
        net.add("Reshape", attend(net, *parts, d), net.ints(b, t, heads * d))
        last = net.nodes[-1].output[0]
        net.add("MatMul", last, net.const(np.random.default_rng(1).normal(size=(heads * d, 3)), np.float32))
        proto = net.model()
        result = resize(proto, dims=change, validate=False)
        before.append(run_all(proto, feeds_for(proto))[net.nodes[-1].output[0]])
        after.append(run_all(result.model, feeds_for(result.model))[net.nodes[-1].output[0]])
    for made in (before, after):
        np.testing.assert_allclose(made[1], made[0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(made[2], made[0], rtol=1e-3, atol=1e-5)
