"""The loop of a refinement: (1 - lambda) L_task + lambda L_reg, epoch by epoch (Eq. 7)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.executor.types import from_numpy
from front_onnx.adapters.refine.checkpoint import load_checkpoint, save_checkpoint
from front_onnx.adapters.refine.data import LABELS, Arrays, Batch, Data
from front_onnx.adapters.refine.history import write_log
from front_onnx.adapters.refine.losses import Task, distillation
from front_onnx.adapters.refine.nearness import Nearness
from front_onnx.adapters.refine.processes import Processes
from front_onnx.adapters.refine.settings import Settings
from front_onnx.adapters.refine.teacher import Teacher
from front_onnx.adapters.spectral.regularizer import SpectralRegularizer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from front_onnx.check.synthetic import index_limits
from front_onnx.errors import FrontError, RequestError

__all__ = ["HALF", "Loop", "Tell"]

Tell = Callable[[dict[str, Any]], None]
HALF = 0.5  # the bands of the log: the lower and the upper half of the frequencies along every axis
_FIRST_LR = 1e-6  # where the warm-up begins
_DIVERGED = 10.0  # times the first loss, or this much where that is below 1


class _Objective(nn.Module):
    """Batch to loss, in one module, so that data-parallel training sees all of it."""

    def __init__(
        self,
        module: OnnxModule,
        task: Task | None,
        teacher: Teacher | None,
        regularizer: SpectralRegularizer | None,
        settings: Settings,
        output: str,
        processes: Processes,
    ) -> None:
        super().__init__()
        self.module = module
        self.task, self.settings, self.output, self.processes = task, settings, output, processes
        self.others = (teacher, regularizer)  # in a tuple: no submodules
        self.nearness: Nearness | None = None  # told of what is made and taught, while something is measured

    def forward(
        self, batch: dict[str, Tensor], share: float = 1.0, first: bool = True
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(the loss to go back from, L_task, L_reg, sums of metric and its count) of this process' samples.

        Args:
            batch: the samples.
            share: their part of the samples of a step; the first three are parts of its means.
            first: True for the first part, which L_reg goes with: it counts once in a step.
        """
        teacher, regularizer = self.others
        device = self.processes.device
        reduced = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.settings.amp)
        with torch.autocast(device.type, reduced) if reduced and self.training else nullcontext():
            outputs = self.module({name: batch[name] for name in self.module.input_names})
        task, metric = self._task(outputs, batch, teacher)
        task = task * share
        penalty = task.new_zeros(())
        total = task
        if regularizer is not None and self.training and not first:
            total = (1 - regularizer.lam) * task
        elif regularizer is not None and self.training:
            total = regularizer.total(task)
            penalty = penalty if regularizer.last is None else regularizer.last
        return total, task.detach(), penalty.detach(), metric

    def _task(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], teacher: Teacher | None
    ) -> tuple[Tensor, Tensor]:
        """The mean over the samples of all processes, times their number: data-parallel training takes the mean."""
        total = torch.zeros((), device=self.processes.device)
        metric = torch.zeros(2, device=self.processes.device)
        if self.task is not None:
            loss = self.task(outputs, batch)
            count = self.processes.total(loss.count).clamp(min=1)
            total = total + loss.total * self.processes.size / count
            if loss.metric is not None and loss.metric_count is not None:
                metric = torch.stack([loss.metric.float(), loss.metric_count.float()])
        if teacher is not None:
            taught = teacher(batch)
            made = outputs[self.output]
            if self.nearness is not None:
                self.nearness.add(made.detach(), taught)
            axis = None if self.task is None else self.task.class_axis(made, batch)
            added, number = distillation(made, taught, self.settings.temperature, axis)
            part = added * self.processes.size / self.processes.total(number)
            total = total + self.settings.distill_weight * part
            if self.task is None:
                metric = torch.stack([added.detach().float(), number.float()])
        return total, metric


@dataclass
class Loop:
    """A refinement, ready to run.

    Attributes:
        module: the model, changed in place.
        data, validation: batches to learn from and to measure on.
        settings: how.
        task: the loss on labels, or None where a teacher says all.
        output: the output that the losses read.
        teacher: or None.
        regularizer: or None, for a run without L_reg.
        processes: who takes part.
        about: what the run is, to be compared when it is resumed.
        checkpoint, log: the files.
        tell: told of every step and epoch.
    """

    module: OnnxModule
    data: Data
    validation: Data | None
    settings: Settings
    task: Task | None
    output: str
    teacher: Teacher | None
    regularizer: SpectralRegularizer | None
    processes: Processes
    about: dict[str, Any]
    checkpoint: Path
    log: Path
    tell: Tell

    def __post_init__(self) -> None:
        s = self.settings
        self.objective = _Objective(
            self.module, self.task, self.teacher, self.regularizer, s, self.output, self.processes
        )
        weights = self.module.weights().values()
        groups = [
            {"params": [p for p in weights if p.dim() > 1], "weight_decay": s.weight_decay},
            {"params": [p for p in weights if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=s.lr)
        self.steps = -(-self.data.steps // s.accumulate)
        total, warm = s.epochs * self.steps, s.warmup * self.steps
        first = min(1.0, _FIRST_LR / s.lr)

        def factor(step: int) -> float:
            if step < warm:
                return first + (1 - first) * (step + 1) / (warm + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1.0, total - warm)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.scaler = torch.amp.GradScaler(self.processes.device.type, enabled=s.amp == "fp16")
        self.metric = self.task.metric if self.task is not None else "squared error"
        if self.settings.every > total:
            raise RequestError("--every is more than all steps", got=self.settings.every, wanted=total)
        self.history: list[dict[str, Any]] = []
        self.first_loss: float | None = None
        self.norms: dict[str, float] = {}  # of both terms' gradients, at the first step of an epoch
        self.keeps_best = True
        self.written = 0  # the epoch whose weights the module ends with
        self._best: dict[str, Tensor] | None = None  # where that is not the last one

    def run(self, resume: bool) -> list[dict[str, Any]]:
        """All epochs that are left; one record for each, epoch 0 being the start.

        Raises:
            FrontError: the loss is no number or has run away (the message names the step and the last good
                checkpoint), memory does not suffice, a checkpoint cannot be read or written.
        """
        self._try()
        if resume:
            self._load()
        elif self.processes.leads:
            self.checkpoint.unlink(missing_ok=True)  # of a run before this one
        wrapped: nn.Module = self.objective
        if self.processes.size > 1:
            devices = [self.processes.device] if self.processes.device.type == "cuda" else None
            wrapped = DistributedDataParallel(
                self.objective, devices, find_unused_parameters=True, broadcast_buffers=False
            )
        if not self.history:
            self._record({"epoch": 0, "steps": 0, **self._measured()})
            self._keep()
        for epoch in range(len(self.history), self.settings.epochs + 1):
            record = self._epoch(wrapped, epoch)
            self._record({**record, **self._measured()})
            self._keep()
            if self.processes.leads:
                self._save()
            self.processes.wait()
        if self._best is not None:
            self.module.load_state_dict(self._best)
        return self.history

    def _keep(self) -> None:
        """Keep the weights, if they are the best so far on the validation data; without any the last ones count."""
        scores = [self._score(record) for record in self.history]
        if not self.keeps_best or scores[-1] is None:
            self.written, self._best = self.history[-1]["epoch"], None
            return
        good = [score for score in scores if score is not None]
        if scores[-1] == min(good) and good.count(scores[-1]) == 1:
            self.written = self.history[-1]["epoch"]
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def _score(self, record: dict[str, Any]) -> float | None:
        """What is trained for, on the validation data: (1 - lambda) L_task + lambda L_reg; None if it is not known."""
        task, penalty = record.get("validation_loss"), record.get("reg_now")
        if task is None or self.regularizer is None or self.settings.lam == 0:
            return task
        return None if penalty is None else (1 - self.settings.lam) * task + self.settings.lam * penalty

    def _record(self, record: dict[str, Any]) -> None:
        record = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}
        self.history.append(record)
        if self.processes.leads:
            write_log(self.log, self.about, self.history)
            self.tell({"event": "epoch", "metric_name": self.metric, **record})

    # -- one epoch --------------------------------------------------------------------------------------------

    def _epoch(self, wrapped: nn.Module, epoch: int) -> dict[str, Any]:
        self.objective.train()
        seeds = (self.settings.seed, epoch, self.processes.rank)  # so that any epoch can be gone on from
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        started = time.perf_counter()
        sums = torch.zeros(5, dtype=torch.float64)  # L_task, L_reg, metric and its count, steps
        self.norms = {}
        samples = 0
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        for number, batches in enumerate(_together(self.data.batches(epoch - 1), self.settings.accumulate), 1):
            counts = [len(next(iter(batch.values()))) for batch in batches]
            samples += sum(counts)
            parts = ((self._given(b, generator), n / sum(counts)) for b, n in zip(batches, counts, strict=True))
            sums[:4] += self._step(wrapped, parts, (epoch - 1) * self.steps + number)
            sums[4] += 1
            if self.processes.leads:
                passed = time.perf_counter() - started
                left = self.steps * (self.settings.epochs - epoch + 1) - number
                about = {"epoch": epoch, "step": number, "steps": self.steps, **self._means(sums)}
                speed = {"samples_per_second": samples / passed, "seconds_left": left * passed / number}
                self.tell({"event": "step", "metric_name": self.metric, **about, **speed})
        seconds = time.perf_counter() - started
        means = self._means(sums)
        lam = self.settings.lam if self.regularizer is not None else 0.0
        return {
            "epoch": epoch,
            "steps": epoch * self.steps,
            "loss": (1 - lam) * means["task"] + lam * means["reg"],
            **means,
            "lr": self.schedule.get_last_lr()[0],
            **self.norms,
            "seconds": round(seconds, 3),
            "samples_per_second": round(samples / seconds, 1),
        }

    def _step(self, wrapped: nn.Module, parts: Iterable[tuple[dict[str, Tensor], float]], step: int) -> Tensor:
        """One step of the optimizer; L_task, L_reg, metric and its count, summed over the processes [4].

        Args:
            wrapped: the objective, perhaps data-parallel.
            parts: samples, and their share of those of the step: gradients are added up over them.
            step: its number.
        """
        sums = torch.zeros(5, device=self.processes.device)  # the loss, L_task, L_reg, metric and its count
        try:
            self.optimizer.zero_grad(set_to_none=True)
            for number, (given, share) in enumerate(parts):
                total, task, penalty, metric = wrapped(given, share, number == 0)
                self.scaler.scale(total).backward()
                sums += torch.cat([torch.stack([total.detach(), task, penalty]), metric])
            self.scaler.unscale_(self.optimizer)
            if not self.norms:
                self.norms = self._norms()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip or math.inf)
            loss = self.processes.total(sums[0]) / self.processes.size
            both = torch.stack([loss, norm.to(loss)]).tolist()  # waits for the device once
            self._stop_if_lost(both[0], both[1], step)
            self.scaler.step(self.optimizer)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._too_large(error) from None
        self.scaler.update()
        self.schedule.step()
        return self.processes.total(sums[1:].double().cpu())

    def _means(self, sums: Tensor) -> dict[str, float]:
        """L_task, L_reg and metric of the steps so far."""
        task, reg, metric, count, steps = sums.tolist()
        of_all = steps * self.processes.size
        return {"task": task / of_all, "reg": reg / of_all, "metric": metric / max(1.0, count)}

    def _given(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """This process' samples of a batch as tensors, tokens masked where the loss wants that."""
        if self.task is not None and self.task.kind == "masked-token" and LABELS not in batch:
            whole = {name: from_numpy(array, name) for name, array in batch.items()}
            batch = {name: tensor.numpy() for name, tensor in self.task.prepare(whole, generator).items()}
        part = self.processes.part(batch)
        return {name: from_numpy(array, name).to(self.processes.device) for name, array in part.items()}

    def _norms(self) -> dict[str, float]:
        """Norms of the gradients of both terms, as they stand in Eq. 7, at the first step of an epoch."""
        total = {n: p.grad.detach().clone() for n, p in self.module.weights().items() if p.grad is not None}
        if self.regularizer is None or self.settings.lam == 0:
            return {"task_gradient": _norm(total.values()), "reg_gradient": 0.0}
        weights = self.module.weights()
        names = [name for stack in self.regularizer.stacks for name in stack.names]
        gradients = torch.autograd.grad(self.regularizer(), [weights[name] for name in names])
        added = {name: self.settings.lam * g for name, g in zip(names, gradients, strict=True)}
        strength = self.regularizer.every if self.regularizer.is_due else 0
        task = [g - strength * added[n] if n in added else g for n, g in total.items()]
        return {"task_gradient": _norm(task), "reg_gradient": _norm(added.values())}

    def _stop_if_lost(self, loss: float, norm: float, step: int) -> None:
        """Stop before the step that would spoil the weights, for its loss or for the norm of its gradients."""
        if math.isfinite(loss) and not math.isfinite(norm) and not self.scaler.is_enabled():
            loss = norm
        if math.isfinite(loss):
            self.first_loss = loss if self.first_loss is None else self.first_loss
            if loss <= _DIVERGED * max(1.0, self.first_loss):
                return
        elif self.scaler.is_enabled() and self.scaler.get_scale() > 1:
            return  # half precision: the scaler leaves the step out and scales down
        what = "is no number" if not math.isfinite(loss) else "has run away"
        good = f"the last good checkpoint is {self.checkpoint}" if self.checkpoint.exists() else "no epoch was finished"
        hint = "the model or the first batch gives no number" if step == 1 else "--restart with a lower --lr"
        raise FrontError(f"the loss {what} at step {step}, and {good}", got=f"{loss:.4g}", hint=hint)

    def _too_large(self, error: Exception) -> FrontError:
        half = max(1, self.settings.batch_size // 2)
        line = " ".join(str(error).split())[:120]
        more = 2 * self.settings.accumulate
        smaller = f"try --batch-size {half} --accumulate {more}, which gives the same steps"
        hint = smaller if half < self.settings.batch_size else "the model itself is too large"
        return FrontError(f"out of memory: {line}", hint=hint)

    # -- measuring --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _measured(self) -> dict[str, Any]:
        """Validation loss and metric, L_reg and the energy in the low band."""
        found: dict[str, Any] = {}
        if self.regularizer is not None:
            sizes = [math.prod(s.shape) * len(s.names) for s in self.regularizer.stacks]
            for band in ("low", "high"):
                energy = [*self.regularizer.energy(HALF, band).values()]
                found[f"{band}_energy"] = float(np.average(energy, weights=sizes))
            found["reg_now"] = float(self.regularizer())
        if self.validation is not None:
            found |= self._validated()
        return found

    def _validated(self) -> dict[str, float]:
        assert self.validation is not None
        self.objective.eval()
        near = self.objective.nearness = Nearness() if self.teacher is not None else None
        sums = torch.zeros(4, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.settings.seed)
        for batch in self.validation.batches(0):
            try:
                _, task, _, metric = self.objective(self._given(batch, generator))
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise self._too_large(error) from None
            shared = self.processes.total(torch.cat([task.reshape(1), metric]).double().cpu())
            weight = float(shared[2]) or len(next(iter(batch.values())))  # what counts: samples, or tokens
            mean = float(shared[0]) / self.processes.size
            sums += torch.tensor([mean * weight, weight, *shared[1:].tolist()], dtype=torch.float64)
        self.objective.nearness = None
        return {
            **({} if near is None else near.found(self.processes)),
            "validation_loss": float(sums[0] / sums[1].clamp(min=1)),
            "validation_metric": float(sums[2] / sums[3].clamp(min=1)),
        }

    def _try(self) -> None:
        """Run the first samples once, so that what does not fit is told before the first step."""
        self.objective.eval()
        batch = self.data.first()
        few = {name: array[: max(self._least(), self.processes.size)] for name, array in batch.items()}
        try:
            given = self._given(few, torch.Generator().manual_seed(0))
            made = self.module({name: given[name] for name in self.module.input_names})[self.output]
            if self.task is not None:
                limit = index_limits(self.module.graph).get(self.task.ids or "")
                for data in (self.data, self.validation):
                    held = data.arrays.get(LABELS) if isinstance(data, Arrays) else None
                    self.task.check(made, given.get(LABELS), held, limit)
            total, *_ = self.objective(given)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise self._too_large(error) from None
        if not total.requires_grad:
            raise RequestError("no weight has a part in the loss", got=f"output {self.output}")

    def _least(self) -> int:
        """As few samples as the graph takes."""
        sizes = [self.module.graph.declared_shape(info.name) for info in self.module.graph.inputs]
        fixed = [shape[0] for shape in sizes if shape and isinstance(shape[0], int)]
        return max([2, *fixed])

    # -- checkpoints ------------------------------------------------------------------------------------------

    def _save(self) -> None:
        tensors = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self._best is not None:
            tensors["best"] = self._best
        if self.regularizer is not None:
            tensors["calls"], tensors["last"] = self.regularizer.calls, self.regularizer.last
        about = {"run": self.about, "history": self.history, "first_loss": self.first_loss, "written": self.written}
        save_checkpoint(self.checkpoint, tensors, about)

    def _load(self) -> None:
        tensors, about = load_checkpoint(self.checkpoint, self.about)
        self.module.load_state_dict(tensors["module"])
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.schedule.load_state_dict(tensors["schedule"])
        self.scaler.load_state_dict(tensors["scaler"])
        self.history, self.first_loss = about["history"], about["first_loss"]
        self.written, self._best = about.get("written", self.history[-1]["epoch"]), tensors.get("best")
        if self.regularizer is not None:
            self.regularizer.calls, last = tensors["calls"], tensors["last"]
            self.regularizer.last = None if last is None else last.to(self.processes.device)


def _together(batches: Iterable[Batch], number: int) -> Iterator[list[Batch]]:
    """Batches, so many for each step of the optimizer; the last of an epoch has those that are left."""
    left = iter(batches)
    while group := [*islice(left, number)]:
        yield group


def _norm(gradients: Iterable[Tensor]) -> float:
    squares = [float(g.double().square().sum()) for g in gradients]
    return math.sqrt(sum(squares))
