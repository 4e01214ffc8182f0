"""Operator rules by kind; importing the package fills the table."""

from front_onnx.understand.rules import (
    attention,
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
from front_onnx.understand.rules.registry import RULES, Context, Fact, Shape, rule

__all__ = [
    "RULES",
    "Context",
    "Fact",
    "Shape",
    "attention",
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
