"""What a resized model keeps of its source besides weights: names, notes, and one function however it is written."""

import itertools
from string import ascii_lowercase

import numpy as np
import onnx
import pytest
from golden import golden
from onnx import TensorProto, helper, numpy_helper
from scipy.fft import dctn, idctn
from small import mlp, weights

import front_onnx
from front_onnx.api import inspect


def two_products(gemm: bool) -> onnx.ModelProto:
    """x A, an activation, and a B; each written as MatMul or as Gemm with its weight turned."""
    rng = np.random.default_rng(3)
    nodes, tensors, value = [], [], "x"
    for name, (rows, columns) in {"a": (5, 8), "b": (8, 3)}.items():
        array = rng.standard_normal((rows, columns)).astype(np.float32)
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(array.T) if gemm else array, name))
        nodes.append(helper.make_node("Gemm" if gemm else "MatMul", [value, name], [f"{name}x"], transB=1))
        if not gemm:
            nodes[-1].ClearField("attribute")
        nodes.append(helper.make_node("Tanh", [f"{name}x"], ["y" if name == "b" else f"{name}y"]))
        value = nodes[-1].output[0]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size]) for n, size in (("x", 5), ("y", 3))]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("scale", ["ortho", "fan-in"])
def test_a_product_is_scaled_where_it_sums_however_it_is_written(scale: str) -> None:
    """Eq. 8 for the axis that is summed and for the other one: both matrices change, one on each."""
    made = []
    for gemm in (False, True):
        model = two_products(gemm)
        (dim,) = [d for d in inspect(model).dims if d.size == 8]
        after = weights(front_onnx.resize(model, dims={dim.name: 16}, scale=scale, validate=False).model)
        made.append({name: array.T if gemm else array for name, array in after.items()})
    before = weights(two_products(gemm=False))
    for name, axis in {"a": 1, "b": 0}.items():
        spectrum = dctn(before[name].astype(np.float64), norm="ortho", axes=[axis])
        wider = np.pad(spectrum, [(0, 8 if place == axis else 0) for place in (0, 1)])
        wanted = idctn(wider, norm="ortho", axes=[axis])
        if scale == "fan-in" and name == "a":
            wanted *= np.sqrt(2)  # the variance stays; of "b" that of what it makes, which sums over twice as many
        for matmul_or_gemm in made:
            np.testing.assert_allclose(matmul_or_gemm[name], wanted, atol=1e-6)


def in_a_sequence(step: int) -> onnx.ModelProto:
    """Layers 1, 1 + step, ... of a torch.nn.Sequential whose last member is its head, 0 the embedding."""
    model = mlp(depth=3)
    names = {"embed": "net.0", "head": f"net.{1 + 3 * step}"} | {f"layers.{i}": f"net.{1 + step * i}" for i in range(3)}
    for tensor in model.graph.initializer:
        module, _, kind = tensor.name.rpartition(".")
        tensor.name = f"{names[module]}.{kind}"
    for node in model.graph.node:
        for slot, name in enumerate(node.input):
            module, _, kind = name.rpartition(".")
            if kind in ("weight", "bias"):
                node.input[slot] = f"{names[module]}.{kind}"
    return model


@pytest.mark.parametrize("depth", [2, 5])
@pytest.mark.parametrize("step", [1, 2])
def test_what_comes_before_and_behind_in_a_sequence_has_its_number(step: int, depth: int) -> None:
    resized = front_onnx.resize(in_a_sequence(step), depth=depth, validate=False).model
    wanted = [0, *(1 + step * i for i in range(depth)), 1 + step * depth]
    assert {n for n in weights(resized) if n.endswith("weight")} == {f"net.{i}.weight" for i in wanted}


def test_notes_of_initializers_stay() -> None:
    model = mlp(depth=3)
    for tensor in model.graph.initializer:
        tensor.metadata_props.add(key="trained by", value=tensor.name)
        tensor.doc_string = f"about {tensor.name}"
    resized = front_onnx.resize(model, dims={"hidden": 12}, validate=False).model
    for tensor in resized.graph.initializer:
        assert [(p.key, p.value) for p in tensor.metadata_props] == [("trained by", tensor.name)]
        assert tensor.doc_string == f"about {tensor.name}"


def test_scopes_of_new_blocks_go_on() -> None:
    """The dynamo exporter notes each node's modules; those of added blocks are theirs."""
    before = golden("torch-bert-dynamo")
    resized = front_onnx.resize(before, depth=5, validate=False).model
    scopes = "\n".join(p.value for n in resized.graph.node for p in n.metadata_props if "name_scopes" in p.key)
    assert all(f"encoder.layer.{i}." in scopes for i in range(5)) and "encoder.layer.5" not in scopes


def test_blocks_are_called_as_their_modules() -> None:
    """By the exporter's notes where names of weights say nothing."""
    model = golden("torch-bert-dynamo")
    letters = ("".join(two) for two in itertools.product(ascii_lowercase, repeat=2))
    turned = {tensor.name: name for tensor, name in zip(model.graph.initializer, letters, strict=False)}
    for tensor in model.graph.initializer:
        tensor.name = turned[tensor.name]
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [turned.get(name, name) for name in node.input]
    (chain,) = inspect(model).chains
    assert chain.name == "encoder.layer"


def test_a_weight_shared_by_all_blocks_stays_one() -> None:
    model = mlp(depth=3)
    kept = [t for t in model.graph.initializer if not t.name.startswith(("layers.1", "layers.2"))]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [n.replace("layers.1.w", "layers.0.w").replace("layers.2.w", "layers.0.w") for n in node.input]
        node.input[:] = [n.replace("layers.1.b", "layers.0.b").replace("layers.2.b", "layers.0.b") for n in node.input]
    resized = front_onnx.resize(model, depth=5, dims={"hidden": 12}, validate=False).model
    assert weights(resized).keys() == {f"{m}.{k}" for m in ("embed", "layers.0", "head") for k in ("weight", "bias")}
