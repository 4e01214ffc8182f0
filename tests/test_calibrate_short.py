"""Weights that are kept in float16 or bfloat16 are calibrated like others, and written back as they were kept."""

import numpy as np
import onnx
import pytest
from golden import golden
from kept_short import computed_short, stored_short
from onnx import numpy_helper
from test_calibrate import FAST, net, normed_net

import front_onnx
from front_onnx.calibration.starts import Candidate
from front_onnx.session import Session
from front_onnx.streams.norms import find_norms

SAMPLES = {"x": np.random.default_rng(5).standard_normal((60, 4, 5)).astype(np.float32)}


def shifted_net() -> onnx.ModelProto:
    """The net with norms, a bias behind every product, by Add and by Gemm."""
    model = normed_net(fused=False)
    rng = np.random.default_rng(7)
    for node in [node for node in model.graph.node if node.name.startswith("up")]:
        bias = f"{node.name}.bias"
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(24).astype(np.float32), bias))
        made = node.output[0]
        node.output[0] = f"{made}.product"
        place = [*model.graph.node].index(node)
        model.graph.node.insert(place + 1, onnx.helper.make_node("Add", [node.output[0], bias], [made], f"{made}.add"))
    return model


def last(model: onnx.ModelProto, samples: object, **asked: object) -> tuple[Candidate, Candidate, onnx.ModelProto]:
    """The method alone, what was calibrated, and the result."""
    result = front_onnx.resize(model, data=samples, calibration=FAST, **asked)  # type: ignore[arg-type]
    assert result.calibration is not None and isinstance(result.model, onnx.ModelProto)
    assert result.validation is not None and not [
        check for check in result.validation.checks if not check.passed and "is required" not in check.detail
    ]  # outputs of the small nets have no declared shape
    candidates = result.calibration.candidates
    assert not [each.why for each in candidates if each.why]
    return candidates[0], candidates[-1], result.model


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("asked", [{"width_mult": "0.5"}, {"depth": 1}])
@pytest.mark.parametrize("how", ["float16", "bfloat16", "computed"])
def test_norms_and_biases_kept_short_are_fitted(how: str, asked: dict[str, object]) -> None:
    source = shifted_net()
    _, plain, _ = last(source, SAMPLES, **asked)
    short = computed_short(source, ("LayerNormalization", "Add")) if how == "computed" else stored_short(source, how)
    free, fitted, made = last(short, SAMPLES, **asked)
    assert {each.node for each in fitted.report} == {each.node for each in plain.report}
    levels = [[each.level for each in one.report].count("fitted") for one in (fitted, plain)]
    assert levels[0] >= levels[1] - 1  # what is won may be less than rounding
    assert fitted.error < 1.1 * plain.error < free.error
    assert kinds(made).items() <= kinds(short).items()


def test_batch_norms_and_biases_of_convolutions_kept_short_are_fitted() -> None:
    rng = np.random.default_rng(1)
    nodes, weights, value, before = [], {}, "x", 3
    for number in range(2):
        weights |= {f"{number}.weight": rng.standard_normal((8, before, 3, 3)) / 4, f"{number}.shift": np.ones(8)}
        weights |= {f"{number}.{name}": rng.uniform(0.5, 2, 8) for name in ("gain", "bias", "mean", "variance")}
        statistics = [f"{number}.{name}" for name in ("gain", "bias", "mean", "variance")]
        weight = [f"{number}.weight", f"{number}.shift"]
        nodes += [
            onnx.helper.make_node("Conv", [value, *weight], [f"c{number}"], f"conv{number}", pads=[1] * 4),
            onnx.helper.make_node("BatchNormalization", [f"c{number}", *statistics], [f"n{number}"], f"norm{number}"),
            onnx.helper.make_node("Relu", [f"n{number}"], [f"r{number}"], f"relu{number}"),
        ]
        value, before = f"r{number}", 8
    nodes += [
        onnx.helper.make_node("GlobalAveragePool", [value], ["pool"], "pool"),
        onnx.helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        onnx.helper.make_node("Gemm", ["flat", "head", "end"], ["y"], "head"),
    ]
    source = net(nodes, weights | {"head": rng.standard_normal((8, 4)), "end": rng.standard_normal(4)}, "y", [3, 8, 8])
    samples = {"x": rng.standard_normal((96, 3, 8, 8)).astype(np.float32)}
    _, plain, _ = last(source, samples, width_mult="0.5")
    free, fitted, made = last(stored_short(source, "float16"), samples, width_mult="0.5")
    assert [each.level for each in fitted.report] == [each.level for each in plain.report] == ["fitted"] * 3
    assert fitted.error < 1.1 * plain.error < free.error
    before_, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for model in (stored_short(source, "float16"), made)
    )
    assert all(after[f"{n}.mean.short"].dtype == np.float16 for n in range(2))
    assert not np.array_equal(before_["0.mean.short"][:4], after["0.mean.short"])


@pytest.mark.parametrize("pair", ["torch-llama-dynamo", "torch-gpt2-torchscript", "torch-t5-encoder-dynamo"])
def test_norms_are_found_whose_gains_are_cast(pair: str) -> None:
    """Written out by exporters, in as many ways as there are."""
    source = golden(pair)
    found = []
    for model in (source, stored_short(source, "float16")):
        norms = find_norms(Session(model).structure.analysis)
        found.append([(n.output, n.centred, n.gain is None, n.bias is None, n.epsilon is None) for n in norms])
    assert found[0] == found[1] and len(found[0]) > 2
