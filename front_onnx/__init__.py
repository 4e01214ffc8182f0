"""front-onnx: resize trained ONNX models in the frequency domain."""

from front_onnx.api import Result, inspect, resize, validate
from front_onnx.blocks.chain import Chain
from front_onnx.calibration.comparing import Likeness
from front_onnx.calibration.fitted import Fitted
from front_onnx.calibration.settings import CalibrationSettings
from front_onnx.calibration.starts import Candidate, Outcome
from front_onnx.check.validate import Check, Validation
from front_onnx.comparison.row import Row, Size, Source, Trained, Worth
from front_onnx.comparison.run import Comparison, compare
from front_onnx.dims.structure import Dim, Structure
from front_onnx.errors import (
    DamagedError,
    FileError,
    FrontError,
    OutputError,
    RequestError,
    UnsupportedError,
    UntrainableError,
)
from front_onnx.folders.resizing import FolderResult, resize_folder
from front_onnx.gene.gene import Gene
from front_onnx.gene.spectrum import AxisSpectrum, StackSpectrum
from front_onnx.into import Moved, calibrate, init_into
from front_onnx.learngenes import Extracted, extract, init, spectrum
from front_onnx.match.matching import Match
from front_onnx.plan.plan import Plan
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.roles.piece import Piece
from front_onnx.types import MatchOptions, ModelLike, Names, PathLike, Progress, ResizeOptions, Sizes
from front_onnx.version import __version__ as __version__

__all__ = [
    "AxisSpectrum",
    "CalibrationSettings",
    "Candidate",
    "Chain",
    "Check",
    "Comparison",
    "DamagedError",
    "Dim",
    "Extracted",
    "FileError",
    "Fitted",
    "FolderResult",
    "FrontError",
    "Gene",
    "Graph",
    "Likeness",
    "Match",
    "MatchOptions",
    "ModelFile",
    "ModelLike",
    "Moved",
    "Names",
    "Outcome",
    "OutputError",
    "PathLike",
    "Piece",
    "Plan",
    "Progress",
    "Request",
    "RequestError",
    "ResizeOptions",
    "Result",
    "Row",
    "Size",
    "Sizes",
    "Source",
    "StackSpectrum",
    "Structure",
    "Trained",
    "UnsupportedError",
    "UntrainableError",
    "Validation",
    "Worth",
    "calibrate",
    "compare",
    "extract",
    "init",
    "init_into",
    "inspect",
    "read_model",
    "resize",
    "resize_folder",
    "spectrum",
    "validate",
]
