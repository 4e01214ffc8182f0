"""Trained files that people have: models inside public Python packages, written by torch, tf2onnx, Paddle and others.

`make files` fetches them and runs this file. Nobody can say what the same architecture is natively at another size, so
what is asked of a result is: the source's weights byte for byte at its own size, every shape as planned (the proof of
the rewritten graph), and finite outputs in onnxruntime at two sizes of every free dim.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import front_onnx
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FrontError
from front_onnx.operators.analysis import analyse
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model

FOLDER = Path(os.environ.get("FRONT_ONNX_FILES", Path(__file__).resolve().parents[1] / ".files"))
FILES = sorted(FOLDER.rglob("*.onnx"))
WIDTHS = (0.5, 1.5, 2)
DEPTHS = (0.5, 2)


def arrays(model: onnx.ModelProto) -> dict[str, bytes]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


def is_quantised(model: onnx.ModelProto) -> bool:
    return any("Quantize" in node.op_type or node.op_type.endswith("Integer") for node in model.graph.node)


def assert_runs(path: Path) -> None:
    """Finite outputs with made-up inputs, at two sizes of every free dim."""
    graph = Graph(read_model(path))
    analysis = analyse(graph)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    free = {analysis.symbols.free.root(key) for key in analysis.symbols.numbers if key in known_keys(graph, analysis)}
    first = synthetic_inputs(graph, {}, analysis=analysis)
    feeds = [first]
    for root in sorted(free - set(analysis.symbols.free.baked)):
        now = {analysis.symbols.free.root(analysis.symbols.key(i.name, place) or ""): size
               for i in graph.inputs for place, size in enumerate(first[i.name].shape)}  # fmt: skip
        feeds.append(synthetic_inputs(graph, {}, analysis=analysis, sizes={root: 2 * now[root]}))
    for feed in feeds:
        for output in session.run(None, feed):
            assert output.dtype.kind != "f" or np.isfinite(output).all()


def known_keys(graph: Graph, analysis: object) -> set[str]:
    return {
        key
        for info in graph.inputs
        for place in range(len(graph.declared_shape(info.name) or []))
        if (key := analysis.symbols.key(info.name, place)) is not None  # type: ignore[attr-defined]
    }


def resized(path: Path, target: Path, **request: object) -> front_onnx.Result:
    return front_onnx.resize(path, output=target, **request)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    if is_quantised(onnx.load(found)):
        with pytest.raises(FrontError, match="quantised"):
            front_onnx.resize(found, width_mult=2, dry_run=True)
        pytest.skip("it is quantised, and refused")
    return found


def test_its_own_size_gives_its_weights(path: Path, tmp_path: Path) -> None:
    resized(path, tmp_path / "same.onnx", width_mult=1)
    assert arrays(onnx.load(tmp_path / "same.onnx")) == arrays(onnx.load(path))


@pytest.mark.parametrize("factor", WIDTHS)
def test_another_width(path: Path, tmp_path: Path, factor: float) -> None:
    result = resized(path, tmp_path / "other.onnx", width_mult=factor)
    assert any(size != var.size for var, size in result.plan.sizes.items())
    assert_runs(tmp_path / "other.onnx")


@pytest.mark.parametrize("factor", DEPTHS)
def test_another_depth(path: Path, tmp_path: Path, factor: float) -> None:
    if not front_onnx.inspect(path).chains:
        pytest.skip("no block repeats")
    result = resized(path, tmp_path / "other.onnx", depth_mult=factor)
    assert any(before != after for before, after in result.plan.depths) or factor < 1
    assert_runs(tmp_path / "other.onnx")
