"""What cannot be resized is said in one line; such models are still inspected, and come out as they are."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from small import constants, feed, mlp, run

import front_onnx


class _Noise(CalibrationDataReader):
    def __init__(self, model: onnx.ModelProto) -> None:
        self.left = [feed(model)]

    def get_next(self) -> dict | None:
        return self.left.pop() if self.left else None


def _dynamic(model: onnx.ModelProto, path: Path) -> None:
    quantize_dynamic(model, path)


def _static(model: onnx.ModelProto, path: Path) -> None:
    quantize_static(model, path, _Noise(model), quant_format=QuantFormat.QDQ)


def _operators(model: onnx.ModelProto, path: Path) -> None:
    quantize_static(model, path, _Noise(model), quant_format=QuantFormat.QOperator)


def _four_bits(model: onnx.ModelProto, path: Path) -> None:
    quantizer = MatMulNBitsQuantizer(model, block_size=16, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


@pytest.mark.parametrize(
    ("quantise", "operator"),
    [
        (_dynamic, "DynamicQuantizeLinear"),
        (_static, "DequantizeLinear|QuantizeLinear"),
        (_operators, "QuantizeLinear"),
        (_four_bits, "MatMulNBits"),
    ],
)
@pytest.mark.parametrize("request_", [{"depth": 2}, {"width": 8}, {"width_mult": 2}, {"ratio": 0.5}])
def test_quantised_models_are_to_be_resized_before(tmp_path: Path, quantise, operator: str, request_: dict) -> None:
    logging.disable(logging.WARNING)
    path = tmp_path / "quantised.onnx"
    quantise(mlp(width=16), path)
    logging.disable(logging.NOTSET)
    front_onnx.inspect(path)
    same = front_onnx.resize(path, output=tmp_path / "same.onnx")
    assert same.validation.passed
    before, after = onnx.load(path).graph, onnx.load(same.output).graph
    assert (list(after.node), list(after.initializer)) == (list(before.node), list(before.initializer))
    with pytest.raises(front_onnx.FrontError, match=f"quantised: ({operator}) .*node .*resize the float model") as said:
        front_onnx.resize(path, **request_, output=tmp_path / "other.onnx")
    assert said.value.exit_code == 2
    assert not (tmp_path / "other.onnx").exists()


def test_weights_stored_as_bytes() -> None:
    model = mlp()
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    name, array = weight.name, numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.round(array * 40).astype(np.int8), f"{name}.bytes"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 40), f"{name}.scale"))
    model.graph.node.insert(0, helper.make_node("Cast", [weight.name], ["loose"], "restore", to=TensorProto.FLOAT))
    model.graph.node.insert(1, helper.make_node("Mul", ["loose", f"{name}.scale"], [name], "scale"))
    assert front_onnx.resize(model).validation.passed
    with pytest.raises(front_onnx.FrontError, match=r"quantised: Cast .*node restore"):
        front_onnx.resize(model, width_mult=2)


def test_a_factor_that_changes_nothing_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "only")]
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "bare", shape[:1], shape[1:]), ir_version=8)
    assert front_onnx.resize(model, width_mult=1, validate=False).model.graph == model.graph
    with pytest.raises(front_onnx.FrontError, match="width_mult has nothing to scale"):
        front_onnx.resize(model, width_mult=2)


def test_sparse_weights(tmp_path: Path) -> None:
    model = mlp()
    dense = model.graph.initializer[0]
    array = numpy_helper.to_array(dense)
    places = np.argwhere(array != 0)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(array[tuple(places.T)], dense.name),
            numpy_helper.from_array(places.astype(np.int64), f"{dense.name}.places"),
            array.shape,
        )
    )
    arrays = feed(model)
    wanted = run(model, arrays)
    del model.graph.initializer[0]
    same = front_onnx.resize(model).model
    assert same.graph == model.graph
    for mine, theirs in zip(run(same, arrays), wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    with pytest.raises(front_onnx.FrontError, match=rf"{dense.name} is sparse.*dense"):
        front_onnx.resize(model, depth=2)


def _with_sequence(model: onnx.ModelProto, *parts: str) -> onnx.ModelProto:
    """The first layer's result goes through a sequence, of its entries or of parts of a size."""
    at = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Relu")
    name = model.graph.node[at].output[0]
    model.graph.node[at].output[0] = "whole"
    model.graph.node.insert(at + 1, helper.make_node("SplitToSequence", ["whole", *parts], ["parts"], "split", axis=-1))
    model.graph.node.insert(at + 2, helper.make_node("ConcatFromSequence", ["parts"], [name], "join", axis=-1))
    return model


def _with_optional(model: onnx.ModelProto) -> onnx.ModelProto:
    """An optional input that is only asked whether it is there."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    model.graph.input.append(helper.make_value_info("maybe", kind))
    model.graph.node.append(helper.make_node("OptionalHasElement", ["maybe"], ["given"], "ask"))
    model.graph.output.append(helper.make_tensor_value_info("given", TensorProto.BOOL, []))
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 18))
    return model


def test_a_sequence_keeps_the_number_of_its_members() -> None:
    model = _with_sequence(mlp())
    (dim,) = [dim for dim in front_onnx.inspect(model).dims if dim.size == 6]
    assert front_onnx.resize(model).validation.passed
    with pytest.raises(front_onnx.FrontError, match=r"the number of members \(split\)"):
        front_onnx.resize(model, dims={dim.name: 12})


def test_parts_of_a_sequence_follow_the_width() -> None:
    model = _with_sequence(mlp(), "half")
    model.graph.initializer.append(numpy_helper.from_array(np.int64(3), "half"))
    made = front_onnx.resize(model, width_mult=2)
    assert made.validation.passed
    assert int(constants(made.model)["half"]) == 6


def test_declared_members_of_a_sequence_have_the_new_sizes() -> None:
    model = mlp()
    names = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    model.graph.node.append(helper.make_node("SequenceConstruct", names[:2], ["features"], "collect"))
    model.graph.output.append(helper.make_tensor_sequence_value_info("features", TensorProto.FLOAT, ["batch", 6]))
    made = front_onnx.resize(model, width_mult=2)
    assert made.validation.passed
    declared = made.model.graph.output[1].type.sequence_type.elem_type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in declared] == ["batch", 12]


def test_a_sequence_that_grows_at_run_time_freezes_what_it_holds() -> None:
    model = _with_sequence(mlp(), "some")
    model.graph.input.append(helper.make_tensor_value_info("some", TensorProto.INT64, []))
    front_onnx.inspect(model)
    with pytest.raises(front_onnx.FrontError, match=r"SplitToSequence split cannot be followed: .*some.* at run time"):
        front_onnx.resize(model, width_mult=2)


def test_optional_inputs_are_left_alone(tmp_path: Path) -> None:
    model = _with_optional(mlp())
    front_onnx.inspect(model)
    resized = front_onnx.resize(model, width_mult=2)
    assert resized.model.graph.input == model.graph.input
