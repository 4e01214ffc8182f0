"""Scalars that are sizes: a mean that is written out stays a mean."""

from __future__ import annotations

import random

import numpy as np
import pytest
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
