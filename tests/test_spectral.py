"""One axis: the resampling matrix, every kind of map, and the laws they have to obey."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st

from front_onnx.transform.maps import AxisMap, BlockDiagonal, Compose, Dct, Identity, Kron, Matrix
from front_onnx.transform.spectral import apply_map, dense_matrix, is_identity, multiply, resample_matrix, selection

sizes = st.integers(1, 40)


def dct_matrix(size: int) -> np.ndarray:
    """The definition, written out: D[k, n] = a(k) cos(pi (2n+1) k / 2N)."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    scale = np.where(k == 0, np.sqrt(1 / size), np.sqrt(2 / size))
    return scale * np.cos(np.pi * (2 * n + 1) * k / (2 * size))


@given(sizes, sizes, sizes)
def test_resample_matrix_is_the_definition(source: int, target: int, keep: int) -> None:
    low = min(source, target, keep)
    wanted = dct_matrix(target)[:low].T @ dct_matrix(source)[:low]
    np.testing.assert_allclose(resample_matrix(source, target, keep), wanted, atol=1e-13)


def test_resample_matrix_is_exact_at_the_sizes_of_real_models() -> None:
    matrix = resample_matrix(3072, 1536, 1536)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(1536), atol=1e-12)


def test_cached_matrices_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        resample_matrix(8, 4, 4)[0, 0] = 1


@given(st.integers(1, 300), st.integers(1, 300))
def test_constant_signal_scales_by_sqrt_of_source_over_target(source: int, target: int) -> None:
    out = apply_map(np.full((2, source), 3.0), 1, Dct(source, target, target))
    np.testing.assert_allclose(out, np.full((2, target), 3.0 * np.sqrt(source / target)), rtol=1e-10)


@given(st.integers(2, 300), st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_the_mean_has_a_gain_of_its_own(source: int, target: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((2, source))
    plain, out = (
        apply_map(x, 1, Dct(source, target, source, 0.5, level)) for level in (None, np.sqrt(target / source))
    )
    np.testing.assert_allclose(out.mean(1), x.mean(1), atol=1e-12)
    np.testing.assert_allclose(out - out.mean(1, keepdims=True), plain - plain.mean(1, keepdims=True), atol=1e-12)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_up_then_down_returns_the_source(source: int, more: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((source, 3)).astype(np.float32)
    there = apply_map(x, 0, Dct(source, source + more, source))
    back = apply_map(there, 0, Dct(source + more, source, source))
    assert back.dtype == np.float32
    assert np.abs(back - x).max() <= 1e-5 * np.abs(x).max()


@pytest.mark.parametrize("size", [5, 200])  # by matrix and by fast transform
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_identity_returns_the_array_itself(size: int, dtype: type) -> None:
    x = np.arange(2.0 * size, dtype=dtype).reshape(2, size)
    for same in [
        Identity(size),
        Dct(size, size, size),
        Dct(size, size, size + 9),
        Matrix(np.eye(size)),
        Kron((Identity(size), Dct(1, 1, 1))),
        BlockDiagonal((Identity(2), Identity(size - 2))),
        Compose((Identity(size), Dct(size, size, size))),
    ]:
        assert is_identity(same)
        assert apply_map(x, 1, same) is x


def test_near_identities_are_not_identities() -> None:
    for other in [
        Dct(6, 6, 5),
        Dct(6, 6, 6, gain=0.5),
        Dct(6, 6, 6, level=0.5),
        Matrix(np.eye(6)[::-1]),
        Matrix(2 * np.eye(6)),
        Matrix(np.eye(6)[:5]),
        Kron((Identity(2), Dct(3, 4, 3))),
    ]:
        assert not is_identity(other)


def maps(size: int, rng: np.random.Generator) -> list[AxisMap]:
    half = size // 2
    return [
        Identity(size),
        Dct(size, size, half),
        Dct(size, half, half, gain=0.7),
        Dct(size, 2 * size + 1, size),
        Dct(size, half, half, level=0.7),
        Dct(size, size, size, gain=0.7, level=1.0),
        Matrix(rng.standard_normal((size + 3, size))),
        Matrix(np.eye(size)[rng.integers(0, size, size + 2)] * -1.5),
        Kron((Dct(half, 2 * half, half), Identity(2))),
        Kron((Identity(2), Dct(half, 3, half))),
        BlockDiagonal((Dct(half, half + 5, half), Identity(1), Dct(half - 1, 2, half))),
        Compose((Dct(size, size + 4, size), Matrix(rng.standard_normal((2, size + 4))))),
    ]


@pytest.mark.parametrize("size", [6, 130, 400])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-13)])
def test_every_map_is_its_dense_matrix(size: int, axis: int, dtype: type, tolerance: float) -> None:
    rng = np.random.default_rng(size)
    shape = [5, 3, 7]
    shape[axis] = size
    x = rng.standard_normal(shape).astype(dtype)
    for axis_map in maps(size, rng):
        wanted = np.moveaxis(np.tensordot(dense_matrix(axis_map), x.astype(np.float64), (1, axis)), 0, axis)
        out = apply_map(x, axis, axis_map)
        assert out.dtype == dtype
        assert out.shape == wanted.shape
        assert np.abs(out - wanted).max() <= tolerance * np.abs(wanted).max(), axis_map


def test_kron_is_row_major_and_blocks_are_in_order() -> None:
    x = np.arange(6.0)
    swap = Matrix(np.eye(2)[::-1])
    np.testing.assert_array_equal(apply_map(x, 0, Kron((swap, Identity(3)))), [3, 4, 5, 0, 1, 2])
    np.testing.assert_array_equal(apply_map(x, 0, BlockDiagonal((swap, Identity(4)))), [1, 0, 2, 3, 4, 5])


def test_selection_copies_values_bit_for_bit() -> None:
    x = np.array([[1.1, -0.0, 3.3]], np.float32)
    chosen = Matrix(np.eye(3)[[2, 2, 1]])
    assert selection(chosen) is not None
    assert apply_map(x, 1, chosen).tobytes() == x[:, [2, 2, 1]].tobytes()
    assert selection(Matrix(np.ones((2, 3)))) is None


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.sampled_from([1, 3, 40, 9000]))
def test_multiply_is_the_product_along_the_axis(target: int, source: int, before: int, after: int) -> None:
    rng = np.random.default_rng(0)
    matrix, x = rng.standard_normal((target, source)), rng.standard_normal((before, source, after))
    np.testing.assert_allclose(multiply(matrix, x, 1), np.einsum("ts,bsa->bta", matrix, x), atol=1e-12)


def test_fast_transform_agrees_with_scipy_step_by_step() -> None:
    x = np.random.default_rng(0).standard_normal((4, 512))
    wanted = scipy.fft.idct(scipy.fft.dct(x, norm="ortho")[:, :300], n=700, norm="ortho")
    np.testing.assert_allclose(apply_map(x, 1, Dct(512, 700, 300)), wanted, atol=1e-12)


def test_wrong_size_and_wrong_type_are_refused() -> None:
    with pytest.raises(ValueError, match="entries"):
        apply_map(np.zeros((2, 3)), 1, Dct(4, 2, 2))
    with pytest.raises(ValueError, match="float32 and float64"):
        apply_map(np.zeros((2, 4), np.int64), 1, Dct(4, 2, 2))
