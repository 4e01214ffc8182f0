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
from front_onnx.store.memory import free_memory

__all__ = ["refuse_overwriting", "refuse_too_large", "refuse_too_many"]


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


_NODE = 20_000  # bytes of memory that a node of a result takes while it is made and proven


def refuse_too_many(nodes: int, before: int) -> None:
    """Not even plan a graph that memory does not hold.

    Args:
        nodes: of the result.
        before: of the source; who holds that many can write as many.

    Raises:
        RequestError: says how many it would be, and how many there is room for.
    """
    free = free_memory()
    if nodes > before and free is not None and (nodes - before) * _NODE > free:
        raise RequestError(
            f"the resized model would have {nodes:,} nodes, and there is memory for about {free // _NODE:,}",
            hint="ask for a smaller depth",
        )


def refuse_too_large(proto: onnx.ModelProto, target: Path | None) -> int:
    """Not even start on a result that fits nowhere.

    Returns:
        Bytes of its weights.

    Raises:
        OutputError: says how many they are, and how many there is room for.
    """
    wanted: int = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in proto.graph.initializer
        if tensor.data_type not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    )
    if target is None:
        free, where = onnx.checker.MAXIMUM_PROTOBUF, "a model in memory can hold"
    elif target.parent.is_dir():
        free, where = shutil.disk_usage(target.parent).free, f"are free in {target.parent}"
    else:
        return wanted
    if wanted > free:
        raise OutputError(f"the resized model has {wanted:.3g} bytes of weights, and only {free:.3g} {where}")
    return wanted
