"""The oracle itself: what it has to accept and what it has to notice."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from .architectures import ARCHITECTURES
from .export import export
from .opsets import EXPORTERS
from .oracle import compare

both = pytest.mark.parametrize("exporter", EXPORTERS)


@pytest.fixture
def native(zoo_cache) -> Callable[..., onnx.ModelProto]:
    def load(exporter: str, label: str = "source", name: str = "bert") -> onnx.ModelProto:
        architecture = ARCHITECTURES[name]
        return onnx.load(export(architecture, architecture.size(label), exporter, cache_dir=zoo_cache))

    return load


def constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every initializer and every tensor of a Constant node, to change in place."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.attribute[0].t


def named(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Names of constants with their tensors."""
    yield from ((tensor.name, tensor) for tensor in model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def put(tensor: onnx.TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@both
@pytest.mark.parametrize("name", ["bert-fresh", "bert-collisions", "gpt2", "llama", "swin", "resnet-basic"])
def test_accepts_itself(native, exporter, name):
    model = native(exporter, name=name)
    assert compare(model, model, tied=not ARCHITECTURES[name].fresh, names=True) == []


@both
def test_accepts_other_names_another_order_and_swapped_addends(native, exporter):
    model = native(exporter)
    outside = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        node.name = f"renamed_{node.name}"
        for held in (node.input, node.output):
            held[:] = [name if name in outside or not name else f"t_{name}" for name in held]
        if node.op_type in ("Add", "Mul"):
            node.input[:] = list(node.input)[::-1]
    for entry in (*model.graph.initializer, *model.graph.value_info):
        entry.name = f"t_{entry.name}"
    tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    assert compare(model, native(exporter)) == []


@both
def test_accepts_weights_of_its_own(native, exporter):
    model = native(exporter)
    generator = np.random.default_rng(0)
    for tensor in constants(model):
        array = numpy_helper.to_array(tensor)
        if array.size > 1 and array.dtype == np.float32:
            put(tensor, (array * generator.uniform(0.5, 1.5, array.shape)).astype(np.float32))
    assert compare(model, native(exporter)) == []


@both
def test_accepts_constants_as_nodes_and_behind_identities(native, exporter):
    model = native(exporter)
    moved = list(model.graph.initializer)[:6]
    for tensor in moved:
        model.graph.initializer.remove(tensor)
        node = onnx.helper.make_node("Constant", [], [f"{tensor.name}_held"], value=tensor)
        passed = onnx.helper.make_node("Identity", [f"{tensor.name}_held"], [tensor.name])
        model.graph.node.insert(0, passed)
        model.graph.node.insert(0, node)
    assert compare(model, native(exporter)) == []


@both
def test_rejects_every_wrong_reshape(native, exporter):
    """Each constant that goes into a Reshape, alone or as a piece, one number changed."""
    original = native(exporter)
    shapes = {node.input[1] for node in original.graph.node if node.op_type == "Reshape"}
    pieces = {name for node in original.graph.node if set(node.output) & shapes for name in node.input}
    wrong = [name for name, tensor in named(original) if name in shapes | pieces and tensor.data_type == 7]
    assert wrong
    for name in wrong:
        model = native(exporter)
        tensor = dict(named(model))[name]
        array = numpy_helper.to_array(tensor).copy()
        array[..., -1] += 1
        put(tensor, array)
        assert any(name in text for text in compare(model, original)), name


@both
def test_rejects_a_parameter_of_another_shape(native, exporter):
    model = native(exporter)
    tensor = next(t for t in constants(model) if tuple(t.dims) == (20, 80))
    put(tensor, np.zeros((20, 79), np.float32))
    assert any("[20, 79]" in text and "[20, 80]" in text for text in compare(model, native(exporter)))


@both
def test_rejects_exchanged_query_and_key(native, exporter):
    model = native(exporter)
    exchange = {f"encoder.layer.1.attention.self.{a}.bias": b for a, b in (("query", "key"), ("key", "query"))}
    for node in model.graph.node:
        node.input[:] = [
            f"encoder.layer.1.attention.self.{exchange[name]}.bias" if name in exchange else name for name in node.input
        ]
    differences = compare(model, native(exporter), names=True)
    assert len(differences) == 2
    assert all("encoder.layer.1.attention.self" in text for text in differences)


@both
def test_rejects_exchanged_outputs(native, exporter):
    model = native(exporter)
    first, second = model.graph.output
    first.name, second.name = second.name, first.name
    assert compare(model, native(exporter))


@both
def test_rejects_a_changed_scalar(native, exporter):
    model = native(exporter)
    tensor = next(t for t in constants(model) if t.data_type == 1 and numpy_helper.to_array(t).size == 1)
    put(tensor, numpy_helper.to_array(tensor) * np.float32(1.01))
    assert compare(model, native(exporter))


@both
def test_rejects_a_changed_attribute(native, exporter):
    model = native(exporter)
    node = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    next(a for a in node.attribute if a.name == "epsilon").f = 1e-3
    assert any("epsilon" in text for text in compare(model, native(exporter)))


@both
@pytest.mark.parametrize("label", ["shallower", "narrower", "grow", "mixed"])
def test_rejects_another_size(native, exporter, label):
    assert compare(native(exporter), native(exporter, label))
    assert compare(native(exporter, label), native(exporter))


@both
def test_rejects_what_is_left_over(native, exporter):
    model = native(exporter)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "forgotten"))
    model.graph.node.append(onnx.helper.make_node("Neg", ["forgotten"], ["unread"], "dead"))
    differences = compare(model, native(exporter))
    assert any("'forgotten'" in text for text in differences)
    assert any("'dead'" in text for text in differences)


@both
def test_rejects_a_stale_declaration(native, exporter):
    model = native(exporter)
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 21
    assert any("21" in text for text in compare(model, native(exporter)))


@both
def test_rejects_a_tie_that_came_loose(native, exporter):
    loose, tied = native(exporter), native(exporter)
    layer = "encoder.layer.1.attention.self"
    for node in tied.graph.node:
        node.input[:] = [name.replace(f"{layer}.key.bias", f"{layer}.query.bias") for name in node.input]
    unused = next(t for t in tied.graph.initializer if t.name == f"{layer}.key.bias")
    tied.graph.initializer.remove(unused)
    (difference,) = compare(loose, tied)
    assert "tied" in difference
    assert compare(loose, tied, tied=False) == []


@both
def test_rejects_a_head_that_left_its_embedding(native, exporter):
    """Both exporters store the tied head as a transposed copy."""
    model = native(exporter, name="gpt2")
    head = next(t for t in constants(model) if tuple(t.dims) == (20, 101))
    put(head, numpy_helper.to_array(head) * np.float32(1.1))
    assert any("tied" in text for text in compare(model, native(exporter, name="gpt2")))


def test_rejects_a_resampled_table(native):
    model = native("torchscript", name="llama")
    inverse = next(t for t in constants(model) if numpy_helper.to_array(t).size == 3 and t.data_type == 1)
    architecture = ARCHITECTURES["llama"]
    (table,) = {tuple(table.tolist()) for table in architecture.tables(architecture.source)}
    put(inverse, numpy_helper.to_array(inverse) * np.float32(0.9))
    assert compare(model, native("torchscript", name="llama")) == []  # nobody said it was a table
    assert any("table" in text for text in compare(model, native("torchscript", name="llama"), tables=[table]))


def test_a_twin_shows_what_is_computed(native):
    """Exported once more with other weights, tables stay what they are: nobody has to name them."""
    model, twin = native("torchscript", name="llama"), native("torchscript", name="llama")
    for tensor in constants(twin):
        array = numpy_helper.to_array(tensor)
        if array.size > 3 and tensor.data_type == 1:
            put(tensor, array + np.float32(0.1))
    assert compare(model, native("torchscript", name="llama"), twin=twin) == []
    inverse = next(t for t in constants(model) if numpy_helper.to_array(t).size == 3 and t.data_type == 1)
    put(inverse, numpy_helper.to_array(inverse) * np.float32(0.9))
    assert any("table" in text for text in compare(model, native("torchscript", name="llama"), twin=twin))


@both
def test_a_twin_shows_which_scalars_are_weights(native, exporter):
    """One that is another number in the twin may be any number; all others are part of the architecture."""
    model, twin = native(exporter), native(exporter)
    first = next(n for n, t in named(model) if t.data_type == 1 and numpy_helper.to_array(t).size == 1)
    put(dict(named(twin))[first], numpy_helper.to_array(dict(named(twin))[first]) * np.float32(3))
    put(dict(named(model))[first], numpy_helper.to_array(dict(named(model))[first]) * np.float32(1.01))
    assert compare(model, native(exporter)) != []
    assert not any("is a computed" in t or "wanted [" in t for t in compare(model, native(exporter), twin=twin))
    assert compare(model, native(exporter), twin=native(exporter)) != []
