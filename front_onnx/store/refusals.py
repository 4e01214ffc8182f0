"""Where a result cannot be written: told before any work is done."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import onnx

from front_onnx.errors import OutputError, RequestError
from front_onnx.read.model_file import ModelFile
from front_onnx.store.atomic import replaceable

__all__ = ["refuse_overwriting", "refuse_too_large"]


def refuse_overwriting(source: ModelFile, target: Path | None) -> None:
    """Never write over what is read: the model, its data files, whatever tensor they belong to.

    Raises:
        RequestError: the target is one of these files, or no file can be written there.
    """
    if target is None:
        return
    real = replaceable(target)
    for path in (real, real.with_name(f"{real.name}.data")):
        for used in source.files:
            if os.path.exists(path) and used.exists() and path.samefile(used):
                own = source.path is not None and path.samefile(source.path)
                line = "the output is the input" if own else "the output would replace the input's data"
                raise RequestError(line, got=str(path), hint="choose another -o")


def refuse_too_large(proto: onnx.ModelProto, target: Path | None) -> None:
    """Not even start on a result that fits nowhere."""
    wanted = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in proto.graph.initializer
        if tensor.data_type not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    )
    if target is None:
        free, where = onnx.checker.MAXIMUM_PROTOBUF, "a model in memory can hold"
    elif target.parent.is_dir():
        free, where = shutil.disk_usage(target.parent).free, f"are free in {target.parent}"
    else:
        return
    if wanted > free:
        raise OutputError(f"the resized model has {wanted:.3g} bytes of weights, and only {free:.3g} {where}")
