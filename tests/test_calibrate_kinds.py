"""Every kind of weight is calibrated: exact where nothing is lost, better than the method alone where something is."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small import run
from test_calibrate import net
from test_experts import mixture

import front_onnx
from front_onnx.calibration.fitted import Fitted
from front_onnx.calibration.settings import CalibrationSettings

SETTINGS = CalibrationSettings(ridges=(1e-3, 0.01))
PRECISE = CalibrationSettings(ridges=(1e-9,))
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS = np.random.default_rng(0).standard_normal((160, 6, 5)).astype(np.float32)
PICTURES = np.random.default_rng(1).standard_normal((80, 5, 6, 6)).astype(np.float32)


def whole(model: onnx.ModelProto, **numbers: list[int]) -> onnx.ModelProto:
    """A model with constants of whole numbers."""
    model.graph.initializer.extend(numpy_helper.from_array(np.array(held), name) for name, held in numbers.items())
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def flat_space(rng: np.random.Generator, rows: int, width: int, rank: int) -> np.ndarray:
    """A layer whose results span few dimensions."""
    return rng.standard_normal((rows, rank)) @ np.linalg.qr(rng.standard_normal((width, rank)))[0].T


def cell(kind: str, directions: int, *, rank: int | None, twins: bool) -> onnx.ModelProto:
    """A recurrent layer of eight units between two products; the units of a pair are the same, if `twins`."""
    rng = np.random.default_rng(GATES[kind] + directions)
    shape = (directions, GATES[kind], 4 if twins else 8)
    w, b = rng.standard_normal((*shape, 8)) / 2, rng.standard_normal((2, *shape)) / 3
    r = rng.standard_normal((*shape, 8)) / 3
    if twins:
        w, r, b = np.repeat(w, 2, 2), np.repeat(r, 2, 2), np.repeat(b, 2, 3)
    weights = {
        "stem": flat_space(rng, 5, 8, rank) if rank else rng.standard_normal((5, 8)),
        "w": w.reshape(directions, -1, 8),
        "r": r.reshape(directions, -1, 8),
        "b": np.concatenate([each.reshape(directions, -1) for each in b], axis=1),
        "head": rng.standard_normal((8 * directions, 3)),
        "bias": rng.standard_normal(3),
    }
    way = {"direction": "bidirectional"} if directions == 2 else {}
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node(kind, ["s", "w", "r", "b"], ["states", "last"], "cell", hidden_size=8, **way),
        helper.make_node("Transpose", ["states"], ["turned"], "turn", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["h"], "join"),
        helper.make_node("MatMul", ["h", "head"], ["o"], "head"),
        helper.make_node("Add", ["o", "bias"], ["y"], "shift"),
    ]
    return whole(net(nodes, weights, "y", ["samples", 5]), shape=[0, 0, -1])


def upsampled(groups: int, *, rank: int | None, bent: bool) -> onnx.ModelProto:
    """A convolution, a transposed one that doubles the sides, and a last one."""
    rng = np.random.default_rng(groups)
    first = flat_space(rng, 5, 8, rank).T if rank else rng.standard_normal((8, 5))
    if groups > 1 and not bent:
        first = np.repeat(first[::2], 2, axis=0)
    weights = {
        "first": first[:, :, None, None],
        "up": rng.standard_normal((8, 12 // groups, 4, 3)) / 6,
        "shift": rng.standard_normal(12),
        "last": rng.standard_normal((4, 12, 1, 1)),
    }
    up = {"strides": [2, 1], "pads": [1, 0, 1, 2], "dilations": [1, 2], "group": groups}
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["c"], "first"),
        helper.make_node("Relu" if bent else "Identity", ["c"], ["d"], "bend"),
        helper.make_node("ConvTranspose", ["d", "up", "shift"], ["u"], "up", **up),
        helper.make_node("Relu" if bent else "Identity", ["u"], ["v"], "bend again"),
        helper.make_node("Conv", ["v", "last"], ["y"], "last"),
    ]
    return net(nodes, weights, "y", [5, 6, 6])


def apart() -> onnx.ModelProto:
    """A convolution that mixes channels and takes every second place, and one for each channel, as MobileNets have."""
    rng = np.random.default_rng(6)
    weights = {
        "first": rng.standard_normal((8, 5, 3, 3)) / 4,
        "second": rng.standard_normal((12, 8, 3, 3)) / 6,
        "each": rng.standard_normal((12, 1, 3, 3)) / 3,
        "shift": rng.standard_normal(12),
        "last": rng.standard_normal((4, 12, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "bend"),
        helper.make_node("Conv", ["b", "second"], ["c"], "second", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"], "bend again"),
        helper.make_node("Conv", ["d", "each", "shift"], ["e"], "each", pads=[1] * 4, strides=[2, 1], group=12),
        helper.make_node("Relu", ["e"], ["f"], "bend at last"),
        helper.make_node("Conv", ["f", "last"], ["y"], "last"),
    ]
    return net(nodes, weights, "y", [5, 6, 6])


def batched(shape: list[int], *, rank: int | None, bent: bool) -> onnx.ModelProto:
    """Products with a matrix for each of three experts, summed up; what they read has their axis or not."""
    rng = np.random.default_rng(len(shape))
    weights = {
        "stem": flat_space(rng, 5, 8, rank) if rank else rng.standard_normal((5, 8)),
        "up": rng.standard_normal((3, 8, 16)) / 3,
        "shift": rng.standard_normal((3, 1, 16)) / 3,
        "down": rng.standard_normal((3, 16, 8)) / 4,
        "head": rng.standard_normal((8, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node("Reshape", ["s", "shape"], ["t"], "view"),
        helper.make_node("MatMul", ["t", "up"], ["u"], "up"),
        helper.make_node("Add", ["u", "shift"], ["v"], "shift"),
        helper.make_node("Relu" if bent else "Identity", ["v"], ["w"], "bend"),
        helper.make_node("MatMul", ["w", "down"], ["d"], "down"),
        helper.make_node("ReduceSum", ["d", "experts"], ["m"], "sum", keepdims=0),
        helper.make_node("MatMul", ["m", "head"], ["y"], "head"),
    ]
    return whole(net(nodes, weights, "y", [6, 5]), shape=shape, experts=[-3])


def attended(*, rank: int | None) -> onnx.ModelProto:
    """Attention in one operator, which holds the matrix of queries, keys and values."""
    rng = np.random.default_rng(9)
    weights = {
        "stem": flat_space(rng, 5, 8, rank) if rank else rng.standard_normal((5, 8)),
        "qkv": rng.standard_normal((8, 24)) / 3,
        "shift": rng.standard_normal(24) / 3,
        "head": rng.standard_normal((8, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node("Attention", ["s", "qkv", "shift"], ["a"], "attend", domain="com.microsoft", num_heads=2),
        helper.make_node("MatMul", ["a", "head"], ["y"], "head"),
    ]
    return whole(net(nodes, weights, "y", [6, 5]))


def kept_flat(*, rank: int | None, bent: bool) -> onnx.ModelProto:
    """A matrix that is kept as one row of numbers."""
    rng = np.random.default_rng(4)
    weights = {
        "stem": flat_space(rng, 5, 8, rank) if rank else rng.standard_normal((5, 8)),
        "flat": rng.standard_normal(8 * 16) / 3,
        "shift": rng.standard_normal(16),
        "head": rng.standard_normal((16, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node("Reshape", ["flat", "shape"], ["up"], "view"),
        helper.make_node("MatMul", ["s", "up"], ["u"], "up"),
        helper.make_node("Add", ["u", "shift"], ["v"], "shift"),
        helper.make_node("Relu" if bent else "Identity", ["v"], ["w"], "bend"),
        helper.make_node("MatMul", ["w", "head"], ["y"], "head"),
    ]
    return whole(net(nodes, weights, "y", [6, 5]), shape=[8, 16])


def calibrated(
    source: onnx.ModelProto, data: np.ndarray, settings: CalibrationSettings = SETTINGS, **asked: object
) -> tuple[dict[str, Fitted], list[float], onnx.ModelProto]:
    """What became of each node, the errors of all starts with the calibrated one last, and the result."""
    result = front_onnx.resize(source, data={"x": data}, calibration=settings, **asked)  # type: ignore[arg-type]
    assert result.calibration is not None and isinstance(result.model, onnx.ModelProto)
    found = result.calibration.candidates
    assert not [each.why for each in found if each.why]
    return {each.node: each for each in found[-1].report}, [each.error for each in found], result.model


LOSSY = {
    **{f"{kind} {n}": (lambda kind=kind, n=n: cell(kind, n, rank=None, twins=False)) for kind in GATES for n in (1, 2)},
    "transposed": lambda: upsampled(1, rank=None, bent=True),
    "batched": lambda: batched([-1, 1, 6, 8], rank=None, bent=True),
    "attended": lambda: attended(rank=None),
    "channel by channel": apart,
}
NAMED = {"transposed": "up", "batched": "down", "attended": "attend", "channel by channel": "each"}
DECODED = (*GATES, "attended")


@pytest.mark.parametrize("kind", LOSSY)
def test_what_is_lost_is_less_than_without_samples(kind: str) -> None:
    report, errors, _ = calibrated(
        LOSSY[kind](), PICTURES if kind.startswith(("trans", "chan")) else STEPS, width_mult="0.5"
    )
    fitted = report[NAMED.get(kind, "cell")]
    assert fitted.level == ("decoded" if kind.startswith(DECODED) else "fitted")
    assert fitted.after < fitted.before and errors[-1] < 0.8 * min(errors[:-1])


@pytest.mark.parametrize("turned", [False, True])
def test_experts_that_are_looked_up_are_fitted_by_what_they_read(turned: bool) -> None:
    data = np.random.default_rng(3).standard_normal((600, 3)).astype(np.float32)
    report, errors, _ = calibrated(mixture(3, 8, turned=turned), data, width=4)
    assert [each.level for each in report.values()].count("decoded") == 6
    assert errors[-1] < min(errors[:-1])


def test_of_experts_in_one_operator_what_reads_its_input_is_fitted() -> None:
    rng = np.random.default_rng(2)
    weights = {
        "stem": rng.standard_normal((5, 8)),
        "gate": rng.standard_normal((8, 3)),
        "up": rng.standard_normal((3, 16, 8)) / 3,
        "shift": rng.standard_normal((3, 16)) / 3,
        "down": rng.standard_normal((3, 8, 16)) / 4,
        "end": rng.standard_normal((3, 8)) / 4,
        "head": rng.standard_normal((8, 3)),
    }
    experts = ["s", "g", "up", "shift", "down", "end"]
    how = {"domain": "com.microsoft", "k": 2, "activation_type": "relu"}
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node("MatMul", ["s", "gate"], ["g"], "gate"),
        helper.make_node("MoE", experts, ["m"], "moe", **how),
        helper.make_node("MatMul", ["m", "head"], ["y"], "head"),
    ]
    source, data = whole(net(nodes, weights, "y", [5])), rng.standard_normal((800, 5)).astype(np.float32)
    result = front_onnx.resize(source, data={"x": data}, calibration=SETTINGS, width_mult="0.5")
    assert result.calibration is not None
    *free, fitted = result.calibration.candidates
    told = [(each.level, each.after < each.before) for each in fitted.report if each.node == "moe"]
    assert told == [("decoded", True), ("kept", False)]
    assert fitted.error < 0.5 * min(each.error for each in free)


EXACT = {
    **{f"{kind} {n}": (lambda kind=kind, n=n: cell(kind, n, rank=4, twins=True)) for kind in GATES for n in (1, 2)},
    "transposed": lambda: upsampled(1, rank=4, bent=False),
    "transposed in groups": lambda: upsampled(2, rank=None, bent=False),
    "batched": lambda: batched([-1, 1, 6, 8], rank=4, bent=False),
    "batched for one row": lambda: batched([-1, 1, 1, 8], rank=4, bent=False),
    "attended": lambda: attended(rank=4),
    "flat": lambda: kept_flat(rank=4, bent=False),
}
SIZES = {
    "transposed": {"dims": {"first": 4}},
    "transposed in groups": {"dims": {"first": 2}},
    "batched": {"dims": {"stem": 4, "up": 8}},
    "batched for one row": {"dims": {"stem": 4, "up": 8}},
    "attended": {"dims": {"stem": 4}},
    "flat": {"dims": {"stem": 4}},
}


@pytest.mark.parametrize("kind", EXACT)
def test_nothing_is_lost_where_nothing_is_there(kind: str) -> None:
    """What a layer reads spans four dimensions of eight, or comes in pairs of equals."""
    source = EXACT[kind]()
    data = PICTURES if kind.startswith("transposed") else STEPS
    asked = SIZES.get(kind, {"width_mult": "0.5"})
    report, errors, made = calibrated(source, data, PRECISE, **asked)
    assert errors[-1] < 1e-6 * max(min(errors[:-1]), 1e-3), (errors, report)
    rng = np.random.default_rng(8)
    fresh = {"x": rng.standard_normal((7, *data.shape[1:])).astype(np.float32)}
    (before,), (after,) = run(source, fresh), run(made, fresh)
    assert np.abs(after - before).max() < 1e-2 * np.abs(before).max()
