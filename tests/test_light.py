"""The nine networks that the onnx package ships for its backend tests: IR 3, opset 9, most weights made at run time.

Their weights are ConstantOfShape nodes over written shapes; small ones (norms and biases) are trained initializers.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiers import few

import front_onnx

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETWORKS = sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("*.onnx"))
OWN = (1, 3)  # inputs of a filter that stay: one channel each, and the image


def light(name: str) -> Path:
    return LIGHT / f"light_{name}.onnx"


def kernels(model: onnx.ModelProto) -> list[tuple[int, ...]]:
    """The shapes of all convolutions' weights, in order, with the number of groups."""
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    values = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(numpy_helper.to_array(values[node.input[0]]).tolist())
    return [shapes[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]


def test_there_are_nine():
    assert len(NETWORKS) == 9


# Two of them quickly, a residual one and plain convolutions; the others later.
SOME = few(NETWORKS, ["resnet50", "vgg19"], mark="slow")


@pytest.mark.parametrize("name", SOME)
def test_no_size_asked_for_changes_nothing(tmp_path: Path, name: str):
    result = front_onnx.resize(light(name), output=tmp_path / "same.onnx", validate=False)
    assert onnx.load(result.output).graph == onnx.load(light(name)).graph
    assert any(dim.kind == "inner" for dim in front_onnx.inspect(light(name)).dims)


@pytest.mark.parametrize("factor", few([0.5, 2], 1))
@pytest.mark.parametrize("name", SOME)
def test_every_width_scales(tmp_path: Path, name: str, factor: float):
    output = tmp_path / "resized.onnx"
    result = front_onnx.resize(light(name), width_mult=factor, output=output)
    assert result.validation.passed
    source, resized = onnx.load(light(name)), onnx.load(output)
    assert resized.graph.output == source.graph.output
    assert len(kernels(source)) > 4
    for before, after in zip(kernels(source), kernels(resized), strict=True):
        classes = before[0] == 1000
        scales = (1 if classes else factor, 1 if before[1] in OWN else factor, 1, 1)
        assert after == tuple(np.multiply(before, scales))


def test_variances_stay_positive(tmp_path: Path):
    """A spectrum cut short rings: around a large variance it would fall below zero."""
    result = front_onnx.resize(light("resnet50"), width_mult=0.5, output=tmp_path / "half.onnx")
    model = onnx.load(result.output)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    read = [node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"]
    variances = [arrays[name] for name in read if name in arrays]
    assert len(variances) > 3
    assert all((variance > 0).all() for variance in variances)
