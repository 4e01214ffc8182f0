"""Operators: one record for each, with the rule that follows axes through it; importing the package fills the table.

`record.py` says what a record holds, `context.py` what a rule is given, `analysis.py` runs the rules over a graph. A
package of yours adds operators by an entry point of the group `front_onnx.operators`, see docs/operators.md.
"""

from front_onnx.axes.holds import Why
from front_onnx.axes.size import AxisRole, Conflict, size_of
from front_onnx.operators import (
    attention,
    control,
    convolution,
    detection,
    elementwise,
    experts,
    fused,
    fused_attention,
    fused_bias,
    fused_convolution,
    fused_normalization,
    fused_packed,
    image,
    indexing,
    linear,
    noise,
    normalization,
    recurrent,
    reduction,
    selecting,
    sequences,
    shaping,
    signal,
    states,
)
from front_onnx.operators.context import AbstractTensor, Loop, RuleContext, Shape
from front_onnx.operators.record import OPERATORS, Operator, Trait, operator, record_of, values_of

__all__ = [
    "OPERATORS",
    "AbstractTensor",
    "AxisRole",
    "Conflict",
    "Loop",
    "Operator",
    "RuleContext",
    "Shape",
    "Trait",
    "Why",
    "attention",
    "control",
    "convolution",
    "detection",
    "elementwise",
    "experts",
    "fused",
    "fused_attention",
    "fused_bias",
    "fused_convolution",
    "fused_normalization",
    "fused_packed",
    "image",
    "indexing",
    "linear",
    "noise",
    "normalization",
    "operator",
    "record_of",
    "recurrent",
    "reduction",
    "selecting",
    "sequences",
    "shaping",
    "signal",
    "size_of",
    "states",
    "values_of",
]
