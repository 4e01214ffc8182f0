"""front-onnx: resize trained ONNX models in the frequency domain."""

from front_onnx.api import Result, inspect, resize, validate
from front_onnx.errors import FrontError
from front_onnx.learngenes import Extracted, Moved, extract, init, init_into, spectrum
from front_onnx.plan.request import Request

__all__ = [
    "Extracted",
    "FrontError",
    "Moved",
    "Request",
    "Result",
    "extract",
    "init",
    "init_into",
    "inspect",
    "resize",
    "spectrum",
    "validate",
]
__version__ = "0.1.0"
