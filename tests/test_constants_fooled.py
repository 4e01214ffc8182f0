"""Constants that look like weights and are none, and numbers that look like sizes and are none, or the other way round.

Each model is written in several spellings; what it has to hold at another size is what its formula gives there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import constants
from tiers import few

from front_onnx.api import inspect, resize
from front_onnx.constants.kinds import Kind
from front_onnx.constants.patterns import (
    are_curves,
    is_filter_bank,
    is_series,
    is_smooth,
    is_toeplitz,
    oscillates,
    two_values,
)
from front_onnx.errors import FrontError

T, H = 9, 24  # places, width


class Net:
    """A graph that is written node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[TensorProto] = []

    def const(self, value: Any, name: str = "", dtype: Any = np.float32) -> str:
        """A constant of a name that says which it is, or of any name."""
        name = name or f"c{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int, name: str = "") -> str:
        return self.const(self.rng.standard_normal(shape) * 0.2, name or f"w{len(self.held)}")

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"/{kind}{len(self.nodes)}", **attributes))
        return name

    def linear(self, x: str, n: int, m: int, bias: bool = True) -> str:
        y = self.add("MatMul", x, self.weight(n, m))
        return self.add("Add", y, self.weight(m)) if bias else y

    def model(self, y: str, classes: int, features: int = 7, places: int | str = "s") -> onnx.ModelProto:
        """The model from x [places, features] to y [places, classes]."""
        graph = helper.make_graph(
            self.nodes,
            "fooled",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [places, features])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, [places, classes])],
            self.held,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def net_of(block: Callable[[Net, str, int], str], *, depth: int = 4, width: int = H, places: int | str = "s") -> Any:
    """`depth` residual blocks of a width between an embedding and a head: block(net, x, number) is added to x."""
    net = Net()
    x = net.linear("x", 7, width)
    for number in range(depth):
        x = net.add("Add", x, block(net, x, number))
    return net.model(net.linear(x, width, 3), 3, places=places)


def ffn(net: Net, x: str, width: int) -> str:
    return net.linear(net.add("Relu", net.linear(x, width, 2 * width)), 2 * width, width)


def attention(
    net: Net, x: str, width: int, heads: int = 1, scores: Callable[[Net, str, str], str] | None = None, mask: str = ""
) -> str:
    """Attention over [s, width]; `scores` makes them of queries [heads, s, d] and turned keys [heads, d, s]."""
    size = width // heads
    shape = net.const([-1, heads, size], dtype=np.int64)
    q, k, v = (
        net.add("Transpose", net.add("Reshape", net.linear(x, width, width), shape), perm=perm)
        for perm in ([1, 0, 2], [1, 2, 0], [1, 0, 2])
    )
    scored = scores(net, q, k) if scores else net.add("Mul", net.add("MatMul", q, k), net.const(size**-0.5))
    if mask:
        scored = net.add("Add", scored, mask)
    mixed = net.add("Transpose", net.add("MatMul", net.add("Softmax", scored, axis=-1), v), perm=[1, 0, 2])
    joined = net.add("Reshape", mixed, net.const([-1, width], dtype=np.int64))
    return net.linear(joined, width, width)


def resized(model: onnx.ModelProto, **request: Any) -> dict[str, np.ndarray]:
    """The constants of the resized model, which passes all checks."""
    result = resize(model, **request)
    assert result.validation is not None and result.validation.passed
    return constants(result.model)


def numbers(held: dict[str, np.ndarray]) -> set[float]:
    return {round(float(a.reshape(-1)[0]), 5) for a in held.values() if a.size == 1 and a.dtype.kind == "f"}


def kinds(model: onnx.ModelProto) -> dict[str, Kind]:
    """What every constant of a model is."""
    found = inspect(model)
    return {found.graph.read_by(edge): found.constants[edge].kind for edge in found.analysis.uses}


# -- masks, windows, bins ---------------------------------------------------------------------------------------------


def local(reach: int, low: float) -> np.ndarray:
    away = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    return np.where(away <= reach, 0.0, low).astype(np.float32)


ALTERNATING = [
    (low, request_) for low in (-1e4, -1e9, -np.inf) for request_ in ({"depth": 6}, {"depth": 2}, {"ratio": 0.67})
]


@pytest.mark.parametrize(("low", "request_"), few(ALTERNATING, ALTERNATING[::4], mark="slow"))
def test_masks_that_alternate_stay_what_they_are(low: float, request_: dict[str, Any]) -> None:
    def block(net: Net, x: str, number: int) -> str:
        reach = 1 if number % 2 == 0 else 5
        return attention(net, x, H, mask=net.const(local(reach, low), f"mask.{number}"))

    model = net_of(block, places=T)
    masks = [a for a in resized(model, **request_).values() if a.shape == (T, T)]
    known = {local(1, low).tobytes(), local(5, low).tobytes()}
    assert {mask.tobytes() for mask in masks} == known
    nodes = resize(model, **request_).model.graph.node
    depth = request_.get("depth", 4)
    read = [n.input[1] for n in nodes if n.op_type == "Add" and n.input[1].startswith("mask")]
    held = constants(resize(model, **request_).model)
    assert [held[name].tobytes() == local(1, low).tobytes() for name in read] == [i % 2 == 0 for i in range(depth)]


@pytest.mark.parametrize("compare", ["Greater", "Less"])
def test_windows_that_alternate_stay_what_they_are(compare: str) -> None:
    def block(net: Net, x: str, number: int) -> str:
        away = net.const(np.abs(np.subtract.outer(np.arange(T), np.arange(T))), f"away.{number}")
        reach = net.const(1.0 if number % 2 == 0 else 512.0, f"reach.{number}")
        far = net.add(compare, *((away, reach) if compare == "Greater" else (reach, away)))
        mask = net.add("Where", far, net.const(-1e4), net.const(0.0))
        return attention(net, x, H, mask=mask)

    result = resize(net_of(block, places=T), depth=6)
    assert numbers(constants(result.model)) - {-1e4, 0.0, round(H**-0.5, 5)} == {1.0, 512.0}
    assert any("in turn" in warning for warning in result.plan.warnings)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("made", "join"),
    [(np.tril, "Mul"), (np.triu, "Mul"), (lambda a: np.eye(len(a)), "Add"), (lambda a: 0.3 * np.eye(len(a)), "Add")],
)
def test_triangles_and_identities_are_those_of_the_new_size(made: Any, join: str, first: bool) -> None:
    def block(net: Net, x: str, number: int) -> str:
        fixed = net.const(made(np.ones((H, H))), f"fixed.{number}")
        weight = net.weight(H, H)
        both = net.add(join, *((fixed, weight) if first else (weight, fixed)))
        return net.linear(net.add("Relu", net.add("MatMul", x, both)), H, H)

    held = resized(net_of(block), width=30)
    for name in (name for name in held if name.startswith("fixed")):
        np.testing.assert_array_equal(held[name], made(np.ones((30, 30))).astype(np.float32))


def _hadamard(size: int) -> np.ndarray:
    table = np.ones((1, 1))
    while len(table) < size:
        table = np.block([[table, table], [table, -table]])
    return table


@pytest.mark.parametrize(
    "table",
    [
        _hadamard(32) / 32**0.5,
        (np.random.default_rng(0).random((32, 32)) < 0.3).astype(float),
        0.5 ** np.abs(np.subtract.outer(np.arange(32), np.arange(32))),
    ],
    ids=["hadamard", "random mask", "decay by distance"],
)
def test_what_cannot_be_known_at_another_size_is_refused_by_name(table: np.ndarray) -> None:
    def block(net: Net, x: str, number: int) -> str:
        return net.add("Relu", net.linear(net.add("MatMul", x, net.const(table, f"fixed.{number}")), 32, 32))

    model = net_of(block, width=32)
    with pytest.raises(FrontError, match=r"fixed\.0 is no weight"):
        resize(model, width=40)
    deeper = resized(model, depth=6)
    assert {a.tobytes() for n, a in deeper.items() if n.startswith("fixed")} == {table.astype(np.float32).tobytes()}
    taken = resize(model, width=40, treat={"fixed.*": "weight"}).model
    assert constants(taken)["fixed.0"].shape == (40, 40)


def test_a_name_that_no_constant_has_is_refused() -> None:
    model = net_of(lambda net, x, number: ffn(net, x, H))
    with pytest.raises(FrontError, match="no constant has a name like this"):
        resize(model, width=40, treat={"nothing": "weight"})
    with pytest.raises(FrontError, match="no constant can be treated as"):
        resize(model, width=40, treat={"*": "wood"})


@pytest.mark.parametrize("spread", [lambda n: np.linspace(0, 6, n), lambda n: np.linspace(-1, 1, n)])
def test_centres_of_a_basis_stay(spread: Callable[[int], np.ndarray]) -> None:
    net = Net()
    centres = net.const(spread(16), "centres")
    far = net.add("Sub", net.add("Unsqueeze", "x", net.const([2], dtype=np.int64)), centres)
    near = net.add("Exp", net.add("Mul", net.add("Mul", far, far), net.const(-7.35)))
    x = net.linear(net.add("Reshape", near, net.const([-1, 16], dtype=np.int64)), 16, H)
    for _ in range(3):
        x = net.add("Add", x, ffn(net, x, H))
    pooled = net.add("Reshape", net.linear(x, H, 3), net.const([-1, 21], dtype=np.int64))
    held = resized(net.model(pooled, 21), width=48)
    np.testing.assert_array_equal(held["centres"], spread(16).astype(np.float32))


@pytest.mark.parametrize("bins", [16, 10])
@pytest.mark.parametrize("how", ["MatMul", "Conv"])
def test_bins_of_a_distribution_stay(bins: int, how: str) -> None:
    net = Net()
    x = net.linear("x", 7, H)
    for _ in range(3):
        x = net.add("Add", x, ffn(net, x, H))
    shape = net.const([-1, 4, bins], dtype=np.int64)
    share = net.add("Softmax", net.add("Reshape", net.linear(x, H, 4 * bins), shape), axis=-1)
    series = np.arange(bins)
    if how == "MatMul":
        y = net.add("MatMul", share, net.const(series[:, None], "bins"))
    else:
        turned = net.add("Unsqueeze", net.add("Transpose", share, perm=[0, 2, 1]), net.const([3], dtype=np.int64))
        y = net.add("Conv", turned, net.const(series[None, :, None, None], "bins"), kernel_shape=[1, 1])
    held = resized(net.model(net.add("Reshape", y, net.const([-1, 4], dtype=np.int64)), 4), width_mult=2)
    np.testing.assert_array_equal(held["bins"].reshape(-1), series)


# -- sums and means, bases --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "wanted"), [(1 / H, 1 / 36), (H**-0.5, 36**-0.5), (1.0, 1.0)])
def test_one_value_along_the_summed_axis_is_a_mean_or_a_sum(value: float, wanted: float) -> None:
    def block(net: Net, x: str, number: int) -> str:
        mean = net.add("MatMul", x, net.const(np.full((H, 1), value), f"mean.{number}"))
        return ffn(net, net.add("Sub", x, mean), H)

    held = resized(net_of(block), width=36)
    for name in (name for name in held if name.startswith("mean")):
        np.testing.assert_allclose(held[name], np.full((36, 1), wanted), rtol=1e-6)


def test_a_fixed_filter_for_every_channel_is_repeated() -> None:
    net = Net()
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 16
    image = net.add("Reshape", "x", net.const([1, 1, -1, 7], dtype=np.int64))
    x = net.add("Conv", image, net.weight(8, 1, 3, 3), pads=[1, 1, 1, 1])
    x = net.add("Conv", x, net.const(np.tile(blur, (8, 1, 1, 1)), "blur"), group=8, pads=[1, 1, 1, 1])
    x = net.add("Conv", net.add("Relu", x), net.weight(1, 8, 3, 3), pads=[1, 1, 1, 1])
    held = resized(net.model(net.add("Reshape", x, net.const([-1, 7], dtype=np.int64)), 7, places=5), width_mult=2)
    np.testing.assert_allclose(held["blur"], np.tile(blur, (16, 1, 1, 1)), rtol=1e-6)


def _dct(n: int) -> np.ndarray:
    table = np.cos(np.pi * np.outer(np.arange(n), np.arange(n) + 0.5) / n) * (2 / n) ** 0.5
    table[0] /= 2**0.5
    return table


def _dft(n: int, function: Callable[[np.ndarray], np.ndarray] = np.cos, power: float = 0) -> np.ndarray:
    return function(2 * np.pi * np.outer(np.arange(n), np.arange(n)) / n) * n**-power


@pytest.mark.parametrize(
    "basis",
    [_dft, lambda n: _dft(n, np.sin), lambda n: _dft(n, power=0.5), _dct, lambda n: _dct(n).T],
    ids=["cosines", "sines", "unitary", "DCT", "inverse DCT"],
)
@pytest.mark.parametrize("turned", [False, True])
def test_bases_are_those_of_the_new_size(basis: Callable[[int], np.ndarray], turned: bool) -> None:
    def block(net: Net, x: str, number: int) -> str:
        table = net.const(basis(H), f"basis.{number}")
        table = net.add("Transpose", table, perm=[1, 0]) if turned else table
        return ffn(net, net.add("MatMul", x, table), H)

    held = resized(net_of(block), width=36, depth=5)
    for name in (name for name in held if name.startswith("basis")):
        np.testing.assert_allclose(held[name], basis(36), atol=1e-5)


CURVES: dict[str, Callable[[int], np.ndarray]] = {
    "exponential": lambda n: np.exp(np.arange(n) / n),
    "power": lambda n: (np.arange(n) / (n - 1)) ** 1.7 * 5 - 2,
    "root": lambda n: np.sqrt(np.arange(n) / n),
    "decay": lambda n: 0.9 ** np.arange(n),
    "fast decay": lambda n: 3.0 ** -np.arange(n),
    "product": lambda n: np.cumprod(1 - np.linspace(1e-4, 0.02, n)),
    "logarithm": lambda n: np.log1p(np.arange(n)),
    "one over": lambda n: 1 / (1.0 + np.arange(n)),
    "bell": lambda n: np.exp(-(np.linspace(-2, 2, n) ** 2)),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("reader", ["Sigmoid", "Reciprocal", ""])
def test_a_curve_that_is_resampled_is_told(curve: str, reader: str) -> None:
    def block(net: Net, x: str, number: int) -> str:
        table = net.const(CURVES[curve](H), f"table.{number}")
        return ffn(net, net.add("Mul", x, net.add(reader, table) if reader else table), H)

    model = net_of(block)
    (told,) = resize(model, width=2 * H, dry_run=True).plan.warnings
    assert "table.0 and 3 more: it lies on a smooth curve" in told and "refuses another size" in told
    assert not resize(model, depth=6, dry_run=True).plan.warnings
    with pytest.raises(FrontError, match="would have to change"):
        resize(model, width=2 * H, dry_run=True, treat={"table.*": "fixed"})


@pytest.mark.parametrize("how", ["MatMul", "Mul"])
def test_a_ramp_in_two_axes_is_told_and_no_wave(how: str) -> None:
    ramp = np.arange(H * H, dtype=np.float32).reshape(H, H) / (H * H)
    assert is_series(ramp) and not oscillates(ramp)

    def block(net: Net, x: str, number: int) -> str:
        table = net.const(ramp, f"ramp.{number}")
        mixed = net.add("MatMul", x, table if how == "MatMul" else net.add("Mul", net.weight(H, H), table))
        return ffn(net, mixed, H)

    (told,) = resize(net_of(block), width=2 * H, dry_run=True).plan.warnings
    assert "ramp.0 and 3 more: it lies on a smooth curve" in told


# -- scalars ----------------------------------------------------------------------------------------------------------


def _norm(spelling: str, n: int) -> Callable[[Net, str], str]:
    """x over the root of its mean square, written in some way."""

    def made(net: Net, x: str) -> str:
        last = net.const([-1], dtype=np.int64)
        square = net.add("Mul", x, x)
        if spelling == "norm times root":
            length = net.add("Mul", net.add("ReduceL2", x, last), net.const(n**-0.5))
        elif spelling == "norm by root":
            length = net.add("Div", net.add("ReduceL2", x, last), net.const(n**0.5))
        elif spelling == "sum of squares by n":
            length = net.add("Sqrt", net.add("Div", net.add("ReduceSumSquare", x, last), net.const(float(n))))
        elif spelling == "sum of products by n":
            length = net.add("Sqrt", net.add("Mul", net.add("ReduceSum", square, last), net.const(1 / n)))
        elif spelling == "root of the sum by root":
            total = net.add("ReduceSum", net.add("Pow", x, net.const(2.0)), last)
            length = net.add("Mul", net.add("Sqrt", net.add("Add", total, net.const(1e-6))), net.const(n**-0.5))
        elif spelling == "product with ones":
            total = net.add("MatMul", square, net.const(np.ones((n, 1))))
            length = net.add("Div", net.add("Sqrt", total), net.const(n**0.5))
        else:  # what is normalised, times the root
            unit = net.add("Div", x, net.add("Clip", net.add("ReduceL2", x, last), net.const(1e-6)))
            return net.add("Mul", unit, net.const(n**0.5))
        return net.add("Div", x, length)

    return made


SPELLINGS = [
    "norm times root",
    "norm by root",
    "sum of squares by n",
    "sum of products by n",
    "root of the sum by root",
    "product with ones",
    "normalised times root",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("n", "m"), [(24, 36), (48, 24)])
def test_norms_divide_by_the_new_width(spelling: str, n: int, m: int) -> None:
    def model(width: int) -> onnx.ModelProto:
        return net_of(lambda net, x, number: ffn(net, _norm(spelling, width)(net, x), width), width=width)

    assert numbers(resized(model(n), width=m)) == numbers(constants(model(m)))


def _scores(spelling: str, d: int) -> Callable[[Net, str, str], str]:
    """Scores of queries and turned keys of size d."""

    def made(net: Net, q: str, k: str) -> str:
        if spelling == "quarters":
            q, k = (net.add("Mul", side, net.const(d**-0.25)) for side in (q, k))
            return net.add("MatMul", q, k)
        if spelling == "queries":
            return net.add("MatMul", net.add("Div", q, net.const(d**0.5)), k)
        product = net.add("MatMul", q, k)
        factors = {"root": d**-0.5, "muP": 1 / d, "three": (3 * d) ** -0.5}
        if spelling in factors:
            return net.add("Mul", product, net.const(factors[spelling]))
        if spelling == "written":
            return net.add("Mul", product, net.add("Pow", net.const(float(d)), net.const(-0.5)))
        if spelling == "three, written":
            root = net.add("Sqrt", net.add("Mul", net.const(3.0), net.const(float(d))))
            return net.add("Div", product, root)
        assert spelling == "then a temperature"
        return net.add("Mul", net.add("Div", product, net.const(d**0.5)), net.const(d**-0.5))

    return made


@pytest.mark.parametrize("spelling", ["root", "muP", "three", "quarters", "queries", "written", "three, written"])
@pytest.mark.parametrize(("d", "e"), [(12, 20), (32, 8)])
def test_scores_divide_by_the_new_size_of_a_head(spelling: str, d: int, e: int) -> None:
    def model(size: int) -> onnx.ModelProto:
        def block(net: Net, x: str, number: int) -> str:
            return attention(net, x, 2 * size, 2, _scores(spelling, size))

        return net_of(block, width=2 * size)

    assert numbers(resized(model(d), head_dim=e, width=2 * e)) == numbers(constants(model(e)))


def test_what_normalises_scores_once_is_a_temperature_the_second_time() -> None:
    def block(net: Net, x: str, number: int) -> str:
        return attention(net, x, 32, 2, _scores("then a temperature", 16))

    assert numbers(resized(net_of(block, width=32), head_dim=8, width=16)) == {0.25, round(8**0.5, 5)}


@pytest.mark.parametrize(("d", "temperature"), [(64, 8.0), (16, 4.0), (16, 0.25)])
def test_a_temperature_beside_normalised_operands_stays(d: int, temperature: float) -> None:
    def scores(net: Net, q: str, k: str) -> str:
        sides = []
        for side, axis in ((q, -1), (k, -2)):
            length = net.add("ReduceL2", side, net.const([axis], dtype=np.int64))
            sides.append(net.add("Div", side, length))
        return net.add("Mul", net.add("MatMul", *sides), net.const(temperature))

    model = net_of(lambda net, x, number: attention(net, x, 2 * d, 2, scores), width=2 * d, depth=2)
    assert numbers(resized(model, head_dim=2 * d, width=4 * d)) == {temperature}


@pytest.mark.parametrize(("transposed", "power"), [(0, 0.5), (1, 0.5), (1, 1.0)])
def test_the_factor_of_a_gemm_of_two_activations_follows(transposed: int, power: float) -> None:
    def block(net: Net, x: str, number: int) -> str:
        q, k, v = (net.linear(x, H, H) for _ in range(3))
        k = k if transposed else net.add("Transpose", k, perm=[1, 0])
        scores = net.add("Gemm", q, k, alpha=H**-power, transB=transposed)
        return net.linear(net.add("MatMul", net.add("Softmax", scores, axis=-1), v), H, H)

    result = resize(net_of(block), width=36)
    found = {round(a.f, 5) for n in result.model.graph.node for a in n.attribute if a.name == "alpha"}
    assert found == {round(36**-power, 5)}


@pytest.mark.parametrize(("gain", "first"), [(1.0, True), (1.0, False), (2.0, True)])
def test_the_scale_of_a_weight_follows_what_it_sums_over(gain: float, first: bool) -> None:
    def block(net: Net, x: str, number: int) -> str:
        weight, factor = net.weight(H, H), net.const((gain / H) ** 0.5)
        scaled = net.add("Mul", *((weight, factor) if first else (factor, weight)))
        return net.linear(net.add("Relu", net.add("MatMul", x, scaled)), H, H)

    assert numbers(resized(net_of(block), width=36)) == {round((gain / 36) ** 0.5, 5)}


@pytest.mark.parametrize("how", ["Div", "Mul"])
@pytest.mark.parametrize("n", [16, 36])
def test_queries_that_are_parameters_are_scaled_like_others(how: str, n: int) -> None:
    net = Net()
    x = net.add("Relu", net.linear("x", 7, n))
    keys = net.add("Transpose", net.linear(x, n, n), perm=[1, 0])
    scores = net.add(how, net.add("MatMul", net.weight(4, n), keys), net.const(n ** (0.5 if how == "Div" else -0.5)))
    mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), net.linear(x, n, n))
    held = resized(net.model(net.linear(net.add("Relu", mixed), n, 3), 3), width_mult=2)
    assert numbers(held) == {round((2 * n) ** (0.5 if how == "Div" else -0.5), 5)}


def _gelu(spelling: str) -> Callable[[Net, str], str]:
    def made(net: Net, x: str) -> str:
        gate = net.add("Add", net.add("Erf", net.add("Div", x, net.const(2**0.5))), net.const(1.0))
        half = net.const(0.5)
        if spelling == "half of x":
            return net.add("Mul", net.add("Mul", x, half), gate)
        if spelling == "half of the gate":
            return net.add("Mul", x, net.add("Mul", gate, half))
        return net.add("Mul", net.add("Mul", x, gate), half)

    return made


@pytest.mark.parametrize("spelling", ["half of x", "half of the gate", "half of the product"])
@pytest.mark.parametrize("n", [4, 16])
def test_the_numbers_of_gelu_stay_before_a_product(spelling: str, n: int) -> None:
    """4^(-1/2) is one half and 4^(1/4) the root of two, and so is what GELU multiplies and divides by."""
    net = Net()
    left, right = (_gelu(spelling)(net, net.linear("x", 7, n)) for _ in range(2))
    both = net.add("MatMul", left, net.add("Transpose", right, perm=[1, 0]))
    y = net.add("MatMul", both, net.linear("x", 7, 3))
    assert numbers(resized(net.model(y, 3, places=6), width_mult=2)) == {0.5, 1.0, 1.41421}


@pytest.mark.parametrize("n", [6, 3])
def test_the_numbers_of_hard_activations_stay_behind_a_weight(n: int) -> None:
    def block(net: Net, x: str, number: int) -> str:
        y = net.linear(x, n, n)
        gate = net.add(
            "Mul", net.add("Clip", net.add("Add", y, net.const(3.0)), net.const(0.0), net.const(6.0)), net.const(1 / 6)
        )
        return net.linear(net.add("Mul", y, gate), n, n)

    assert {3.0, 0.0, 6.0, 0.16667} == numbers(resized(net_of(block, width=n), width_mult=2))


# -- numbers and weights over the blocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 6])
@pytest.mark.parametrize(
    "factor",
    [
        lambda i: 0.8 - 0.6 * np.exp(-0.3 * i),
        lambda i: 2.0**i,
        lambda i: 0.3 if i == 0 else 0.9,
        lambda i: [0.7, 0.2, 0.9, 0.4][i],
    ],
    ids=["lambda_init", "powers of two", "another one in the first block", "learned"],
)
def test_numbers_of_blocks_by_no_known_rule_are_told(factor: Callable[[int], float], depth: int) -> None:
    """They may be learned, and then resampling is right, or computed: the file does not say."""
    model = net_of(lambda net, x, number: net.add("Mul", ffn(net, x, H), net.const(factor(number))))
    told = [line for line in resize(model, depth=depth, dry_run=True).plan.warnings if "over the blocks" in line]
    assert len(told) == 1 and f"{factor(0):.6g}, {factor(1):.6g}" in told[0]
    assert not resize(model, width=2 * H, dry_run=True).plan.warnings


def test_known_rules_and_equal_numbers_are_not_told_as_unknown() -> None:
    for factor in (lambda i: 1 / (i + 1), lambda i: 0.7):
        model = net_of(lambda net, x, number, f=factor: net.add("Mul", ffn(net, x, H), net.const(f(number))))
        assert not [w for w in resize(model, depth=6, dry_run=True).plan.warnings if "no rule that is known" in w]


@pytest.mark.parametrize(
    "number_of",
    [
        lambda i, n: (i + 1) / n,
        lambda i, n: i / n,
        lambda i, n: ((i + 1) / n) ** 0.5,
        lambda i, n: 1 - 0.5 * i / (n - 1),
        lambda i, n: 1 / (i + 2),
        lambda i, n: 1.0 if i % 2 else 3.0,
    ],
    ids=["share", "share from zero", "root of a share", "decay", "sequence", "in turn"],
)
@pytest.mark.parametrize("depth", [8, 6])
def test_numbers_of_blocks_follow_the_depth(number_of: Callable[[int, int], float], depth: int) -> None:
    def model(count: int) -> onnx.ModelProto:
        def block(net: Net, x: str, number: int) -> str:
            return net.add("Mul", ffn(net, x, H), net.const(number_of(number, count)))

        return net_of(block, depth=count)

    result = resize(model(4), depth=depth)
    np.testing.assert_allclose(
        sorted(numbers(constants(result.model))), sorted(numbers(constants(model(depth)))), atol=1e-5
    )


MASKS: dict[str, Callable[[int, int], np.ndarray]] = {
    "lower triangle": lambda n, m: np.tri(n, m),
    "upper triangle": lambda n, m: np.tri(n, m).T if n == m else np.triu(np.ones((n, m))),
    "band": lambda n, m: np.abs(np.subtract.outer(np.arange(n), np.arange(m))) < 3,
    "blocks": lambda n, m: np.equal.outer(np.arange(n) // 6, np.arange(m) // 6),
    "pruned": lambda n, m: np.random.default_rng(0).random((n, m)) < 0.3,
}


@pytest.mark.parametrize("mask", MASKS)
def test_weights_with_a_mask_folded_in_are_told(mask: str) -> None:
    """Whether the pattern goes on, and how, is nowhere in the file any more."""

    def block(net: Net, x: str, number: int, held: Callable[[int, int], np.ndarray]) -> str:
        weight = held(H, H) * np.random.default_rng(number).normal(size=(H, H)) / H**0.5
        return net.add("MatMul", net.add("Relu", net.linear(x, H, H)), net.const(weight.astype(np.float32)))

    masked = net_of(lambda net, x, number: block(net, x, number, MASKS[mask]))
    dense = net_of(lambda net, x, number: block(net, x, number, lambda n, m: np.ones((n, m))))
    (told,) = resize(masked, width=2 * H, dry_run=True).plan.warnings
    assert "and 3 more) is zero in" in told
    assert not resize(masked, depth=6, dry_run=True).plan.warnings  # zeros of all blocks are zeros of the new ones
    assert not resize(dense, width=2 * H, dry_run=True).plan.warnings


@pytest.mark.parametrize("order", ["aabbcc", "abab", "abcabc", "aaabbb"])
def test_blocks_that_share_weights_stay_together(order: str) -> None:
    net = Net()
    held = {letter: (net.weight(H, 2 * H), net.weight(2 * H, H)) for letter in sorted(set(order))}
    x = net.linear("x", 7, H)
    for letter in order:
        up, down = held[letter]
        x = net.add("Add", x, net.add("MatMul", net.add("Relu", net.add("MatMul", x, up)), down))
    model = net.model(net.linear(x, H, 3), 3)
    together = {"aabbcc": 2, "abab": 2, "abcabc": 3, "aaabbb": 3}[order]
    depth = len(order) + together
    result = resize(model, depth=depth).model
    read = [n.input[1] for n in result.graph.node if n.op_type == "MatMul"][1:-1]
    ups = read[::2]
    assert len(ups) == depth
    wanted = (order + order)[:depth] if order in ("abab", "abcabc") else None
    if wanted is None:
        groups = [ups[i : i + together] for i in range(0, depth, together)]
        assert all(len(set(group)) == 1 for group in groups) and len({group[0] for group in groups}) == len(groups)
    else:
        assert [ups.index(name) for name in ups] == [wanted.index(letter) for letter in wanted]


def test_an_index_between_bounds_is_told() -> None:
    net = Net()
    table = net.weight(T, H, name="table")
    places = net.add("Cast", net.add("Slice", "x", *(net.const([n], dtype=np.int64) for n in (0, 1, 1))), to=7)
    index = net.add(
        "Add",
        net.add("Clip", places, net.const(-4, dtype=np.int64), net.const(4, dtype=np.int64)),
        net.const(4, dtype=np.int64),
    )
    x = net.add("Reshape", net.add("Gather", table, index), net.const([-1, H], dtype=np.int64))
    for _ in range(3):
        x = net.add("Add", x, ffn(net, x, H))
    model = net.model(net.linear(x, H, 3), 3)
    name = next(d.name for d in inspect(model).dims if d.size == T)
    assert any("between bounds" in w for w in resize(model, dims={name: 33}).plan.warnings)
    assert not any("between bounds" in w for w in resize(model, width=32).plan.warnings)


# -- no false alarms --------------------------------------------------------------------------------------------------


def test_what_a_fresh_model_holds_is_weights() -> None:
    """Norms of ones and zeros, biases of zeros, ones for one gate of several, an orthogonal matrix."""
    net = Net()
    gates = np.zeros(4 * H)
    gates[H : 2 * H] = 1
    x = net.linear("x", 7, H)
    names = {}
    for number in range(3):
        gain, bias = net.const(np.ones(H), f"gain.{number}"), net.const(np.zeros(H), f"bias.{number}")
        y = net.add("LayerNormalization", x, gain, bias)
        rotation = np.linalg.qr(net.rng.standard_normal((H, H)))[0]
        y = net.add("MatMul", y, net.const(rotation, f"rotation.{number}"))
        y = net.add("Add", net.add("MatMul", y, net.weight(H, 4 * H)), net.const(gates, f"gates.{number}"))
        x = net.add("Add", x, net.linear(net.add("Tanh", y), 4 * H, H))
        names |= {f"gain.{number}": Kind.BIAS_OR_GAIN, f"bias.{number}": Kind.BIAS_OR_GAIN}
    model = net.model(net.linear(x, H, 3), 3)
    found = kinds(model)
    assert {name: found[name] for name in names} == names
    assert {kind for name, kind in found.items() if name.startswith("w")} <= {Kind.WEIGHT, Kind.BIAS_OR_GAIN}
    result = resize(model, width=36, depth=4)
    assert result.validation is not None and result.validation.passed
    assert any("rotation" in warning for warning in result.plan.warnings)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_trained_weights_have_no_pattern(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in ((5,), (8, 8), (16, 4), (64, 64), (24, 6), (33, 2)):
        for scale in (1.0, 0.02):
            array = (rng.standard_normal(shape) * scale).astype(dtype)
            assert two_values(array) is None and not is_series(array) and not is_toeplitz(array)
            assert not is_smooth(array) and not is_smooth(np.sort(array.reshape(-1)))
            assert not oscillates(array) and not is_filter_bank(np.maximum(array, 0))


def test_patterns_are_found() -> None:
    window = np.hanning(64)
    waves = np.concatenate([f(2 * np.pi * np.outer(np.arange(33), np.arange(64)) / 64) for f in (np.cos, np.sin)])
    assert oscillates(waves * window) and oscillates((waves * window).T.astype(np.float32))
    assert oscillates(_dct(24)) and oscillates(_dct(24)[:13])
    centres, points = np.linspace(1, 9, 8), np.linspace(0, 10, 33)
    bank = np.maximum(0, 1 - np.abs(points[:, None] - centres) / 1.5)
    assert is_filter_bank(bank) and is_filter_bank(bank.T)
    assert is_toeplitz(_dft(4)[:1].repeat(4, 0)) is False
    assert two_values(np.tril(np.ones((5, 5)))) == (0, 1)


@pytest.mark.parametrize(
    "table",
    [
        np.stack([(np.arange(16) / 16) ** power for power in range(4)]),
        np.outer(np.arange(12), np.linspace(1, 5, 16)),
        np.exp(-np.outer(np.arange(1, 4), np.arange(16) / 4)),
    ],
    ids=["powers", "windows", "decays"],
)
def test_tables_of_smooth_lines_are_told_and_learned_ones_are_not(table: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert are_curves(table.astype(np.float32)) and are_curves(table.T.astype(np.float32))
    assert not are_curves((table + 0.05 * table.std() * rng.standard_normal(table.shape)).astype(np.float32))
    for shape in ((16, 16), (9, 64), (768, 3), (2, 12)):
        for array in (rng.standard_normal(shape), rng.uniform(-1, 1, shape), np.ones(shape), np.zeros(shape)):
            assert not are_curves(array.astype(np.float32))
