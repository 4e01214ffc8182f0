"""Attributes that a node leaves out, in files of every age: the specification's own default of that version."""

import numpy as np
import onnx
import pytest
import torch
from front_onnx.adapters.executor.module import OnnxModule
from onnx import TensorProto, helper, numpy_helper
from small_graphs import run_all

from front_onnx.api import resize
from front_onnx.read.attributes import defaults

WIDE = np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8)


def model(op_type: str, opset: int, *more: np.ndarray) -> onnx.ModelProto:
    """x [5, 6] by a weight [6, 8], then the operator."""
    held = {"w": WIDE, **{f"more{n}": array for n, array in enumerate(more)}}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node(op_type, ["h", *(f"more{n}" for n in range(len(more)))], ["y0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 6])],
        [helper.make_empty_tensor_value_info("y0")],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    return onnx.shape_inference.infer_shapes(proto)


CASES = {
    "Softmax 11": ("Softmax", 11),
    "Softmax 13": ("Softmax", 13),
    "LogSoftmax 11": ("LogSoftmax", 11),
    "Hardmax 12": ("Hardmax", 12),
    "GatherND 11": ("GatherND", 11, np.array([[1], [3]])),
    "GatherND 12": ("GatherND", 12, np.array([[1], [3]])),
    "Gather 11": ("Gather", 11, np.array([1, 3])),
    "Flatten 11": ("Flatten", 11),
    "Pad 11": ("Pad", 11, np.array([0, 1, 0, 1])),
    "ArgMax 11": ("ArgMax", 11),
    "LayerNormalization 16": ("LayerNormalization", 16, np.ones(8, np.float32)),
    "LayerNormalization 17": ("LayerNormalization", 17, np.ones(8, np.float32)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_node_leaves_out_is_as_its_version_has_it(case: str, tmp_path) -> None:
    op_type, opset, *more = CASES[case]
    proto = model(op_type, opset, *more)
    feeds = {"x": np.linspace(-2, 2, 30, dtype=np.float32).reshape(5, 6) ** 3}
    wanted = run_all(proto, feeds)["y0"]
    onnx.save(proto, tmp_path / "m.onnx")
    got = OnnxModule(tmp_path / "m.onnx")(torch.from_numpy(feeds["x"]))["y0"]
    np.testing.assert_allclose(np.asarray(got.detach()), wanted, rtol=1e-5, atol=1e-5)
    result = resize(proto, dims={"x.1": 7}, validate=False)
    analysis = result.plan.structure.analysis
    assert not analysis.troubles
    made = run_all(result.model, {"x": np.ones((5, 7), np.float32)})["y0"]
    assert [result.plan.size(axis) for axis in analysis.facts["y0"].axes] == list(made.shape)


def test_defaults_are_those_of_the_version() -> None:
    assert [defaults("Softmax", "", version)["axis"] for version in (1, 11, 13)] == [1, 1, -1]
    assert "batch_dims" not in defaults("GatherND", "", 11)
    assert defaults("LayerNormalization", "", 12)["axis"] == -1
    assert defaults("NoSuchOperator", "", 12) == {}
    assert defaults("FusedGemm", "com.microsoft", 1)["beta"] == 1
