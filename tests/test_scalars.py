"""Scalars that are sizes: a mean that is written out stays a mean."""

from __future__ import annotations

import random

import numpy as np
import pytest
from onnx import numpy_helper
from small_graphs import Net, feeds_for, run_all

from front_onnx.api import resize


@pytest.mark.parametrize("form", ["Div", "Mul"])
def test_a_mean_that_is_written_out_stays_a_mean(form):
    net = Net(random.Random(0))
    x = net.add("MatMul", net.input([3, 5]), net.weight(5, 8))
    total = net.add("ReduceSum", x, net.ints(1), keepdims=0)
    total = net.add("Expand", net.add("Reshape", total, net.ints(3, 1)), net.ints(3, 8))
    count = net.const(8.0 if form == "Div" else 1 / 8, np.float32)
    mean = net.add(form, total, count)
    net.add("MatMul", net.add("Sub", x, mean), net.weight(8, 4))
    model = resize(net.model(), width_mult="1/2", validate=False).model
    made = run_all(model, feeds_for(model))
    np.testing.assert_allclose(made[mean], made[x].mean(1, keepdims=True).repeat(4, 1), rtol=1e-4, atol=1e-6)


def test_what_scales_an_output_is_no_scale_of_embeddings():
    """Nothing reads it, so that no product with an embedding tells that the root of the classes is meant."""
    net = Net(random.Random(0))
    hidden = net.add("Relu", net.add("MatMul", net.input([2, 5]), net.weight(5, 9)))
    net.add("Mul", hidden, net.const(3.0, np.float32, name="scale"))
    result = resize(net.model(), dims={"classes": 18}, validate=False)
    scales = [tensor for tensor in result.model.graph.initializer if tensor.name == "scale"]
    assert [numpy_helper.to_array(tensor).item() for tensor in scales] == [3.0]
    assert any("scales by 3" in warning for warning in result.plan.warnings)
