"""A whole stack: against float64 references, for every type, mapped and not, and what must not change."""

from __future__ import annotations

import itertools
import mmap
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import few

from front_onnx.errors import FrontError
from front_onnx.transform.maps import AxisMap, BlockDiagonal, Dct, Identity, Kron, Matrix
from front_onnx.transform.spectral import dense_matrix
from front_onnx.transform.stack import resize_stack


def dct(source: int, target: int) -> Dct:
    return Dct(source, target, min(source, target))


def random_blocks(count: int, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32))


def reference(blocks: list[np.ndarray], depth: AxisMap, axes: list[AxisMap]) -> np.ndarray:
    """One dense float64 product per axis."""
    out = np.stack(blocks).astype(np.float64)
    for place, axis_map in enumerate([depth, *axes]):
        out = np.moveaxis(np.tensordot(dense_matrix(axis_map), out, (1, place)), 0, place)
    return out


def assert_close(out: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert out.shape == wanted.shape
    assert np.abs(out.astype(np.float64) - wanted).max() <= tolerance * np.abs(wanted).max()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=2, max_size=4))
def test_agrees_with_scipy_dctn(pairs: list[tuple[int, int]]) -> None:
    (count, deeper), *rest = pairs
    blocks = random_blocks(count, tuple(source % 20 + 1 for source, _ in rest))
    axes = [dct(source % 20 + 1, target % 20 + 1) for source, target in rest]
    spectrum = scipy.fft.dctn(np.stack(blocks).astype(np.float64), norm="ortho")
    shape = [deeper, *(axis.target for axis in axes)]
    padded = np.zeros(shape)
    low = tuple(slice(min(a, b)) for a, b in zip(shape, spectrum.shape, strict=True))
    padded[low] = spectrum[low]
    assert_close(resize_stack(blocks, dct(count, deeper), axes), scipy.fft.idctn(padded, norm="ortho"), 1e-5)


AXES = list(
    itertools.product(
        [(12, 6), (6, 12), (4, 4), (1, 1), (1, 3)],
        [(300, 150), (150, 300), (200, 200)],
        [(1200, 600), (600, 1200), (640, 640)],
    )
)


@pytest.mark.parametrize(("depth", "rows", "columns"), few(AXES, AXES[::4], mark="slow"))
def test_shrinks_and_grows_each_axis_on_its_own(
    depth: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    blocks = random_blocks(depth[0], (rows[0], columns[0]))
    maps = [dct(*rows), dct(*columns)]
    out = resize_stack(blocks, dct(*depth), maps)
    assert out.dtype == np.float32
    assert_close(out, reference(blocks, dct(*depth), list(maps)), 1e-5)


def test_every_kind_of_map_in_every_place() -> None:
    rng = np.random.default_rng(3)
    kinds: list[AxisMap] = [
        Identity(6),
        dct(6, 3),
        dct(6, 11),
        Matrix(rng.standard_normal((4, 6))),
        Matrix(np.eye(6)[[5, 0, 0, 2]]),
        Matrix(3 * np.eye(6)[:2]),
        Kron((dct(3, 5), Identity(2))),
        BlockDiagonal((Identity(2), dct(4, 7))),
    ]
    blocks = random_blocks(6, (6, 6))
    for depth, rows, columns in itertools.product(kinds, repeat=3):
        out = resize_stack(blocks, depth, [rows, columns])
        assert_close(out, reference(blocks, depth, [rows, columns]), 2e-6)


def test_scalars_vectors_and_kernels() -> None:
    for shape, axes in [
        ((), []),
        ((40,), [dct(40, 20)]),
        ((8, 6, 3, 3), [dct(8, 16), dct(6, 3), Identity(3), dct(3, 5)]),
    ]:
        blocks = random_blocks(4, shape)
        for depth in (dct(4, 2), dct(4, 7), Identity(4)):
            out = resize_stack(blocks, depth, axes)
            assert_close(out, reference(blocks, depth, list(axes)), 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.bool_])
def test_identity_is_equal_byte_for_byte(dtype: type) -> None:
    blocks = [block.astype(dtype) for block in random_blocks(3, (5, 7))]
    out = resize_stack(blocks, Dct(3, 3, 3), [Identity(5), Dct(7, 7, 7)])
    assert out.dtype == dtype
    assert out.tobytes() == np.stack(blocks).tobytes()


def test_identity_keeps_nan_payloads_and_negative_zero() -> None:
    block = np.array([0x7FC12345, 0x80000000, 0xFF800000], np.uint32).view(np.float32)
    assert resize_stack([block], Identity(1), [Identity(3)]).tobytes() == block.tobytes()


def test_choosing_blocks_copies_them() -> None:
    blocks = random_blocks(6, (4, 5))
    out = resize_stack(blocks, Matrix(np.eye(6)[[0, 2, 5, 5]]), [Identity(4), Identity(5)])
    assert out.tobytes() == np.stack([blocks[index] for index in (0, 2, 5, 5)]).tobytes()


@pytest.mark.parametrize(("dtype", "step"), [(np.float16, 2.0**-11), (ml_dtypes.bfloat16, 2.0**-8)])
@pytest.mark.parametrize("depth", [(6, 3), (3, 6)])
def test_short_floats_are_rounded_only_once(dtype: type, step: float, depth: tuple[int, int]) -> None:
    blocks = [block.astype(dtype) for block in random_blocks(depth[0], (64, 96))]
    maps = [dct(64, 32), dct(96, 200)]
    wanted = reference([block.astype(np.float64) for block in blocks], dct(*depth), list(maps))
    out = resize_stack(blocks, dct(*depth), maps)
    assert out.dtype == dtype
    error = np.abs(out.astype(np.float64) - wanted)
    # Half a step of the stored type, and the float32 arithmetic's own error.
    assert np.all(error <= step * np.abs(wanted) + 1e-5)


def test_float64_is_computed_in_float64() -> None:
    blocks = [block.astype(np.float64) for block in random_blocks(4, (200, 130))]
    out = resize_stack(blocks, dct(4, 2), [dct(200, 100), dct(130, 65)])
    assert out.dtype == np.float64
    assert_close(out, reference(blocks, dct(4, 2), [dct(200, 100), dct(130, 65)]), 1e-12)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.uint8, np.complex64, ml_dtypes.int4])
def test_only_real_floats_are_resized(dtype: type) -> None:
    blocks = [np.zeros((4,), dtype)] * 2
    with pytest.raises(FrontError):
        resize_stack(blocks, Identity(2), [dct(4, 2)])


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        resize_stack(random_blocks(2, (4,)), Identity(3), [Identity(4)])
    with pytest.raises(ValueError, match="fit"):
        resize_stack(random_blocks(2, (4,)), Identity(2), [Identity(5)])
    with pytest.raises(ValueError, match="one shape"):
        resize_stack([np.zeros(3), np.zeros(4)], Identity(2), [Identity(3)])


def test_source_is_left_alone_and_may_be_read_only() -> None:
    blocks = random_blocks(4, (30, 40))
    before = [block.copy() for block in blocks]
    for block in blocks:
        block.flags.writeable = False
    resize_stack(blocks, dct(4, 2), [dct(30, 15), dct(40, 80)])
    for block, saved in zip(blocks, before, strict=True):
        np.testing.assert_array_equal(block, saved)


@pytest.mark.parametrize("depth", [(3, 2), (3, 5)])
def test_mapped_unaligned_blocks_give_the_same(tmp_path: Path, depth: tuple[int, int]) -> None:
    blocks = random_blocks(3, (500, 700))
    path = tmp_path / "weights"
    path.write_bytes(b"odd" + b"".join(block.tobytes() for block in blocks))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    size = blocks[0].nbytes
    views = [
        np.frombuffer(mapped, np.uint8, size, 3 + place * size).view(np.float32).reshape(500, 700) for place in range(3)
    ]
    maps = [dct(500, 250), dct(700, 350)]
    wanted = resize_stack(blocks, dct(*depth), maps)
    np.testing.assert_array_equal(resize_stack(views, dct(*depth), maps), wanted)
    for view, block in zip(views, blocks, strict=True):  # pages given back come back as they were
        np.testing.assert_array_equal(view, block)


def test_private_pages_are_not_given_back(tmp_path: Path) -> None:
    """Giving back a copy-on-write page would undo what was written to it."""
    (tmp_path / "weights").write_bytes(bytes(8 * 4096))
    for mode in ("c", "r+"):
        block = np.memmap(tmp_path / "weights", np.float32, mode, shape=(64, 128))
        block[:] = 1
        resize_stack([block], Identity(1), [Identity(64), dct(128, 64)])
        np.testing.assert_array_equal(block, 1)


def test_memory_is_near_one_result() -> None:
    blocks = random_blocks(12, (512, 2048))
    source = sum(block.nbytes for block in blocks)
    tracemalloc.start()
    try:
        out = resize_stack(blocks, dct(12, 6), [dct(512, 256), dct(2048, 1024)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.nbytes * 8 == source
    # The result, an intermediate of twice its size, and up to four threads' slabs.
    assert peak < 3 * out.nbytes + 4 * (12 << 20)


def test_same_input_gives_the_same_bytes() -> None:
    blocks = random_blocks(6, (96, 1024))
    maps = [dct(96, 48), dct(1024, 512)]
    first = resize_stack(blocks, dct(6, 3), maps)
    assert all(resize_stack(blocks, dct(6, 3), maps).tobytes() == first.tobytes() for _ in range(3))


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("front_onnx.transform.stack.apply_map", broken)
    with pytest.raises(MemoryError):
        resize_stack(random_blocks(4, (600, 900)), Identity(4), [dct(600, 300), dct(900, 450)])
