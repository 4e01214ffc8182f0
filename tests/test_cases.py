"""Small exports that were once resized wrongly in silence, or refused: equal to the native export of the other size."""

import lzma
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from zoo.oracle import compare

import front_onnx
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model

FOLDER = Path(__file__).parent / "cases"
CASES = {  # what is asked for, and the size that the native export's name ends in
    "fourier-mixing-matrix": ({"width": 24}, "w24"),  # a Fourier basis is summed over, as a weight would be
    "gelu-before-product": ({"width_mult": 2}, "x2"),  # 0.5 and the root of 2 are powers of some size by chance
    "learned-query-attention": ({"width_mult": 2}, "x2"),  # queries that are parameters are scaled like others
    "learned-query-decoder-depth": ({"depth": 4}, "d4"),  # the first block starts from parameters, not from data
    "graph-sage-scatter": ({"width": 16}, "w16"),  # data are scattered along one axis, and have a width along another
    "position-slice-offset": ({"width": 32}, "w32"),  # positions are cut out of a table at a place known at run time
    "relative-shift-table": ({"width_mult": 2}, "x2"),  # relative positions that are constants, padded and shifted
    "split-to-sequence": ({"width": 16}, "w16"),
    "early-exit-heads": ({"depth": 5}, "d5"),  # every block has a head of its own, and each of these an output
}
WITHOUT_NATIVE = {  # what is asked for, and sizes of free dims to run at, by the names of inputs and axes
    "graph-sage-scatter-dynamo": ({"width": 16}, [{}]),
    "relative-shift-table-dynamo": ({"width_mult": 2}, [{}]),
    "dims-minus-one": ({"width_mult": 2}, [{"x": (1, 3, 48, 64)}, {"x": (3, 3, 48, 64)}]),
    "one-symbol-for-all": ({"width_mult": 2}, [{"x": (1, 3, 48, 64)}, {"x": (3, 3, 48, 64)}]),
    "dynamic-image-fpn": ({"width_mult": 2}, [{"images": (1, 3, 64, 96)}, {"images": (2, 3, 128, 64)}]),
    "nms-inside": ({"width_mult": 1.5}, [{}]),
    "if-branches-of-two-lengths": ({"width_mult": 2}, [{}]),
    "dfl-bins": ({"width_mult": 2}, [{}]),
    "detr-encoder-decoder": ({"depth": [3, 4]}, [{}]),
    "lstm-stacked": ({"depth": 6}, [{"x": (1, 5, 10)}, {"x": (3, 9, 10)}]),
}


def load(name: str) -> onnx.ModelProto:
    return onnx.load_from_string(lzma.decompress((FOLDER / f"{name}.onnx.xz").read_bytes()))


@pytest.mark.parametrize("name", CASES)
def test_equals_the_native_export(name: str) -> None:
    request, size = CASES[name]
    resized = front_onnx.resize(load(name), **request).model
    assert compare(resized, load(f"{name}-{size}")) == []


@pytest.mark.parametrize("name", WITHOUT_NATIVE)
def test_runs_at_every_size(name: str) -> None:
    request, sizes = WITHOUT_NATIVE[name]
    source = load(name)
    resized = front_onnx.resize(source, **request).model
    before, after = (ort.InferenceSession(model.SerializeToString()) for model in (source, resized))
    assert parameters(resized) != parameters(source)
    for given in sizes:
        rng = np.random.default_rng(0)
        feed = synthetic_inputs(
            Graph(read_model(source)),
            {name: rng.standard_normal(shape).astype(np.float32) for name, shape in given.items()},
        )
        outputs = [session.run(None, feed) for session in (before, after)]
        assert all(np.isfinite(array).all() for array in outputs[1])
        if name != "nms-inside":  # as many boxes as are left over
            assert [array.shape for array in outputs[1]] == [array.shape for array in outputs[0]]


def parameters(model: onnx.ModelProto) -> int:
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)


def test_boxes_are_refined_by_every_block() -> None:
    """Boxes are handed from block to block, beside the queries: each block has as many parameters, and all are run."""
    source = load("box-refining-decoder")
    made = {depth: front_onnx.resize(source, depth=depth).model for depth in (2, 4, 5)}
    counts = {3: parameters(source)} | {depth: parameters(model) for depth, model in made.items()}
    assert counts[3] - counts[2] == counts[4] - counts[3] == counts[5] - counts[4] > 0
    feed = synthetic_inputs(Graph(read_model(source)), {})

    def run(model: onnx.ModelProto) -> list[np.ndarray]:
        return ort.InferenceSession(model.SerializeToString()).run(None, feed)

    wanted = [array.shape for array in run(source)]
    for model in made.values():
        outputs = run(model)
        assert [array.shape for array in outputs] == wanted and all(np.isfinite(array).all() for array in outputs)
    boxes = {depth: sum(node.op_type == "Sigmoid" for node in model.graph.node) for depth, model in made.items()}
    assert boxes[5] - boxes[4] == (boxes[4] - boxes[2]) // 2 > 0


def test_every_file_is_a_case() -> None:
    wanted = {f"{name}{size}.onnx.xz" for name, (_, size) in CASES.items() for size in ("", f"-{size}")}
    wanted |= {f"{name}.onnx.xz" for name in (*WITHOUT_NATIVE, "box-refining-decoder")}
    assert {path.name for path in FOLDER.iterdir()} == wanted
