"""Recurrent layers, step by step: gates, directions, initial states, peepholes, sequences of several lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, operator
from torch import Tensor
from torch.nn import functional

from front_onnx.errors import UntrainableError

__all__: list[str] = []

Activation = Callable[[Tensor], Tensor]
Cell = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


def _activation(step: Step, name: str, alpha: float | None, beta: float | None) -> Activation:
    a = {"affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0, "hardsigmoid": 0.2, "elu": 1.0, "scaledtanh": 1.0}
    kind = name.lower()
    first = a.get(kind, 1.0) if alpha is None else alpha
    second = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 1.0}.get(kind, 0.0) if beta is None else beta
    known: dict[str, Activation] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "affine": lambda x: first * x + second,
        "leakyrelu": lambda x: functional.leaky_relu(x, first),
        "thresholdedrelu": lambda x: torch.where(x > first, x, torch.zeros_like(x)),
        "scaledtanh": lambda x: first * torch.tanh(second * x),
        "hardsigmoid": lambda x: torch.clamp(first * x + second, 0, 1),
        "elu": lambda x: functional.elu(x, first),
        "softsign": functional.softsign,
        "softplus": functional.softplus,
    }
    if kind not in known:
        raise UntrainableError("an activation that is not known", node=step.label, got=name)
    return known[kind]


def _activations(step: Step, direction: int, defaults: Sequence[str]) -> list[Activation]:
    """Those of one direction."""
    names = step.get("activations") or list(defaults) * 2
    alphas, betas = (list(step.get(f"activation_{kind}") or []) for kind in ("alpha", "beta"))
    # Parameters are listed for those functions only that have some.
    taking = [n for n in names if n.lower() not in ("relu", "tanh", "sigmoid", "softsign", "softplus")]
    made, seen = [], 0
    for name in names:
        if name in taking:
            alpha = alphas[seen] if seen < len(alphas) else None
            beta = betas[seen] if seen < len(betas) else None
            seen += 1
        else:
            alpha = beta = None
        made.append(_activation(step, name, alpha, beta))
    count = len(defaults)
    return made[direction * count : (direction + 1) * count]


def _clipped(step: Step, x: Tensor) -> Tensor:
    limit = step.get("clip")
    return x if limit is None else x.clamp(-limit, limit)


def _run(
    x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None, backwards: bool, cell: Cell
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps of one direction: x [T, b, gates h] -> outputs [T, b, h] and the last states."""
    outputs: list[Tensor] = [x] * len(x)
    for place in reversed(range(len(x))) if backwards else range(len(x)):
        new = cell(x[place], states)
        if lengths is None:
            states, outputs[place] = new, new[0]
        else:
            going = (place < lengths)[:, None]
            states = tuple(torch.where(going, a, b) for a, b in zip(new, states, strict=True))
            outputs[place] = torch.where(going, new[0], torch.zeros_like(new[0]))
    return torch.stack(outputs), states


def _recur(
    step: Step,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial: Sequence[Tensor | None],
    make: Callable[[int, Tensor, Tensor], Cell],
) -> Any:
    """All directions of a layer, in the layout that the node asks for.

    `make` gives the cell of a direction from its recurrent weights and the recurrent half of its bias.
    """
    batch_first = bool(step.get("layout", 0))
    if batch_first:
        x = x.transpose(0, 1)
        initial = [None if s is None else s.transpose(0, 1) for s in initial]
    hidden = r.shape[-1]
    zero = x.new_zeros(x.shape[1], hidden)
    direction = step.get("direction", "forward")
    outputs, finals = [], []
    for d in range(w.shape[0]):
        bias, shift = (x.new_zeros(2 * w.shape[1]) if b is None else b[d]).chunk(2)
        projected = x @ w[d].T + bias
        states = tuple(zero if s is None else s[d] for s in initial)
        y, last = _run(projected, states, lengths, d == 1 or direction == "reverse", make(d, r[d], shift))
        outputs.append(y)
        finals.append(last)
    y = torch.stack(outputs, 1)  # [T, directions, b, h]
    states_out = [torch.stack([f[i] for f in finals]) for i in range(len(initial))]
    if batch_first:
        y, states_out = y.permute(2, 0, 1, 3), [s.transpose(0, 1) for s in states_out]
    return (y, *states_out)


@operator("LSTM")
def lstm(
    step: Step,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    p: Tensor | None = None,
) -> Any:
    """Gates in the order i, o, f, c; peepholes i, o, f."""

    def make(d: int, recurrence: Tensor, shift: Tensor) -> Cell:
        f, g, h = _activations(step, d, ("Sigmoid", "Tanh", "Tanh"))
        pi, po, pf = (None, None, None) if p is None else p[d].chunk(3)

        def cell(gates: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden, c = states
            i, o, forget, new = (gates + hidden @ recurrence.T + shift).chunk(4, -1)
            i = f(_clipped(step, i if pi is None else i + pi * c))
            kept = f(_clipped(step, forget if pf is None else forget + pf * c))
            forget = 1 - i if step.get("input_forget") else kept
            c = forget * c + i * g(_clipped(step, new))
            o = f(_clipped(step, o if po is None else o + po * c))
            return o * h(c), c

        return cell

    return _recur(step, x, w, r, b, lengths, (h0, c0), make)


@operator("GRU")
def gru(
    step: Step,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> Any:
    """Gates in the order z, r, h."""

    def make(d: int, recurrence: Tensor, shift: Tensor) -> Cell:
        f, g = _activations(step, d, ("Sigmoid", "Tanh"))
        size = recurrence.shape[-1]

        def cell(gates: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (hidden,) = states
            both = gates[..., : 2 * size] + hidden @ recurrence[: 2 * size].T + shift[: 2 * size]
            z, reset = (f(_clipped(step, gate)) for gate in both.chunk(2, -1))
            if step.get("linear_before_reset"):
                inner = reset * (hidden @ recurrence[2 * size :].T + shift[2 * size :])
            else:
                inner = (reset * hidden) @ recurrence[2 * size :].T + shift[2 * size :]
            new = g(_clipped(step, gates[..., 2 * size :] + inner))
            return ((1 - z) * new + z * hidden,)

        return cell

    return _recur(step, x, w, r, b, lengths, (h0,), make)


@operator("RNN")
def rnn(
    step: Step,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    h0: Tensor | None = None,
) -> Any:
    """h = f(x W' + h R' + b)."""

    def make(d: int, recurrence: Tensor, shift: Tensor) -> Cell:
        (f,) = _activations(step, d, ("Tanh",))
        return lambda gates, states: (f(_clipped(step, gates + states[0] @ recurrence.T + shift)),)

    return _recur(step, x, w, r, b, lengths, (h0,), make)
