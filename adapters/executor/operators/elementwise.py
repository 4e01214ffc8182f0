"""Operators on each element by itself, with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from front_onnx.adapters.executor.table import Step, operator
from front_onnx.adapters.executor.types import torch_type
from torch import Tensor
from torch.nn import functional

__all__: list[str] = []

_PLAIN: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "And": torch.logical_and,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": functional.hardswish,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mish": functional.mish,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Or": torch.logical_or,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Add": torch.add,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}
for _name, _function in _PLAIN.items():
    operator(_name)(lambda step, *x, function=_function: function(*x))


@operator("Identity")
def identity(step: Step, x: Any) -> Any:
    """The input itself."""
    return x


@operator("Div")
def div(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """Whole numbers are divided towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Mod")
def mod(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """With fmod the sign of the dividend, else that of the divisor."""
    return torch.fmod(a, b) if step.get("fmod") else torch.remainder(a, b)


@operator("Pow")
def power(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """In the type of the base."""
    if b.numel() == 1 and not b.requires_grad:
        exponent = b.item()
        if exponent == 2:
            return a * a
        if float(exponent).is_integer():  # negative bases have gradients too
            return torch.pow(a, int(exponent)).to(a.dtype)
    return torch.pow(a, b).to(a.dtype)


@operator("BitShift")
def bit_shift(step: Step, a: Tensor, b: Tensor) -> Tensor:
    """Shift to where `direction` says."""
    return torch.bitwise_left_shift(a, b) if step.get("direction") == "LEFT" else torch.bitwise_right_shift(a, b)


@operator("Max", "Min", "Sum", "Mean")
def variadic(step: Step, *x: Tensor) -> Tensor:
    """One after another."""
    combine = {"Max": torch.maximum, "Min": torch.minimum}.get(step.op_type, torch.add)
    total = functools.reduce(combine, x)
    return total / len(x) if step.op_type == "Mean" else total


@operator("Clip")
def clip(step: Step, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Bounds are inputs since version 11; the upper one wins."""
    if step.version < 11:
        return torch.clamp(x, step.get("min"), step.get("max")) if step.attributes else x
    given = [bound for bound in (low, high) if bound is not None]
    if not given:
        return x
    if all(bound.device.type == "cpu" and not bound.requires_grad for bound in given):  # numbers: nothing is moved
        return torch.clamp(x, *(None if bound is None else bound.item() for bound in (low, high)))
    bounds = [None if bound is None else bound.to(x.device, x.dtype) for bound in (low, high)]
    return torch.clamp(x, *bounds)


@operator("Cast")
def cast(step: Step, x: Tensor) -> Tensor:
    """To another type; floats are cut towards zero."""
    return x.to(torch_type(step.get("to"), step.label))


@operator("CastLike")
def cast_like(step: Step, x: Tensor, like: Tensor) -> Tensor:
    """To the type of another tensor."""
    return x.to(like.dtype)


@operator("Celu")
def celu(step: Step, x: Tensor) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return functional.celu(x, step.get("alpha"))


@operator("Elu")
def elu(step: Step, x: Tensor) -> Tensor:
    """alpha (exp(x) - 1) below 0."""
    return functional.elu(x, step.get("alpha"))


@operator("Selu")
def selu(step: Step, x: Tensor) -> Tensor:
    """gamma (alpha exp(x) - alpha) below 0, gamma x above."""
    alpha, gamma = step.get("alpha", 1.67326319217681884765625), step.get("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(x, alpha)


@operator("Gelu")
def gelu(step: Step, x: Tensor) -> Tensor:
    """Exact, or by tanh."""
    return functional.gelu(x, approximate=step.get("approximate"))


@operator("HardSigmoid")
def hard_sigmoid(step: Step, x: Tensor) -> Tensor:
    """clip(alpha x + beta, 0, 1)."""
    return torch.clamp(x * step.get("alpha") + step.get("beta"), 0, 1)


@operator("LeakyRelu")
def leaky_relu(step: Step, x: Tensor) -> Tensor:
    """alpha x below 0."""
    return functional.leaky_relu(x, step.get("alpha"))


@operator("ThresholdedRelu")
def thresholded_relu(step: Step, x: Tensor) -> Tensor:
    """0 up to alpha."""
    return torch.where(x > step.get("alpha"), x, torch.zeros((), dtype=x.dtype, device=x.device))


@operator("PRelu")
def prelu(step: Step, x: Tensor, slope: Tensor) -> Tensor:
    """slope x below 0; the slope is broadcast to x."""
    return torch.where(x < 0, x * slope, x)


@operator("Shrink")
def shrink(step: Step, x: Tensor) -> Tensor:
    """Move towards 0 by the bias, and 0 within lambd."""
    bias, edge = step.get("bias"), step.get("lambd")
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, zero))


@operator("Swish")
def swish(step: Step, x: Tensor) -> Tensor:
    """x sigmoid(alpha x)."""
    return x * torch.sigmoid(step.get("alpha") * x)


@operator("IsInf")
def is_inf(step: Step, x: Tensor) -> Tensor:
    """Either infinity, or just one."""
    found = torch.zeros_like(x, dtype=torch.bool)
    if step.get("detect_positive"):
        found = found | torch.isposinf(x)
    return found | torch.isneginf(x) if step.get("detect_negative") else found


@operator("Dropout")
def dropout(step: Step, x: Tensor, ratio: Tensor | None = None, mode: Tensor | None = None) -> Any:
    """Where the graph says so and the module trains: exporters leave a Dropout of old versions in no other case."""
    asked = bool(mode) if step.version >= 12 and mode is not None else step.version < 12
    share = float(ratio) if ratio is not None else float(step.get("ratio", 0.5))
    if not (step.training and asked) or share == 0:
        return x, torch.ones_like(x, dtype=torch.bool)
    mask = torch.rand(x.shape, dtype=torch.float32, device=x.device) >= share
    return x * mask / (1 - share) if share < 1 else x * 0, mask


@operator("Bernoulli")
def bernoulli(step: Step, x: Tensor) -> Tensor:
    """1 with the probability that the input gives."""
    drawn = torch.bernoulli(x.detach())
    return drawn if step.get("dtype") is None else drawn.to(torch_type(step.get("dtype"), step.label))


@operator("RandomNormalLike", "RandomUniformLike")
def random_like(step: Step, x: Tensor) -> Tensor:
    """Noise in the shape of a tensor."""
    dtype = x.dtype if step.get("dtype") is None else torch_type(step.get("dtype"), step.label)
    if step.op_type == "RandomNormalLike":
        return torch.randn_like(x, dtype=dtype) * step.get("scale", 1.0) + step.get("mean")
    low, high = step.get("low"), step.get("high", 1.0)
    return torch.rand_like(x, dtype=dtype) * (high - low) + low
