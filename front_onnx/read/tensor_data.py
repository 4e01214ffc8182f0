"""Between TensorProto and numpy: element types, byte lengths, bytes to array and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from front_onnx.errors import DamagedError, FrontError

__all__ = [
    "array_bytes",
    "check_length",
    "from_buffer",
    "has_data",
    "inside_array",
    "is_float",
    "machine_epsilon",
    "numpy_type",
    "raw_length",
]

# Elements that share bytes; by name because older releases of onnx lack some of them.
_PACKED_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in [
        ("UINT4", 4),
        ("INT4", 4),
        ("FLOAT4E2M1", 4),
        ("UINT2", 2),
        ("INT2", 2),
        ("FLOAT6E2M3", 6),
        ("FLOAT6E3M2", 6),
    ]
    if hasattr(TensorProto, name)
}
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def numpy_type(tensor: TensorProto) -> np.dtype:
    """The numpy type of the tensor's elements (ml_dtypes' for bfloat16, float8 and 4-bit numbers).

    Raises:
        DamagedError: an element type this release of onnx does not know.
    """
    try:
        return _numpy_type(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        raise DamagedError(f"tensor {tensor.name!r} has an unknown element type", got=tensor.data_type) from None


@cache
def _numpy_type(data_type: int) -> np.dtype:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))


@cache
def is_float(dtype: np.dtype) -> bool:
    """True for real floating-point numbers, ml_dtypes' bfloat16 and float8 among them."""
    try:
        ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return dtype.kind != "c"


@cache
def machine_epsilon(dtype: np.dtype) -> float:
    """The distance from 1 to the next number of a floating-point type."""
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def raw_length(tensor: TensorProto) -> int:
    """The bytes that dims and element type ask for in raw_data or in a data file.

    Raises:
        DamagedError: negative dims, or a type that has no raw form (string).
    """
    dims = tuple(tensor.dims)
    if min(dims, default=0) < 0:
        raise DamagedError(f"tensor {tensor.name!r} has a negative size", got=list(dims))
    if tensor.data_type == TensorProto.STRING:
        raise DamagedError(f"tensor {tensor.name!r} holds strings, which have no raw form")
    count = int(math.prod(dims))
    bits = _PACKED_BITS.get(tensor.data_type)
    return count * int(numpy_type(tensor).itemsize) if bits is None else -(-count * bits // 8)


def check_length(tensor: TensorProto, length: int) -> None:
    """Refuse so many bytes for a tensor if its dims and element type ask for another number.

    Raises:
        DamagedError: they do.
    """
    wanted = raw_length(tensor)
    if length != wanted:
        raise DamagedError(f"tensor {tensor.name!r} has another byte length than its shape", got=length, wanted=wanted)


def has_data(tensor: TensorProto) -> bool:
    """True if the tensor carries its values itself."""
    return tensor.HasField("raw_data") or any(len(getattr(tensor, field)) for field in _TYPED)


def from_buffer(tensor: TensorProto, buffer: object, offset: int, length: int) -> np.ndarray:
    """Bytes of `buffer` as the tensor's array, read-only: a view unless bits are packed.

    Raises:
        DamagedError: `length` does not agree with dims and element type.
    """
    check_length(tensor, length)
    dims = tuple(tensor.dims)
    if tensor.data_type in _PACKED_BITS:
        packed = np.frombuffer(buffer, np.uint8, length, offset) if length else np.empty(0, np.uint8)  # type: ignore[call-overload]
        loose = TensorProto(dims=dims, data_type=tensor.data_type, raw_data=packed.tobytes())
        return _frozen(numpy_helper.to_array(loose))
    if length == 0:
        return _frozen(np.empty(dims, numpy_type(tensor)))
    flat: np.ndarray = np.frombuffer(buffer, np.uint8, length, offset)  # type: ignore[call-overload]
    return _frozen(flat.view(numpy_type(tensor)).reshape(dims))


def inside_array(tensor: TensorProto) -> np.ndarray:
    """The values that the tensor carries itself, in raw_data or in a typed field.

    Raises:
        DamagedError: their number does not agree with dims.
    """
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        return from_buffer(tensor, raw, 0, len(raw))
    wanted = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims):
        raise DamagedError(f"tensor {tensor.name!r} has a negative size", got=list(tensor.dims))
    if wanted == 0:
        return _frozen(np.empty(tuple(tensor.dims), numpy_type(tensor)))
    try:
        return _frozen(numpy_helper.to_array(tensor))
    except Exception as error:  # onnx raises whatever its reshape, cast or lookup happens to raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedError(f"tensor {tensor.name!r} cannot be read: {reason}") from None


def array_bytes(tensor: TensorProto, array: np.ndarray) -> np.ndarray:
    """The raw form of `array` for `tensor`: uint8 [raw_length], a view where the array is contiguous.

    Raises:
        FrontError: the array's type or shape is not the tensor's.
    """
    dtype, dims = numpy_type(tensor), tuple(tensor.dims)
    if array.dtype != dtype:
        raise FrontError(f"tensor {tensor.name!r} was given another element type", got=array.dtype, wanted=dtype)
    if array.shape != dims:
        raise FrontError(f"tensor {tensor.name!r} was given another shape", got=array.shape, wanted=dims)
    raw_length(tensor)  # refuses strings
    if tensor.data_type in _PACKED_BITS:
        return np.frombuffer(numpy_helper.from_array(np.ascontiguousarray(array)).raw_data, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _frozen(array: np.ndarray | Sequence[object]) -> np.ndarray:
    out = np.asarray(array)
    out.flags.writeable = False
    return out
