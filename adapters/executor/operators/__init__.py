"""How each operator is computed. Importing this package fills the table.

The definitions are those of the ONNX operator specification, and for domain com.microsoft those of onnxruntime's
docs/ContribOperators.md.
"""

from front_onnx.adapters.executor.operators import (
    attention,
    contraction,
    control,
    convolution,
    elementwise,
    fused,
    indexing,
    normalization,
    recurrent,
    reduction,
    resampling,
    shaping,
)

__all__ = [
    "attention",
    "contraction",
    "control",
    "convolution",
    "elementwise",
    "fused",
    "indexing",
    "normalization",
    "recurrent",
    "reduction",
    "resampling",
    "shaping",
]
