"""A device that is not there: tensors that say they lie on it, are computed on the processor, and refuse to be mixed.

The rules are those of torch on a GPU: numbers without axes may come from the processor, what has axes may not, and what
is read as a number is copied. What a GPU cannot compute, or computes otherwise, is not seen here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["ELSEWHERE", "brought", "elsewhere", "pretended"]

ELSEWHERE = torch.device("meta")  # a name that every build of torch knows

_COPIES = {"_to_copy", "copy_"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}  # indices may come from the processor
_STRICT = {"cat", "stack", "index_select", "gather", "mm", "bmm", "addmm", "convolution"}  # not even numbers


class _There(torch.Tensor):
    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> _There:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=ELSEWHERE,
            requires_grad=False,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, _There)]
    here = [x for x in tensors if not isinstance(x, _There)]
    if there and here and name not in _COPIES | _INDEXED:
        numbers = all(not x.dim() for x in here) and name not in _STRICT
        if not numbers:
            raise RuntimeError(f"{name}: tensors on two devices, {[list(x.shape) for x in tensors]}")
    goes = bool(there)
    if name == "copy_":
        goes = isinstance(args[0], _There)
    elif kwargs.get("device") is not None:
        goes = torch.device(kwargs["device"]).type == ELSEWHERE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain, named = tree_map(lambda x: x.held if isinstance(x, _There) else x, (args, kwargs))
    made = func(*plain, **named)
    if func._schema.is_mutable and name.endswith("_"):
        return args[0]
    return tree_map(lambda x: _There(x) if goes and isinstance(x, torch.Tensor) else x, made)


def elsewhere(x: torch.Tensor) -> torch.Tensor:
    """A tensor on the pretended device."""
    return _There(x.detach())


def brought(x: torch.Tensor) -> torch.Tensor:
    """A tensor of either device on the processor."""
    return (x.held if isinstance(x, _There) else x).detach()


@contextlib.contextmanager
def pretended() -> Iterator[None]:
    """Tensors may be made on the pretended device, and moved to it."""
    with _Mode():
        yield
