"""Padded tokens count nowhere: what is fed there changes neither what is fitted nor what is told of it."""

import numpy as np
import onnx
import pytest
from golden import golden
from onnx import helper, numpy_helper
from test_calibrate_into import renamed
from tiers import few

import front_onnx
from front_onnx.calibration.settings import CalibrationSettings
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Inputs
from front_onnx.samples.padding import padding
from front_onnx.session import read_any

SETTINGS = CalibrationSettings(ridges=(0.1,), hold_out=0.2)


def feeds(
    seed: int, mask: str, ids: str = "input_ids", length: int = 9, count: int = 24
) -> list[dict[str, np.ndarray]]:
    """Batches of ids below 50, padded at their end with ids that the seed draws."""
    rng, other = np.random.default_rng(0), np.random.default_rng(seed)
    length, found = 9, []
    for _ in range(count):
        lengths = rng.integers(4, length + 1, (8, 1))
        counted = np.arange(length)[None] < lengths
        drawn, padded = rng.integers(1, 50, (8, length)), other.integers(1, 50, (8, length))
        found.append({ids: np.where(counted, drawn, padded), mask: counted.astype(np.int64)})
    return found


def outcome(source: onnx.ModelProto, seed: int, mask: str) -> tuple[list[float], list[int], onnx.ModelProto]:
    result = front_onnx.resize(source, width_mult="0.5", data=feeds(seed, mask), calibration=SETTINGS)
    assert result.calibration is not None and isinstance(result.model, onnx.ModelProto)
    candidates = result.calibration.candidates
    assert not [each.why for each in candidates if each.why] and result.calibration.best.calibrated
    return [each.error for each in candidates], [each.rows for each in candidates[-1].report], result.model


@pytest.mark.parametrize("pair", few(["torch-bert-dynamo", "torch-llama-dynamo"], 1, mark="slow"))
def test_what_is_padded_with_changes_nothing(pair: str) -> None:
    """The mask is known by what it does, under any name."""
    source = renamed(golden(pair), {"input_ids": "input_ids", "attention_mask": "which"})
    assert {info.name for info in source.graph.input} == {"input_ids", "which"}
    first, second = (outcome(source, seed, "which") for seed in (1, 2))
    np.testing.assert_allclose(first[0], second[0], rtol=1e-3)
    counted = sum(int(feed["which"].sum()) for feed in feeds(1, "which")[:1])
    assert first[1] == second[1] and max(first[1]) < 24 * 8 * 9 and counted
    for one, other in zip(first[2].graph.initializer, second[2].graph.initializer, strict=True):
        a, b = numpy_helper.to_array(one), numpy_helper.to_array(other)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, atol=2e-3 * max(float(np.abs(a).max()), 1e-6), err_msg=one.name)


def tokens(end: list[onnx.NodeProto], **constants: np.ndarray) -> Inputs:
    """A table looked up by ids, and what is made of it and of numbers beside them."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["e"]), *end],
        "tokens",
        [helper.make_tensor_value_info(name, 7, ["batch", "length"]) for name in ("ids", "beside")],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32), "table")]
        + [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Inputs.of(Graph(read_any(model)))


def test_a_mask_is_what_hides_tokens() -> None:
    """A sum over what it leaves is a mask's; one over everything, or a table of kinds, is not."""
    given = feeds(1, "beside", "ids", count=2)
    cast = [
        helper.make_node("Cast", ["beside"], ["f"], to=1),
        helper.make_node("Unsqueeze", ["f", "last"], ["u"]),
        helper.make_node("Mul", ["e", "u"], ["m"]),
    ]
    total = helper.make_node("ReduceSum", ["m", "one"], ["y"], keepdims=0)
    axes = {"last": np.array([2]), "one": np.array([1])}
    assert padding(tokens([*cast, total], **axes), given) == "beside"
    each = helper.make_node("Add", ["e", "m"], ["y"])
    assert padding(tokens([*cast, each], **axes), given) == "beside"
    mean = [helper.make_node("Add", ["e", "m"], ["a"]), helper.make_node("ReduceSum", ["a", "one"], ["y"], keepdims=0)]
    assert padding(tokens([*cast, *mean], **axes), given) is None
    kinds = [helper.make_node("Gather", ["kinds", "beside"], ["k"]), helper.make_node("Add", ["e", "k"], ["m"])]
    assert padding(tokens([*kinds, total], **axes, kinds=np.ones((2, 4), np.float32)), given) is None
    whole = [{**feed, "beside": np.ones_like(feed["beside"])} for feed in given]
    assert padding(tokens([*cast, total], **axes), whole) is None
