"""Operator rules by kind; importing the package fills the table."""

from front_onnx.operators import (
    attention,
    control,
    convolution,
    elementwise,
    fused,
    fused_attention,
    indexing,
    linear,
    normalization,
    recurrent,
    reduction,
    shaping,
)
from front_onnx.operators.context import RULES, Context, Fact, Loop, Shape, rule

__all__ = [
    "RULES",
    "Context",
    "Fact",
    "Loop",
    "Shape",
    "attention",
    "control",
    "convolution",
    "elementwise",
    "fused",
    "fused_attention",
    "indexing",
    "linear",
    "normalization",
    "recurrent",
    "reduction",
    "rule",
    "shaping",
]
