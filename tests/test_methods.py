"""Every method gives a valid model of the sizes that FRONT gives, and is what its description says."""

import functools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden import golden
from method_models import convolutional, plain, recurrent
from onnx import numpy_helper
from small import DIGITS, feed, run, weights
from tiers import few

import front_onnx
from front_onnx.errors import RequestError
from front_onnx.methods.copy import blocks
from front_onnx.methods.entries import entries
from front_onnx.methods.fold import clusters
from front_onnx.methods.interpolate import lines
from front_onnx.methods.method import Method, Setting
from front_onnx.methods.private import Private
from front_onnx.methods.registry import methods
from front_onnx.plan.orders import nearest
from front_onnx.plan.request import Request
from front_onnx.roles.pieces import find_pieces
from front_onnx.session import Session
from front_onnx.store.model_writer import ProtoWriter
from front_onnx.transform.maps import Select
from front_onnx.transform.spectral import apply_map, dense_matrix
from front_onnx.transform.weights import fill

MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "digits": lambda: onnx.load(DIGITS),
    "plain": plain,
    "convolutional": convolutional,
    "recurrent": recurrent,
    "llama": lambda: golden("torch-llama-torchscript"),
}
SMALLER = {"digits": (4, 24), "plain": (2, 3), "convolutional": (2, 4), "recurrent": (2, 4), "llama": (2, 12)}
LARGER = {"digits": (7, 60), "plain": (5, 9), "convolutional": (4, 9), "recurrent": (4, 9), "llama": (4, 36)}
GROWING = ("duplicate", "average", "lossless", "zero")
EVERY = [
    f"{name}:{variant}" if variant else name
    for name, method in methods().items()
    for variant in (method.variants or ("",))
    if name != "front"
]


@functools.cache
def _source(model: str) -> onnx.ModelProto:
    return MODELS[model]()


@functools.cache
def _session(model: str) -> Session:
    return Session(_source(model))


@functools.cache
def _resized(model: str, method: str, larger: bool) -> onnx.ModelProto:
    """A resized model; the source is understood once for all methods."""
    depth, width = (LARGER if larger else SMALLER)[model]
    session = _session(model)
    plan = session.plan(Request(depth, width, method=method))
    rewritten = session.rewrite(plan)
    writer = ProtoWriter(rewritten.proto, set(rewritten.pending))
    fill(plan.structure.graph, rewritten.pending, writer.put)
    return writer.result()


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in weights(model).items()}


def _wide(model: onnx.ModelProto, method: str, width: int, **more: object) -> onnx.ModelProto:
    return front_onnx.resize(model, width=width, method=method, validate=False, **more).model


def _with(model: onnx.ModelProto, changed: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy with other weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    return copy


def _same(one: onnx.ModelProto, other: onnx.ModelProto, source: onnx.ModelProto) -> float:
    """The largest difference of two models' outputs, by the largest output."""
    given = feed(source, batch=3, length=8)
    ones, others = run(one, given), run(other, given)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(ones, others, strict=True))


# -- every method on every model --------------------------------------------------------------------------------------

CASES = [(m, e, up) for m in MODELS for e in EVERY for up in (False, True) if up or e not in GROWING]

IN_SHORT = [("dft", False), ("select:norm", False), ("duplicate", True), ("copy:even", True)]


SLOW = ("convolutional", "recurrent")  # every method; the rest is more of the same


def _in_short(case: tuple[str, str, bool]) -> bool:
    """Every method on the plain net both ways; few on nets of other operators."""
    return case[0] == "plain" or case[1:] in IN_SHORT


@pytest.mark.parametrize(
    ("model", "method", "larger"),
    few(few(CASES, lambda case: _in_short(case) or case[0] in SLOW), _in_short, mark="slow"),
)
def test_a_valid_model_of_the_sizes_that_front_gives(model: str, method: str, larger: bool) -> None:
    made = _resized(model, method, larger)
    onnx.checker.check_model(made, full_check=True)
    assert all(np.isfinite(output).all() for output in run(made, feed(made, length=8)))
    assert sorted(_shapes(made).values()) == sorted(_shapes(_resized(model, "front", larger)).values())
    assert all(np.isfinite(array).all() for array in weights(made).values() if array.dtype.kind == "f")


@functools.cache
def _shared() -> onnx.ModelProto:
    """The digits with one block for all, as ALBERT has."""
    model = onnx.load(DIGITS)
    kept = [tensor for tensor in model.graph.initializer if not re.match(r"blocks\.[1-9]", tensor.name)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        for slot, name in enumerate(node.input):
            if name.startswith("blocks."):
                node.input[slot] = re.sub(r"^blocks\.\d+\.", "blocks.0.", name)
    return model


@pytest.mark.parametrize("method", few(EVERY, ["select:norm", "lossless", "zero", "mimetic"], mark="slow"))
def test_blocks_that_share_their_weights_still_do(method: str) -> None:
    """At another depth as well: a new block that is empty would be the only one with weights of its own."""
    result = front_onnx.resize(_shared(), depth=8, width=96, method=method, validate=False)
    assert len(weights(result.model)) == len(weights(_shared()))
    told = any("blocks share blocks.0" in warning for warning in result.plan.warnings)
    assert told == (method in ("lossless", "zero"))


@pytest.mark.parametrize("method", EVERY)
def test_the_same_request_gives_the_same_bytes(method: str) -> None:
    once, again = (
        front_onnx.resize(plain(), depth=5, width=9, method=method, validate=False, seed=3).model for _ in range(2)
    )
    assert once.SerializeToString() == again.SerializeToString()


@pytest.mark.parametrize("method", few(EVERY, [m for m in EVERY if ":" not in m or m == "dwt:db4"], mark="slow"))
def test_half_precision_is_rounded_once(method: str) -> None:
    full = plain()
    half = onnx.ModelProto()
    half.CopyFrom(full)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for entry in (*half.graph.input, *half.graph.output):
        entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    rounded = _with(full, {name: array.astype(np.float32) for name, array in weights(half).items()})
    wanted = weights(front_onnx.resize(rounded, depth=5, width=9, method=method, validate=False).model)
    for name, array in weights(front_onnx.resize(half, depth=5, width=9, method=method).model).items():
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, wanted[name].astype(np.float16))


@pytest.mark.parametrize("method", ["duplicate", "average"])
def test_what_only_grows_says_so(method: str) -> None:
    with pytest.raises(RequestError, match=r"only makes sizes larger \(dim hidden, got 3, wanted 6 or more\)"):
        _wide(plain(), method, 3)


# -- what is private to a unit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"width_mult": 0.9}, {"params": "8k"}])
def test_sizes_are_no_matter_of_what_a_method_refuses(asked: dict[str, object]) -> None:
    """A factor is rounded, and a budget met, by the same sizes for all: none looks for others that it likes."""
    source = golden("torch-bert-torchscript")
    sizes = front_onnx.resize(source, dry_run=True, **asked).plan.sizes
    assert any(var.size > size for var, size in sizes.items())
    for method in ("duplicate", "depth=copy,width=average"):
        with pytest.raises(RequestError, match="only makes sizes larger"):
            front_onnx.resize(source, dry_run=True, method=method, **asked)


def test_a_width_is_everybodys_and_hidden_units_are_a_units_own() -> None:
    structure = Session(onnx.load(DIGITS)).structure
    private = Private(structure)
    chains = {dim.name: private.chain(dim.var) for dim in structure.dims if dim.kind != "fixed"}
    assert chains == {"hidden": None, "heads": 0, "head_dim": 0, "ffn": 0}


def test_heads_that_share_a_table_of_positions_are_nobodys_own() -> None:
    structure = Session(golden("torch-t5-encoder-torchscript")).structure
    private = Private(structure)
    chains = {dim.name: private.chain(dim.var) for dim in structure.dims}
    assert (chains["heads"], chains["ffn"]) == (None, 0)


def test_entries_are_rows_of_all_weights() -> None:
    session = Session(plain())
    (dim,) = [dim for dim in session.structure.dims if dim.name == "ffn"]
    readings = Private(session.structure).readings(dim.var, tuple(dim.edges[:1]))
    found = [(rows.shape, summed) for rows, summed in entries(session.structure, dim.var, readings)]
    assert sorted(found) == [((12, 1), False), ((12, 6), False), ((12, 6), True)]


# -- select -----------------------------------------------------------------------------------------------------------


def _rows_of(small: np.ndarray, large: np.ndarray) -> list[int]:
    """For each row, the row of the other array that it equals."""
    return [next(i for i, other in enumerate(large) if np.array_equal(row, other)) for row in small]


@pytest.mark.parametrize(("variant", "rows"), [("uniform", [0, 2, 4]), ("first", [0, 1, 2]), ("norm", [1, 3, 4])])
def test_select_takes_rows(variant: str, rows: list[int]) -> None:
    values = weights(plain())
    for name, array in values.items():
        along = {"embed.weight": 1, "embed.bias": 0, "head.weight": 0}.get(name)
        if name.startswith("layers"):
            along = {"up.weight": 0, "down.weight": 1, "down.bias": 0}.get(name.split(".", 2)[2])
        if along is not None:
            factor = np.ones(6, np.float32)
            factor[[1, 3, 4]] = 5
            values[name] = array * np.expand_dims(factor, [a for a in range(array.ndim) if a != along])
    made = weights(_wide(_with(plain(), values), f"select:{variant}", 3))
    np.testing.assert_array_equal(made["embed.bias"], values["embed.bias"][rows])
    np.testing.assert_array_equal(made["embed.weight"], values["embed.weight"][:, rows])
    np.testing.assert_allclose(made["head.weight"], values["head.weight"][rows] * np.float32(2**0.5), rtol=1e-6)
    unit = _rows_of(made["layers.1.up.bias"][:, None], values["layers.1.up.bias"][:, None])
    down = values["layers.1.down.weight"][np.ix_(unit, rows)] * 2**0.5
    np.testing.assert_allclose(made["layers.1.down.weight"], down, rtol=1e-6)


def test_select_by_norm_chooses_in_each_unit_by_itself() -> None:
    values = {name: array.copy() for name, array in weights(plain()).items()}
    for number in range(3):
        strong = np.arange(6) + 3 * number
        values[f"layers.{number}.down.weight"][strong] *= 9
        values[f"layers.{number}.up.weight"][:, strong] *= 9
    made = weights(_wide(_with(plain(), values), "select:norm", 3))
    for number in range(3):
        chosen = _rows_of(made[f"layers.{number}.up.bias"][:, None], values[f"layers.{number}.up.bias"][:, None])
        assert chosen == [*range(3 * number, 3 * number + 6)]


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["plain", "convolutional"])
@pytest.mark.parametrize("method", ["duplicate", "select"])
@pytest.mark.parametrize("symmetry", [0.0, 0.5])
@pytest.mark.parametrize("width", [9, 12])
def test_copies_without_a_norm_over_them_lose_nothing(model: str, method: str, symmetry: float, width: int) -> None:
    source = _source(model)
    made = _wide(source, method, width, symmetry=symmetry)
    assert _same(source, made, source) < 1e-5
    shares = weights(made)["layers.0.down.weight" if model == "plain" else "layers.0.conv3.weight"]
    shares = shares if model == "plain" else shares[:, :, 0, 0].T
    if width == 12:  # twice as many: units i and i + 12, or side by side
        (one, other) = (shares[:12], shares[12:]) if method == "duplicate" else (shares[::2], shares[1::2])
        assert np.allclose(one, other) is (symmetry == 0)


def test_the_mean_of_a_stream_is_what_average_adds() -> None:
    source = plain()
    made = weights(_wide(source, "average", 9))
    before = weights(source)
    np.testing.assert_array_equal(made["embed.weight"][:, :6], before["embed.weight"])
    mean = before["embed.weight"].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(made["embed.weight"][:, 6:], np.repeat(mean, 3, 1), rtol=1e-5)
    assert not made["head.weight"][6:].any()
    assert _same(source, _wide(source, "average", 13), source) < 1e-5


@pytest.mark.parametrize(
    ("variant", "fewer", "more"),
    [
        ("even", [0, 2, 5], [0, 1, 1, 2, 3, 4, 4, 5]),
        ("first", [0, 1, 2], [0, 0, 1, 1, 2, 3, 4, 5]),
        ("last", [3, 4, 5], [0, 1, 2, 3, 4, 4, 5, 5]),
        ("interleave", [0, 2, 4], [0, 0, 1, 2, 3, 3, 4, 5]),
        ("stack", [0, 1, 2], [0, 1, 2, 3, 4, 5, 0, 1]),
    ],
)
def test_copied_blocks_are_blocks(variant: str, fewer: list[int], more: list[int]) -> None:
    source = onnx.load(DIGITS)
    before = weights(source)
    for chosen in (fewer, more):
        assert blocks(variant, 6, len(chosen)).tolist() == chosen
        made = weights(front_onnx.resize(source, depth=len(chosen), method=f"copy:{variant}", validate=False).model)
        for number, origin in enumerate(chosen):
            for name in (name for name in before if name.startswith(f"blocks.{origin}.")):
                copy = made[name.replace(f"blocks.{origin}.", f"blocks.{number}.")]
                np.testing.assert_array_equal(copy, before[name])


# -- fold -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["plain", "convolutional"])
def test_units_that_are_copies_fold_into_one(model: str) -> None:
    """Twelve of six, in another order in each width: folded back, nothing is lost."""
    source = _source(model)
    wide = _wide(source, "duplicate", 12, symmetry=0.5)
    back = _wide(wide, "fold", 6)
    assert _shapes(back) == _shapes(source)
    assert _same(source, back, source) < 1e-5


def test_groups_are_those_of_the_nearest_centre() -> None:
    rng = np.random.default_rng(2)
    centres = 10 * rng.standard_normal((5, 8))
    wanted = np.array([0, 1, 0, 2, 3, 4, 4, 1, 2, 0])
    points = centres[wanted] + 0.1 * rng.standard_normal((10, 8))
    assert clusters(points @ points.T, 5, seed=0).tolist() == wanted.tolist()
    assert sorted(clusters(np.zeros((4, 4)), 3, seed=0).tolist()) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2])


# -- interpolate ------------------------------------------------------------------------------------------------------


def test_interpolation_keeps_ends_and_constants() -> None:
    method = methods()["interpolate"]
    assert method.directions == ("width", "depth")
    for source, target in ((6, 4), (4, 9), (5, 1), (1, 3)):
        matrix = lines(source, target)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        ramp = matrix @ np.arange(source)
        wanted = np.linspace(0, source - 1, target) if target > 1 else [(source - 1) / 2]
        np.testing.assert_allclose(ramp, wanted, atol=1e-12)


# -- bases ------------------------------------------------------------------------------------------------------------


def _method(name: str, variant: str | None = None, model: str = "plain", **more: object) -> Method:
    structure = _session(model).structure
    return methods()[name](Setting(structure, {}, [], variant=variant, scale="ortho", **more))


@pytest.mark.parametrize(("name", "variant"), [("dft", None), ("dwt", "haar"), ("dwt", "db4")])
def test_bases_are_orthonormal_and_begin_with_what_is_coarse(name: str, variant: str | None) -> None:
    for size in (1, 2, 3, 4, 7, 10, 12, 45, 48, 64):
        basis = _method(name, variant).basis(size)
        np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=1e-12)
        coefficients = basis @ np.ones(size)
        np.testing.assert_allclose(coefficients[0], size**0.5)  # a constant has one coefficient
        np.testing.assert_allclose(coefficients[1:], 0, atol=1e-9)


def test_haar_at_half_the_size_adds_neighbours() -> None:
    method = _method("dwt", "haar")
    half = method.basis(4).T @ method.basis(8)[:4]
    np.testing.assert_allclose(half, np.kron(np.eye(4), [[0.5**0.5, 0.5**0.5]]), atol=1e-12)


@pytest.mark.parametrize("name", ["pca", "svd"])
def test_directions_are_those_of_the_weights(name: str) -> None:
    rng = np.random.default_rng(4)
    mixing = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    rows = mixing * [9, 7, 5, 3, 2, 1] @ rng.standard_normal((6, 4000)) + 4
    directions = _method(name).directions_of(iter([rows]), 6)
    np.testing.assert_allclose(directions @ directions.T, np.eye(6), atol=1e-12)
    assert np.all(directions.sum(axis=1) >= 0)
    found = np.abs(directions @ mixing)
    if name == "pca":
        np.testing.assert_allclose(found, np.eye(6), atol=0.15)
    else:  # the mean is a direction too
        assert np.abs(directions[0] @ np.full(6, 6**-0.5)) > 0.7


@pytest.mark.parametrize("name", ["pca", "svd"])
def test_what_lies_in_few_directions_comes_back(name: str) -> None:
    """Weights of rank 3 in a width of 6: narrower by half, and every product over the width is what it was."""
    rng = np.random.default_rng(5)
    inside = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    values = {n: a.copy() for n, a in weights(plain()).items()}
    for n, a in values.items():
        for along in (axis for axis in range(a.ndim) if a.shape[axis] == 6):
            a = np.moveaxis(np.tensordot(inside @ inside.T, a, (1, along)), 0, along)
        values[n] = a.astype(np.float32)
    source = _with(plain(), values)
    made = weights(front_onnx.resize(source, width=3, dims={"ffn": 12}, method=f"width={name}", scale="ortho").model)
    before = values["embed.weight"] @ values["layers.0.up.weight"]
    np.testing.assert_allclose(made["embed.weight"] @ made["layers.0.up.weight"], before, atol=1e-5)
    before = values["layers.2.down.weight"] @ values["head.weight"]
    np.testing.assert_allclose(made["layers.2.down.weight"] @ made["head.weight"], before, atol=1e-5)


# -- random, mimetic --------------------------------------------------------------------------------------------------


def _deviation(array: np.ndarray, deviation: float) -> None:
    """Mean and deviation of what is drawn, within six standard errors."""
    error = 6 * deviation / array.size**0.5
    assert abs(array.mean()) < error and abs(array.std() - deviation) < error


def test_weights_of_a_transformer_are_drawn_as_bert_does() -> None:
    made = weights(front_onnx.resize(onnx.load(DIGITS), depth=8, method="random", validate=False).model)
    floats = {name: array for name, array in made.items() if array.dtype.kind == "f" and array.ndim}
    for name, array in floats.items():
        if "norm" in name and name.endswith("weight"):
            assert np.all(array == 1)
        elif name.endswith("bias"):
            assert not array.any()
        elif name == "patch_embed.weight":
            _deviation(array, (2 / 4) ** 0.5)
        else:
            wide = array.ndim == 2 and array.shape[0] != 1  # a matrix; positions and the class token are tables
            deviation = (2 / sum(array.shape)) ** 0.5 if wide else 0.02
            _deviation(array, deviation)
            assert np.abs(array).max() < 2.28 * deviation
    drawn = [array.tobytes() for array in floats.values() if array.std() > 0]
    assert len(floats) == 8 * 12 + 8 and len(set(drawn)) == len(drawn)  # each tensor of its own, none equal to another


def test_weights_of_other_models_are_drawn_as_torch_does() -> None:
    made = weights(front_onnx.resize(plain(), width=64, method="random", validate=False).model)
    bound = (6 / (64 + 128)) ** 0.5
    _deviation(made["layers.0.up.weight"], bound / 3**0.5)
    assert bound * 0.99 < np.abs(made["layers.0.up.weight"]).max() < bound
    assert not made["layers.0.up.bias"].any()
    made = weights(front_onnx.resize(recurrent(), width=32, method="random", validate=False).model)
    for part in "WRB":
        _deviation(made[f"layers.1.{part}"], 32**-0.5 / 3**0.5)
    made = weights(front_onnx.resize(convolutional(), width=24, method="random", validate=False).model)
    _deviation(made["layers.0.conv1.weight"], (2 / 24) ** 0.5)
    _deviation(made["layers.0.conv2.weight"], (2 / 9) ** 0.5)
    for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        assert np.all(made[f"layers.1.norm1.{name}"] == value)


def test_another_seed_draws_other_numbers_and_no_size_has_to_change() -> None:
    source = weights(plain())
    one, other = (weights(front_onnx.resize(plain(), method="random", validate=False, seed=s).model) for s in (1, 2))
    for name, array in one.items():
        assert array.shape == source[name].shape
        if name.endswith("weight"):
            assert not np.array_equal(array, other[name]) and not np.array_equal(array, source[name])


def test_tied_weights_are_drawn_once() -> None:
    source = golden("torch-t5-encoder-torchscript")
    before, made = weights(source), weights(front_onnx.resize(source, method="random", validate=False).model)
    assert _shapes(front_onnx.resize(source, method="front", validate=False).model).keys() == made.keys()
    assert before.keys() == made.keys()


def test_a_random_depth_alone_is_refused() -> None:
    for asked in ("depth=random", "depth=random,width=front", "width=mimetic"):
        with pytest.raises(RequestError, match="is for all directions or none"):
            front_onnx.resize(plain(), depth=2, method=asked)
    front_onnx.resize(plain(), depth=2, method="depth=random,width=random", validate=False)


def _diagonal(product: np.ndarray) -> tuple[float, float]:
    """The mean of the diagonal, and the deviation beside it."""
    beside = product[~np.eye(len(product), dtype=bool)]
    return float(np.diag(product).mean()), float(beside.std())


@pytest.mark.parametrize("width", [None, 36])
def test_attention_is_drawn_with_diagonals(width: int | None) -> None:
    made = weights(front_onnx.resize(onnx.load(DIGITS), depth=7, width=width, method="mimetic", validate=False).model)
    size, head = width or 48, 12
    for block in (0, 6):
        qkv = made[f"blocks.{block}.attn.qkv.weight"]
        query, key, value = np.split(qkv, 3)
        scores = [query[at : at + head].T @ key[at : at + head] for at in range(0, size, head)]
        for product in scores:  # of rank 12: the largest twelve of the values of 0.7 Z + 0.7 I
            noise = 0.7 * np.random.default_rng(0).standard_normal((size, size)) / size**0.5 + 0.7 * np.eye(size)
            values = np.linalg.svd(product, compute_uv=False)
            np.testing.assert_allclose(values[:head], np.linalg.svd(noise, compute_uv=False)[:head], rtol=0.25)
            assert values[head:].max() < 1e-5
        assert _diagonal(sum(scores))[0] > 3 * _diagonal(sum(scores))[1]
        mean, beside = _diagonal(made[f"blocks.{block}.attn.proj.weight"] @ value)
        assert abs(mean + 0.4) < 0.06 and abs(beside - 0.4 / size**0.5) < 0.01
    assert not np.array_equal(*(made[f"blocks.{block}.attn.qkv.weight"] for block in (5, 6)))


def test_attention_with_shared_keys_is_drawn_with_diagonals() -> None:
    source = golden("torch-llama-torchscript")
    session = Session(source)
    pieces = {str(p.role): p for p in find_pieces(session.structure) if p.where == "blocks 1"}
    made = Session(front_onnx.resize(source, method="mimetic", validate=False).model).graph
    query, key, value, output = (
        pieces[role].read(made.array(pieces[role].tensors[1])) for role in ("query", "key", "value", "output")
    )
    left, right = query.reshape(24, 2, 2, 6), key.reshape(24, 2, 6)
    for group in range(2):
        for place in range(2):
            product = left[:, group, place] @ right[:, group].T
            assert np.trace(product) > 3  # noise alone: 0 +- 0.7
        mixed = value.reshape(24, 2, 6)[:, group] @ output.reshape(2, 2, 6, 24)[group].sum(axis=0)
        assert np.trace(mixed) < -1.5


def test_a_selection_as_a_matrix_repeats_rows() -> None:
    np.testing.assert_array_equal(
        dense_matrix(Select(3, np.array([2, 2]), np.array([1.0, 2.0]))), [[0, 0, 1], [0, 0, 2]]
    )


# -- align and order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("digits", {"depth": 3, "align": True}),
        ("plain", {"depth": 2, "width": 3, "align": True, "order": True}),
        ("convolutional", {"width": 3, "order": True}),
        ("llama", {"depth": 5, "width": 12, "align": True, "order": True}),
    ],
)
def test_orders_leave_the_function_as_it_is(model: str, asked: dict[str, object]) -> None:
    session = _session(model)
    plan = session.plan(Request(**asked))
    graph = plan.structure.graph
    moved: dict[str, np.ndarray] = {}
    for content in plan.contents.values():
        for name, maps in zip(content.names, content.before, strict=True) if getattr(content, "before", ()) else ():
            array = graph.array(name)
            for axis, axis_map in enumerate(maps):
                array = apply_map(array, axis, axis_map)
            assert name not in moved or np.array_equal(moved[name], array)
            moved[name] = array
    assert any(not np.array_equal(array, graph.array(name)) for name, array in moved.items())
    source = onnx.ModelProto()
    source.CopyFrom(_source(model))
    assert _same(source, _with(source, moved), source) < 1e-5


def test_aligned_blocks_are_mixed_as_if_nobody_had_shuffled_them() -> None:
    values = {name: array.copy() for name, array in weights(plain()).items()}
    rng = np.random.default_rng(6)
    shuffled = dict(values)
    for number in (1, 2):
        order = rng.permutation(12)
        for part, axis in (("up.weight", 1), ("up.bias", 0), ("down.weight", 0)):
            own = values[f"layers.0.{part}"] + 0.1 * values[f"layers.{number}.{part}"]
            values[f"layers.{number}.{part}"] = own
            shuffled[f"layers.{number}.{part}"] = np.take(own, order, axis)
    wanted = weights(front_onnx.resize(_with(plain(), values), depth=2, validate=False).model)
    found = weights(front_onnx.resize(_with(plain(), shuffled), depth=2, align=True, validate=False).model)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6)


def test_the_nearest_unit_comes_next() -> None:
    points = np.array([[0.0], [9.0], [1.0], [8.0], [3.0]])
    assert nearest(points @ points.T).tolist() == [1, 3, 4, 2, 0]


# -- from outside -----------------------------------------------------------------------------------------------------


def _example(language: str) -> str:
    """The one block of code in that language in docs/methods.md."""
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text()
    (block,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return block


def test_the_documented_method_of_another_package(tmp_path: Path) -> None:
    (target,) = tomllib.loads(_example("toml"))["project"]["entry-points"]["front_onnx.methods"].values()
    info = tmp_path / "my_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[front_onnx.methods]\nreverse = {target}\n")
    (tmp_path / f"{target.partition(':')[0]}.py").write_text(_example("python"))
    onnx.save(plain(), tmp_path / "model.onnx")
    command = [sys.executable, "-m", "front_onnx", "resize", "model.onnx", "--width", "3", "--no-validate"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1"}
    run = [*command, "--method", "reverse", "-o", "out.onnx"]
    said = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    made = weights(onnx.load(tmp_path / "out.onnx"))
    np.testing.assert_array_equal(made["embed.bias"], weights(plain())["embed.bias"][[5, 4, 3]])


def test_the_page_has_every_method_and_variant() -> None:
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text()
    for name, method in methods().items():
        assert f"`{name}`" in page and f"**{name}**" in page
        assert all(f"{variant}`" in page for variant in method.variants)


@pytest.mark.parametrize("method", ["front", "dft"])
def test_bands_part_a_weight(method: str) -> None:
    """The low, the middle and the high third of a weight have nothing in common."""
    source = weights(plain(width=12))
    parts = [
        weights(front_onnx.resize(plain(width=12), method=method, ratio=1 / 3, band=band, validate=False).model)
        for band in ("low", "mid", "high")
    ]
    names = [n for n, array in source.items() if array.ndim == 2 and n.startswith("layers")]
    row = np.stack([np.concatenate([part[name].reshape(-1) for name in names]) for part in parts])
    assert all(np.linalg.norm(part) > 0 for part in row)
    products = row @ row.T
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-4 * products.max()
