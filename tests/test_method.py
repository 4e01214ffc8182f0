"""The resized weights are what the paper's equations give, evaluated directly with scipy in double precision."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from scipy.fft import dctn, idctn
from zoo.architectures import ARCHITECTURES
from zoo.export import export

import front_onnx
from front_onnx.methods.scale import depth_gain, gain, spread

DIGITS = Path(__file__).parents[1] / "models" / "digits" / "digits.onnx"


def _weights(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def _front(stack: np.ndarray, target: tuple[int, ...], ratio: float) -> np.ndarray:
    """Eq. 3, 4 and 8: transform, keep the low frequencies, truncate or pad, transform back."""
    coefficients = dctn(stack.astype(np.float64), norm="ortho")
    kept = tuple(min(max(1, int(ratio * n)), m) for n, m in zip(stack.shape, target, strict=True))
    padded = np.zeros(target)
    low = tuple(slice(n) for n in kept)
    padded[low] = coefficients[low]
    return idctn(padded, norm="ortho")


def _stack(weights: dict[str, np.ndarray], pattern: str, places: range | list[int]) -> np.ndarray:
    return np.stack([weights[pattern.format(i)] for i in places])


@pytest.mark.parametrize(("depth", "width"), [(3, 20), (2, 20), (5, 20), (3, 10), (3, 30), (5, 10), (2, 30)])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_stack_follows_the_equations(zoo_cache: Path, tmp_path: Path, depth: int, width: int, ratio: float) -> None:
    mlp = ARCHITECTURES["mlp"]
    source = export(mlp, mlp.source, cache_dir=zoo_cache)
    output = tmp_path / "out.onnx"
    front_onnx.resize(source, depth=depth, width=width, ratio=ratio, scale="ortho", output=output)
    before, after = _weights(source), _weights(output)
    for pattern, rank in (("{}.0.weight", 2), ("{}.0.bias", 1)):
        wanted = _front(_stack(before, pattern, [2, 3, 4]), (depth, *([width] * rank)), ratio)
        got = _stack(after, pattern, range(2, 2 + depth))
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_heads_are_resized_whole(zoo_cache: Path, tmp_path: Path) -> None:
    """With head_dim kept, heads are mixed and the places within a head are not."""
    bert = ARCHITECTURES["bert"]
    source = export(bert, bert.source, cache_dir=zoo_cache)
    output = tmp_path / "out.onnx"
    front_onnx.resize(source, width=10, scale="ortho", output=output)
    before, after = _weights(source), _weights(output)
    name = "encoder.layer.1.attention.self.query.bias"
    wanted = _front(before[name].reshape(4, 5).T[..., None], (5, 2, 1), 1.0)[..., 0].T
    np.testing.assert_allclose(after[name].reshape(2, 5), wanted, atol=2e-6)


SUMMED = pytest.mark.parametrize(
    ("scale", "shrunk", "grown"),
    [
        ("ortho", 1.0, 1.0),
        ("amp", 0.5**0.5, 1.5**0.5),
        ("auto", 2**0.5, 1.5**-0.5),
        ("variance", 1.0, 1.5**0.5),
        ("fan-in", 1.0 * 2**0.5, 1.0),
    ],
)


@SUMMED
def test_factor_of_the_summed_axis(scale: str, shrunk: float, grown: float) -> None:
    for width, factor in ((10, shrunk), (30, grown)):
        assert gain(scale, 20, width, matrix=True, contracted=True) == pytest.approx(factor)


def test_factors_of_the_default() -> None:
    """Where a model shrinks, noise keeps its deviation, and less of it comes into the stream."""
    for width, rows in ((10, 1.0), (30, 1.5**0.5)):
        assert gain("auto", 20, width, matrix=True, contracted=False) == pytest.approx(rows)
        assert gain("auto", 20, width, matrix=False, contracted=False) == pytest.approx((width / 20) ** 0.5)
    assert gain("auto", 20, 10, matrix=True, contracted=True, writes=True) == pytest.approx(0.5**0.5)
    assert gain("auto", 20, 30, matrix=True, contracted=True, writes=True) == pytest.approx(1.5**-0.5)
    assert spread("auto", 20, 10, matrix=False) == 1
    assert spread("auto", 20, 30, matrix=False) is None and spread("auto", 20, 10, matrix=True) is None
    assert depth_gain("auto", 6, 3, matrix=True) == 1
    assert depth_gain("auto", 6, 3, matrix=True, writes=True) == pytest.approx(0.5**0.5)
    assert depth_gain("auto", 6, 8, matrix=True) == pytest.approx((8 / 6) ** 0.5)
    assert depth_gain("auto", 6, 8, matrix=True, writes=True) == pytest.approx((6 / 8) ** 0.5)


def test_blocks_of_half_the_width_stay_on() -> None:
    """What a block adds to the stream, beside what blocks of the source add."""
    source = onnx.load(DIGITS)
    added = [_added(model) for model in (source, front_onnx.resize(source, width=24, validate=False).model)]
    assert added[1] > added[0] / 3


def _added(model: onnx.ModelProto) -> float:
    """The root mean square of what blocks add, over all blocks."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    ends = [node.output[0] for node in model.graph.node if node.name.endswith(("proj/Add", "fc2/Add"))]
    assert len(ends) == 12
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in ends)
    with np.load(DIGITS.with_name("inputs.npz")) as archive:
        inputs = {"image": archive["image"]}
    made = onnxruntime.InferenceSession(model.SerializeToString()).run(ends, inputs)
    return float(np.sqrt(np.mean([np.mean(values**2) for values in made])))


@SUMMED
def test_scale_of_the_summed_axis(zoo_cache: Path, tmp_path: Path, scale: str, shrunk: float, grown: float) -> None:
    """The output layer sums over the width: its factor beside the paper's, when the width halves and grows."""
    mlp = ARCHITECTURES["mlp"]
    source = export(mlp, mlp.source, cache_dir=zoo_cache)
    for width, factor in ((10, shrunk), (30, grown)):
        weights = {}
        for s in (scale, "ortho"):
            output = tmp_path / f"{s}-{width}.onnx"
            front_onnx.resize(source, width=width, scale=s, output=output)
            weights[s] = _weights(output)["5.weight"]
        np.testing.assert_allclose(weights[scale], factor * weights["ortho"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", ["auto", "amp"])
def test_vectors_keep_their_values(zoo_cache: Path, tmp_path: Path, scale: str) -> None:
    """A gain of one is one at every width."""
    bert = ARCHITECTURES["bert-fresh"]
    source = export(bert, bert.source, cache_dir=zoo_cache)
    output = tmp_path / "out.onnx"
    front_onnx.resize(source, width=30, depth=5, scale=scale, output=output)
    vectors = [w for w in _weights(output).values() if w.dtype == np.float32 and w.shape in ((30,), (120,))]
    assert {float(value) for vector in vectors for value in vector} == {0.0, 1.0}
