"""Between ONNX's element types and torch's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch
from onnx import TensorProto

from front_onnx.errors import UntrainableError

__all__ = ["from_numpy", "to_numpy", "torch_type"]

# torch has little arithmetic on large unsigned numbers: they are held as int64.
_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int64,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}


def torch_type(data_type: int, where: str) -> torch.dtype:
    """The torch type of an ONNX element type.

    Raises:
        UntrainableError: there is none.
    """
    if data_type not in _TYPES:
        known = data_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(data_type) if known else str(data_type)
        raise UntrainableError("a type that cannot be trained on", node=where, got=name)
    return _TYPES[data_type]


def from_numpy(array: np.ndarray, where: str) -> torch.Tensor:
    """A copy of an array as a tensor; bfloat16 stays bfloat16.

    Raises:
        UntrainableError: torch has no such type.
    """
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    try:
        return torch.from_numpy(np.array(array, order="C"))
    except TypeError:
        raise UntrainableError("a type that cannot be trained on", node=where, got=array.dtype) from None


def to_numpy(tensor: torch.Tensor, dtype: np.dtype) -> np.ndarray:
    """A tensor's values as an array of a type, rounded once."""
    plain = tensor.detach().to("cpu")
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    return plain.numpy().astype(dtype)
