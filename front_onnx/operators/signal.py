"""Signals: Fourier transforms, windows and mel filters, all of computed sizes."""

from __future__ import annotations

from front_onnx.axes.holds import Hold, Why
from front_onnx.axes.numbers import Extent, Number, cast_number, computed, value_of
from front_onnx.axes.size import Axis, Conflict, size_of
from front_onnx.operators.context import RuleContext
from front_onnx.operators.record import Trait, operator

__all__: list[str] = []


def _scalar(ctx: RuleContext, slot: int) -> Number:
    (number,) = ctx.values(slot).ravel()
    return cast_number(number)


def _parts(ctx: RuleContext) -> Axis:
    axis = ctx.algebra.new(2)
    ctx.keep(axis, Why.COUNT, "real and imaginary parts")
    return axis


def _keep_parts(ctx: RuleContext, axis: Axis) -> None:
    """Keep the last axis of numbers, which are real or complex."""
    if size_of(axis) not in (1, 2):
        raise Conflict(f"numbers of {size_of(axis)} parts, neither real nor complex", axes=axis)
    ctx.keep(axis, Why.COUNT, "real and imaginary parts")


def _half(size: int) -> int:
    return size // 2 + 1


def _bins(ctx: RuleContext, axis: Axis) -> Axis:
    """The frequencies of a real signal: one half, for the other mirrors it."""
    return ctx.derived(axis, _half(size_of(axis)), Hold(Why.COMPUTED), "bins", follow=_half)


@operator("DFT", numbers=(1, 2))
def dft(ctx: RuleContext) -> None:
    """Along one axis, complex numbers in the last: n real or complex -> n, or one half of them, and back.

    A whole transform mixes along an axis and is as long as it. A length of its own pads or cuts the axis.
    """
    axes = list(ctx.axes(0))
    place = (ctx.ints(2)[0] if 2 in ctx else -2) if ctx.version >= 20 else ctx.attr("axis")
    at = place % len(axes)
    if at == len(axes) - 1:
        raise Conflict("a transform over the parts of complex numbers")
    halved, back = bool(ctx.attr("onesided")), bool(ctx.attr("inverse"))
    _keep_parts(ctx, axes[-1])
    given = _scalar(ctx, 1) if 1 in ctx else None
    if halved and back:
        axes[at] = _whole(ctx, axes[at], given)
    else:
        axes[at] = axes[at] if given is None else _of_length(ctx, axes[at], given)
        axes[at] = _bins(ctx, axes[at]) if halved else axes[at]
    axes[-1] = () if halved and back else _parts(ctx)
    ctx.out(axes)


def _whole(ctx: RuleContext, axis: Axis, given: Number | None) -> Axis:
    """A signal made of one half of its frequencies."""
    if given is None:
        return ctx.derived(axis, 2 * (size_of(axis) - 1), Hold(Why.COMPUTED), "whole", follow=lambda n: 2 * (n - 1))
    signal = ctx.axis_of(given)
    ctx.hold(signal, Why.COMPUTED)
    ctx.hold(axis, Why.COMPUTED)
    if size_of(axis) == _half(size_of(signal)):
        ctx.require(axis, _half, Extent(signal))
    return signal


def _of_length(ctx: RuleContext, axis: Axis, given: Number) -> Axis:
    """An axis at the length of a transform: itself, or padded or cut."""
    if value_of(given) == size_of(axis):
        ctx.tie(given, axis)
        return axis
    signal = ctx.axis_of(given)
    why = Why.PADDED if size_of(signal) > size_of(axis) else Why.PART
    ctx.hold(axis, why)
    ctx.hold(signal, why)
    return signal


@operator("STFT", numbers=(1, 3))
def stft(ctx: RuleContext) -> None:
    """Signal [B, L, parts], a step, a window [n] or its length -> [B, (L - n) / step + 1, n or n/2 + 1, 2]."""
    batch, length, *parts = ctx.axes(0)
    step = _scalar(ctx, 1)
    for axis in parts:
        _keep_parts(ctx, axis)
    frame = ctx.axes(2)[0] if 2 in ctx else ctx.axis_of(_scalar(ctx, 3)) if 3 in ctx else length
    if 2 in ctx and 3 in ctx:
        ctx.tie(_scalar(ctx, 3), frame)
    ctx.hold(frame, Why.KERNEL)
    sizes = (Extent(length), Extent(frame), step)
    frames = ctx.algebra.new(_frames(*map(value_of, sizes)), Hold(Why.COMPUTED))
    ctx.require(frames, _frames, *sizes)
    ctx.hold(length, Why.COMPUTED)
    ctx.out((batch, frames, _bins(ctx, frame) if ctx.attr("onesided") else frame, _parts(ctx)))


def _frames(length: float, frame: float, step: float) -> int:
    return int((length - frame) // step + 1)


@operator("HannWindow", "HammingWindow", "BlackmanWindow", traits=Trait.NO_GRADIENT, numbers=(0,))
def window(ctx: RuleContext) -> None:
    """A size -> [size], sums of cosines."""
    axis = ctx.axis_of(_scalar(ctx, 0))
    ctx.hold(axis, Why.COSINES)
    ctx.out((axis,))


@operator("MelWeightMatrix", traits=Trait.NO_GRADIENT, numbers=(0, 1, 2), settings=(3, 4))
def mel(ctx: RuleContext) -> None:
    """Bands, the length n of a transform, a rate and the edges -> [n/2 + 1, bands]."""
    bands, bins = ctx.axis_of(_scalar(ctx, 0)), ctx.axis_of(computed("bins", _half, _scalar(ctx, 1)))
    ctx.hold(bands, Why.COUNT, "mel bands")
    ctx.out((bins, bands))
