"""Element types: resizing and rounding to another type commute, so weights and scalars are right in each."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from small import constants
from tiers import few
from zoo.architectures import ARCHITECTURES
from zoo.export import export

import front_onnx

TYPES = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "float64": (TensorProto.DOUBLE, np.float64),
}


def rounded(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """A float32 model in another floating type, everywhere."""
    kind, dtype = TYPES[name]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = list(copy.graph.initializer)
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            elif node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = kind
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            array = np.clip(numpy_helper.to_array(tensor), -1e4, 1e4)  # masks are lower than half precision goes
            tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    for info in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = kind
    return copy


MODELS = [
    ("bert", "torchscript", {"depth": 2, "width": 40, "head_dim": 10}),
    ("bert-eager", "dynamo", {"depth": 5, "head_dim": 4, "heads": 5}),
    ("llama", "torchscript", {"width": 48}),
    ("t5-encoder", "torchscript", {"width": 40}),
    ("resnet-basic", "torchscript", {"depth": "1,2,3,2", "width_mult": 2}),
]
ROUNDED = [(*model, kind) for model in MODELS for kind in TYPES]


@pytest.mark.parametrize(("name", "exporter", "request_", "kind"), few(ROUNDED, ROUNDED[::2]))
def test_resizing_commutes_with_rounding(zoo_cache: Path, name: str, exporter: str, request_: dict, kind: str) -> None:
    architecture = ARCHITECTURES[name]
    source = onnx.load(export(architecture, architecture.source, exporter, cache_dir=zoo_cache))
    mine = front_onnx.resize(rounded(source, kind), **request_, validate=False).model
    wanted = rounded(front_onnx.resize(source, **request_, validate=False).model, kind)
    assert [node.op_type for node in mine.graph.node] == [node.op_type for node in wanted.graph.node]
    assert list(mine.graph.output) == list(wanted.graph.output)
    ours, theirs = constants(mine), constants(wanted)
    assert ours.keys() == theirs.keys()
    moved = constants(rounded(source, kind))
    assert sum(key not in moved or moved[key].shape != array.shape for key, array in theirs.items()) > 5
    for key, array in theirs.items():
        assert ours[key].dtype == array.dtype
        precision = 0 if array.dtype.kind in "iub" else float(ml_dtypes.finfo(array.dtype).eps)
        close = max(precision * 4, 1e-6)
        np.testing.assert_allclose(ours[key].astype(np.float64), array.astype(np.float64), close, close, err_msg=key)
