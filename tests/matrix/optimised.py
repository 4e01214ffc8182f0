"""Graphs as onnxruntime's optimisers leave them: fused operators, resized and held against optimised native exports."""

import contextlib
import io
import logging
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
from zoo.architectures import ARCHITECTURES
from zoo.export import write
from zoo.opsets import STATIC_ONLY
from zoo.sizes import Size

from matrix.entry import Entry

_LEVELS = {
    "ort-basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "ort-extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}
_TYPES = {  # what onnxruntime.transformers calls them, and the size of a head
    "bert-eager": ("bert", 5),
    "distilbert": ("bert", 5),
    "gpt2": ("gpt2", 5),
    "vit": ("vit", 5),
    "t5-encoder": ("t5", 5),
    "llama": ("gpt_neox", 6),
}
_OTHERS = (
    "bert",
    "roberta",
    "opt",
    "deit",
    "swin",
    "mixer",
    "convnext",
    "resnet-bottleneck",
    "resnet-basic",
    "encoder",
    "mlp",
)


def _by_session(level: ort.GraphOptimizationLevel, source: Path, target: Path, width: int) -> None:
    """The graph an inference session would run."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _by_fusion(kind: str, head: int, source: Path, target: Path, width: int) -> None:
    """The fusions for transformers, which find patterns in the graph."""
    from onnxruntime.transformers.optimizer import optimize_model

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model = optimize_model(str(source), kind, width // head, width, opt_level=0)
            model.save_model_to_file(str(target))
    finally:
        logging.disable(level)


def _entries(name: str, exporter: str) -> list[Entry]:
    """One architecture from one of torch's exporters, optimised in each way that applies."""
    architecture = ARCHITECTURES[name]
    levels = _LEVELS if exporter == "torchscript" else {"ort-extended": _LEVELS["ort-extended"]}
    ways: dict[str, Callable] = {
        way: lambda source, target, width, level=level: _by_session(level, source, target, width)
        for way, level in levels.items()
    }
    if name in _TYPES:
        kind, head = _TYPES[name]
        ways["ort-transformers"] = lambda source, target, width: _by_fusion(kind, head, source, target, width)

    def exporting(optimise: Callable) -> Callable[[Size, Path], None]:
        def export(size: Size, path: Path) -> None:
            plain = path.with_suffix(".plain.onnx")
            module, inputs = architecture.build(size)
            outputs, axes = architecture.outputs, architecture.input_axes
            static = (name, exporter) in STATIC_ONLY
            write(module, inputs, plain, exporter=exporter, opset=None, outputs=outputs, axes={} if static else axes)
            optimise(plain, path, size.width[0])

        return export

    return [
        Entry(
            name,
            "optimised",
            f"{way} after {exporter}",
            exporting(optimise),
            architecture.source,
            architecture.targets,
            by_ratio=architecture.width_by_ratio,
            tables=lambda size: [table.numpy() for table in architecture.tables(size)],
        )
        for way, optimise in ways.items()
    ]


ENTRIES = [
    entry
    for exporter, names in (("torchscript", (*_TYPES, *_OTHERS)), ("dynamo", tuple(_TYPES)))
    for name in names
    for entry in _entries(name, exporter)
]
