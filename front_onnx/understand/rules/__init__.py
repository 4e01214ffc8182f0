"""Operator rules by kind; importing the package fills the table."""

from front_onnx.understand.rules import (
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
from front_onnx.understand.rules.registry import RULES, Context, Fact, Loop, Shape, rule

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
