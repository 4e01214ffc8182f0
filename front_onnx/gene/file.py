"""Learngene files: safetensors, with the template as bytes and one key of sorted JSON: equal inputs give equal bytes.

A file is untrusted: everything is checked before anything is computed, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from front_onnx.errors import DamagedError, FileError
from front_onnx.gene.basis import as_data, from_data
from front_onnx.gene.gene import Gene, Member, Stack
from front_onnx.gene.header import check_header
from front_onnx.read.external_data import is_external
from front_onnx.read.specified import check_nodes
from front_onnx.read.tensor_data import array_bytes, from_buffer, has_data, numpy_type, raw_length
from front_onnx.store.atomic import Staged

__all__ = ["holds_gene", "is_gene", "read_gene", "write_gene"]

_KEY = "front_onnx"
_FORMAT = "learngene 1"
_SMALL = 1 << 24  # numbers that stacks may have, whatever the file's size
_WIDER = 1 << 12  # by how much they may outgrow it; at a ratio of 0.1 along three axes it is a thousand
_PLAIN = {np.dtype(t) for t in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")}


def is_gene(path: object) -> TypeGuard[str | os.PathLike[str]]:
    """True if a path looks like that of a learngene."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).endswith(".safetensors")


def holds_gene(path: str | os.PathLike[str]) -> bool:
    """True unless a file is one of safetensors without a learngene's header: weights, and no graph."""
    try:
        with safe_open(path, "np") as opened:
            return _KEY in (opened.metadata() or {})
    except (OSError, SafetensorError):
        return True  # what is wrong with it is told where it is read


def write_gene(gene: Gene, output: Staged) -> None:
    """Write a learngene.

    Raises:
        FrontError: the system refuses to write.
    """
    template = gene.template.SerializeToString(deterministic=True)
    arrays = {name: _stored(gene, name, array) for name, array in gene.arrays.items()}
    arrays["template"] = np.frombuffer(template, np.uint8)
    about = {
        "format": _FORMAT,
        **gene.about,
        "template": hashlib.sha256(template).hexdigest(),
        "stacks": [_stack_data(stack) for stack in gene.stacks],
    }
    metadata = {_KEY: json.dumps(about, sort_keys=True, separators=(",", ":"))}
    with output.writing():
        try:
            save_file(arrays, output.path, metadata=metadata)
        except SafetensorError as error:
            raise OSError(None, str(error)) from None
        mask = os.umask(0)  # safetensors makes files that only their owner can read
        os.umask(mask)
        output.path.chmod(0o666 & ~mask)


def _stored(gene: Gene, name: str, array: np.ndarray) -> np.ndarray:
    """What safetensors can hold and load: types it lacks go as bytes, in no shape."""
    array = np.ascontiguousarray(array)  # anything else is saved wrong without a word
    if _type_name(array.dtype) is not None:
        return array
    tensor = next((t for t in gene.template.graph.initializer if f"value/{t.name}" == name), None)
    return array.reshape(-1).view(np.uint8) if tensor is None else np.array(array_bytes(tensor, array))


def _stack_data(stack: Stack) -> dict[str, Any]:
    return {
        "members": [[m.name, m.index, m.transposed] for m in stack.members],
        "depth": as_data(stack.depth),
        "axes": [as_data(axis) for axis in stack.axes],
        "lowest": stack.lowest,
        "energy": stack.energy,
    }


def read_gene(path: str | os.PathLike[str]) -> Gene:
    """Read and check a learngene; coefficients are read when they are asked for.

    Raises:
        FileError: no such file, or no learngene.
        DamagedError: a learngene whose parts do not belong together.
    """
    where = Path(os.fspath(path))
    if not where.is_file():
        raise FileError(f"there is no file {where}")
    try:
        return _read(where)
    except DamagedError as error:
        told = str(error)
        raise error if str(where) in told else DamagedError(f"{where} is damaged: {told}") from None
    except (SafetensorError, DecodeError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise DamagedError(f"{where} is no learngene or is damaged: {line or type(error).__name__}") from None


def _read(path: Path) -> Gene:
    with safe_open(path, "np") as opened:
        metadata = opened.metadata() or {}
        if _KEY not in metadata:
            raise FileError(f"{path} is no learngene: it has no header of front-onnx")
        about = json.loads(metadata[_KEY])
        if not isinstance(about, dict) or about.get("format") != _FORMAT:
            raise FileError(
                f"{path} is a learngene of another version",
                got=str(about.get("format") if isinstance(about, dict) else about)[:40],
                wanted=_FORMAT,
            )
        check_header(about)
        found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
        shapes = {name: (piece.get_dtype(), tuple(piece.get_shape())) for name, piece in found.items()}
        raw = opened.get_tensor("template").tobytes()
    if hashlib.sha256(raw).hexdigest() != about.pop("template"):
        raise DamagedError(f"{path} is damaged: its template does not belong to it")
    template = onnx.ModelProto.FromString(raw)
    stacks = tuple(_stack(data) for data in about.pop("stacks"))
    _check(path, template, stacks, shapes)
    check_nodes(template)
    values = tuple(sorted(name.removeprefix("value/") for name in shapes if name.startswith("value/")))
    tensors = {tensor.name: tensor for tensor in template.graph.initializer}
    return Gene(template, stacks, values, _Arrays(path, tuple(shapes), tensors, stacks), about)


def _stack(data: Mapping[str, Any]) -> Stack:
    members = tuple(Member(*member) for member in data["members"])
    return Stack(members, from_data(data["depth"]), tuple(map(from_data, data["axes"])), data["lowest"], data["energy"])


def _check(
    path: Path, template: onnx.ModelProto, stacks: tuple[Stack, ...], shapes: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Every initializer of the template has its data just once, in its shape; nothing else is in the file."""
    tensors = {tensor.name: tensor for tensor in template.graph.initializer}
    empty = {name for name, tensor in tensors.items() if not has_data(tensor) and raw_length(tensor)}
    wanted = {"template"}
    for tensor in tensors.values():
        if is_external(tensor):
            raise DamagedError(f"{path} is damaged: its template reads a file", got=tensor.name)
    room = max(_SMALL, _WIDER * path.stat().st_size)
    for stack in stacks:
        wanted.add(stack.key)
        room -= math.prod(stack.shape)
        if room < 0:
            raise DamagedError(f"{path} is damaged: a stack is too large to be real", got=stack.shape)
        for member in stack.members:
            tensor = tensors.get(member.name)
            dims = None if tensor is None else tuple(tensor.dims)[:: -1 if member.transposed else 1]
            if dims != stack.shape[1:] or not 0 <= member.index < stack.depth.size or member.name not in empty:
                raise DamagedError(f"{path} is damaged: a stack does not fit its template", got=member.name)
            empty.discard(member.name)
    for name in empty:
        wanted.add(f"value/{name}")
    if wanted != set(shapes):
        odd = sorted(wanted ^ set(shapes))
        raise DamagedError(f"{path} is damaged: its tensors are not those of its template", got=", ".join(odd[:3]))
    for stack in stacks:
        _check_shape(path, stack.key, shapes[stack.key], stack.kept, tensors[stack.members[0].name])
    for name in empty:
        _check_shape(path, f"value/{name}", shapes[f"value/{name}"], tuple(tensors[name].dims), tensors[name])


_LETTERS = {"i": "I", "u": "U", "f": "F"}


def _type_name(dtype: np.dtype) -> str | None:
    """How safetensors calls a type; None for those that are stored as bytes."""
    if dtype.name == "bfloat16":
        return "BF16"
    if dtype not in _PLAIN:
        return None
    return "BOOL" if dtype.kind == "b" else f"{_LETTERS[dtype.kind]}{8 * dtype.itemsize}"


def _check_shape(
    path: Path, name: str, found: tuple[str, tuple[int, ...]], dims: tuple[int, ...], tensor: TensorProto
) -> None:
    dtype = numpy_type(tensor)
    wanted = (_type_name(dtype), dims)
    if wanted[0] is None:
        count = math.prod(dims) * dtype.itemsize if name.startswith("stack/") else raw_length(tensor)
        wanted = ("U8", (count,))
    if found != wanted:
        raise DamagedError(f"{path} is damaged: {name} has another shape or type", got=found, wanted=wanted)


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays of a learngene file, read when asked for."""

    def __init__(
        self, path: Path, names: tuple[str, ...], tensors: Mapping[str, TensorProto], stacks: tuple[Stack, ...]
    ) -> None:
        self._path, self._names, self._tensors = path, names, tensors
        self._stacks = {stack.key: stack for stack in stacks}

    def __getitem__(self, name: str) -> np.ndarray:
        with safe_open(self._path, "np") as opened:
            array: np.ndarray = opened.get_tensor(name)
        stack = self._stacks.get(name)
        tensor = self._tensors[stack.members[0].name if stack is not None else name.removeprefix("value/")]
        dtype = numpy_type(tensor)
        if array.dtype == dtype:
            return array
        if stack is not None:
            return array.view(dtype).reshape(stack.kept)
        raw = array.tobytes()
        return from_buffer(tensor, raw, 0, len(raw))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
