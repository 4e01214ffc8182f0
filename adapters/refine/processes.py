"""Several processes that train one model, as torchrun starts them: who I am, sums over all, my part of a batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from front_onnx.adapters.refine.data import Batch
from torch import Tensor

from front_onnx.errors import RequestError

__all__ = ["Processes", "joined"]


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: the number of this one.
        size: how many there are.
        device: where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the one that writes files and tells of progress."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """This process' samples of a batch; all of a batch that is too small to be shared, which keeps its mean."""
        count = len(next(iter(batch.values())))
        if count < self.size or self.size == 1:
            return batch
        mine = np.array_split(np.arange(count), self.size)[self.rank]
        return {name: array[mine] for name, array in batch.items()}

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, without a gradient."""
        if self.size == 1:
            return value.detach()
        shared = value.detach().clone().to(self.device)  # where the processes can reach it
        dist.all_reduce(shared)
        return shared.to(value.device)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


def _device(asked: str, local: int) -> torch.device:
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda":
        asked = f"cuda:{local}"  # each process has one of its own
    try:
        device = torch.device(asked)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        line = str(error).splitlines()[0][:120]
        raise RequestError(f"there is no device {asked}: {line}", hint="--device cpu") from None
    return device


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    where = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Processes(0, 1, where)
        return
    started = not dist.is_initialized()
    if started:
        if where.type == "cuda":
            torch.cuda.set_device(where)
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, where)
    finally:
        if started:
            dist.destroy_process_group()
