"""L_reg of a module as a differentiable number, and the total loss with it (Eq. 5 to 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.fft
import torch
from front_onnx.adapters.spectral.penalty import attenuation, masked_transform, spectral_penalty
from front_onnx.adapters.spectral.stacks import ParameterStack, stacks_of_module
from torch import Tensor, nn

from front_onnx.errors import RequestError

__all__ = ["DEFAULT_GAMMA", "DEFAULT_LAMBDA", "DEFAULT_REDUCTION", "REDUCTIONS", "SpectralRegularizer"]

DEFAULT_LAMBDA = 2e-3  # the paper's
DEFAULT_GAMMA = 0.25  # the paper's, on the width axes
REDUCTIONS = ("mean", "sum")
DEFAULT_REDUCTION = "sum"  # with the mean of Eq. 5 the penalty has no effect at the paper's lambda: docs/refinement.md


class SpectralRegularizer(nn.Module):
    """The spectral regulariser of a module's repeated weights.

        regularizer = SpectralRegularizer(model)
        loss = regularizer.total(task_loss)      # (1 - lambda) L_task + lambda L_reg, Eq. 7

    Args:
        module: the module that is trained; it is not made a part of this one.
        lam: lambda of Eq. 7.
        gamma: decay of the mask along width axes, as a part of their size (Eq. 6).
        gamma_depth: along the depth; 2 / L by default, two layers as in the paper.
        reduction: "sum" over the coefficients of a stack, or their "mean" as in Eq. 5.
        stacks: which weights; found by names and shapes by default (`stacks_of_module`).
        every: evaluate the penalty in one of so many calls only, and make it as many times as strong there.
        options: `kernels`, `singles`, `segments` for `stacks_of_module`.

    Raises:
        RequestError: no such reduction, a gamma that is not positive, or nothing to regularise.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        lam: float = DEFAULT_LAMBDA,
        gamma: float = DEFAULT_GAMMA,
        gamma_depth: float | None = None,
        reduction: str = DEFAULT_REDUCTION,
        stacks: Sequence[ParameterStack] | None = None,
        every: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise RequestError("no such reduction", got=reduction, wanted=" or ".join(REDUCTIONS))
        if gamma <= 0 or (gamma_depth is not None and gamma_depth <= 0) or every < 1 or not 0 <= lam <= 1:
            raise RequestError("gamma has to be positive, lambda in 0..1, every at least 1")
        self.lam, self.gamma, self.gamma_depth = lam, gamma, gamma_depth
        self.reduction, self.every = reduction, every
        self.stacks = list(stacks_of_module(module, **options) if stacks is None else stacks)
        if not self.stacks:
            raise RequestError("no weights that could be regularised were found")
        self._module = [module]  # in a list: not a submodule, whose parameters would be listed twice
        self.calls = 0
        self.last: Tensor | None = None  # L_reg of the last call of `total` that evaluated it
        self._matrices: dict[tuple[int, float], str] = {}
        for stack in self.stacks:
            for size, decay in self._wanted(stack):
                if (size, decay) not in self._matrices:
                    name = f"transform{len(self._matrices)}"
                    matrix = torch.from_numpy(masked_transform(size, decay))
                    self.register_buffer(name, matrix.to(torch.get_default_dtype()), persistent=False)
                    self._matrices[size, decay] = name

    def _depth_gamma(self, stack: ParameterStack) -> float:
        return 2 / len(stack.names) if self.gamma_depth is None else self.gamma_depth

    def _wanted(self, stack: ParameterStack) -> list[tuple[int, float]]:
        """(size, gamma) of every transform that a stack needs."""
        depth = [(len(stack.names), self._depth_gamma(stack))] if len(stack.names) > 1 else []
        return depth + [(size, self.gamma) for segments in stack.axes for size in segments]

    def _counted(self, stack: ParameterStack) -> int:
        """Entries of the mask that are not 0."""
        count = len(stack.names) - 1 if len(stack.names) > 1 else 1
        for size, segments in zip(stack.shape, stack.axes, strict=True):
            count *= sum(int(np.count_nonzero(attenuation(n, self.gamma))) for n in segments) if segments else size
        return count

    def forward(self) -> Tensor:
        """L_reg of the parameters as they are now."""
        total: Tensor | None = None
        for stack in self.stacks:
            term = self.penalty_of(stack)
            total = term if total is None else total + term.to(total.device)
        assert total is not None
        return total

    def penalty_of(self, stack: ParameterStack) -> Tensor:
        """The term of one stack."""
        x = self._stacked(stack)
        axes = []
        first = 0
        if len(stack.names) > 1:
            axes.append((0, [self._matrix(len(stack.names), self._depth_gamma(stack), x)]))
            first = 1
        for place, segments in enumerate(stack.axes):
            if segments:
                axes.append((place + first, [self._matrix(n, self.gamma, x) for n in segments]))
        return spectral_penalty(x, axes, self._counted(stack), self.reduction)

    def _stacked(self, stack: ParameterStack) -> Tensor:
        parameters: list[Tensor] = [self._module[0].get_parameter(name) for name in stack.names]
        x = torch.stack(parameters) if len(parameters) > 1 else parameters[0]
        return x if x.dtype == torch.float64 else x.float()  # half precision has too few digits for the sum

    def _matrix(self, size: int, gamma: float, like: Tensor) -> Tensor:
        name = self._matrices[size, gamma]
        found = getattr(self, name)
        if found.device != like.device or found.dtype != like.dtype:
            exact = torch.from_numpy(masked_transform(size, gamma))
            found = exact.to(like.device, like.dtype)
            setattr(self, name, found)
        assert isinstance(found, Tensor)
        return found

    def total(self, task: Tensor) -> Tensor:
        """(1 - lambda) L_task + lambda L_reg (Eq. 7); with `every`, L_reg counts every so many calls."""
        weighted = (1 - self.lam) * task
        self.calls += 1
        if not self.is_due:
            return weighted
        with torch.autocast(task.device.type, enabled=False):
            penalty = self()
        self.last = penalty.detach()
        return weighted + (self.lam * self.every) * penalty.to(task.device)

    @property
    def is_due(self) -> bool:
        """True if the last call was one that evaluates the penalty."""
        return self.lam > 0 and (self.calls - 1) % self.every == 0

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Turn gradients of L_task into those of Eq. 7, for loops whose loss cannot be changed.

        To be called after the backward pass, once gradients are unscaled and before they are clipped.
        """
        parameters = {name: self._module[0].get_parameter(name) for stack in self.stacks for name in stack.names}
        for parameter in self._module[0].parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 - self.lam)
        self.calls += 1
        if not self.is_due:
            return
        trained = {name: p for name, p in parameters.items() if p.requires_grad}
        with torch.enable_grad():
            gradients = torch.autograd.grad(self(), list(trained.values()), allow_unused=True)
        for parameter, gradient in zip(trained.values(), gradients, strict=True):
            if gradient is not None:
                added = (self.lam * self.every) * gradient.to(parameter.dtype)
                parameter.grad = added if parameter.grad is None else parameter.grad + added

    @torch.no_grad()
    def energy(self, ratio: float = 0.5, band: str = "low") -> Mapping[str, float]:
        """The part of each stack's energy in a box of frequencies: what a learngene of a ratio keeps (Eq. 4).

        Args:
            ratio: part of the frequencies along every axis that has some.
            band: "low", or "high" for the opposite corner.
        """
        return {stack.label: _share(self._stacked(stack), stack, ratio, band) for stack in self.stacks}


def _share(x: Tensor, stack: ParameterStack, ratio: float, band: str) -> float:
    y = x.double()
    total = float(y.square().sum())
    segmented = [(len(stack.names),), *stack.axes] if len(stack.names) > 1 else stack.axes
    for axis, segments in enumerate(segmented):
        if not segments:
            continue
        parts = y.split(list(segments), axis)
        y = torch.cat([_cut(part, axis, ratio, band) for part in parts], axis)
    return float(y.square().sum()) / total if total else float(band == "low")


def _cut(x: Tensor, axis: int, ratio: float, band: str) -> Tensor:
    """floor(ratio n) coefficients along an axis, at least one: the first, or the last."""
    size = x.shape[axis]
    kept = max(1, int(ratio * size + 1e-9))
    rows = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")
    chosen = torch.from_numpy(rows[:kept] if band == "low" else rows[-kept:]).to(x.device)
    return torch.movedim(torch.tensordot(x, chosen, dims=([axis], [1])), -1, axis)
