"""Learngenes: what is cut out, what a file of one holds, and models of any size made of it alone."""

import functools
import json
import math
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import scipy.fft
from click.testing import CliRunner
from golden import about, golden_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from small import DIGITS, mlp, unsigned, weights
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES
from zoo.export import export, minilm

import front_onnx
from front_onnx.check.validate import Check, Validation
from front_onnx.commands import main
from front_onnx.errors import FrontError
from front_onnx.gene.basis import Band, Segments, Whole, analyse, as_data, from_data, synthesise
from front_onnx.gene.file import read_gene

REQUESTS = [{"depth": 3}, {"width": 24}, {"depth": 8, "width": 72}, {}]


def _gene(folder: Path, model: object = DIGITS, **options: object) -> Path:
    return front_onnx.extract(model, output=folder / "gene.safetensors", **options).output


def _half(folder: Path) -> Path:
    """Half the frequencies of the digits, in a file of one's own."""
    path = folder / "gene.safetensors"
    path.write_bytes(_half_of_the_digits())
    return path


@functools.cache
def _half_of_the_digits() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _gene(Path(folder), ratio=0.5).read_bytes()


@pytest.mark.parametrize("request_", few(REQUESTS, 2, mark="slow"), ids=str)
def test_all_frequencies_make_what_resize_makes_byte_for_byte(tmp_path: Path, request_: dict) -> None:
    made = front_onnx.init(_gene(tmp_path, ratio=1.0), output=tmp_path / "made.onnx", **request_)
    front_onnx.resize(DIGITS, output=tmp_path / "resized.onnx", **request_)
    assert made.validation is not None and made.validation.passed
    assert unsigned(tmp_path / "made.onnx") == unsigned(tmp_path / "resized.onnx")


@pytest.mark.parametrize("ratio", few([0.5, 0.3, 0.8], 1))
@pytest.mark.parametrize("request_", few(REQUESTS, [{"depth": 3}], mark="slow"), ids=str)
def test_fewer_frequencies_make_what_resize_makes_of_them(tmp_path: Path, ratio: float, request_: dict) -> None:
    front_onnx.init(_gene(tmp_path, ratio=ratio), output=tmp_path / "made.onnx", **request_)
    front_onnx.resize(DIGITS, output=tmp_path / "resized.onnx", ratio=ratio, **request_)
    made, resized = (weights(onnx.load(tmp_path / name)) for name in ("made.onnx", "resized.onnx"))
    assert made.keys() == resized.keys()
    for name, array in resized.items():
        assert np.abs(made[name] - array).max(initial=0) <= 2e-6 * np.abs(array).max(initial=0)


CORNERS = [(ratio, band) for ratio in (0.33, 0.5, 0.67, 0.83) for band in ("low", "mid", "high")]


@pytest.mark.parametrize(("ratio", "band"), few(CORNERS, CORNERS[::4]))
def test_coefficients_are_the_corner_of_the_transform(tmp_path: Path, band: str, ratio: float) -> None:
    """Eq. 3 and 4 for a stack of matrices: D(W) on three axes, and the mask's arithmetic."""
    gene = read_gene(_gene(tmp_path, ratio=ratio, band=band))
    source = weights(onnx.load(DIGITS))
    stack = next(s for s in gene.stacks if s.members[0].name == "blocks.0.mlp.fc1.weight")
    assert [m.name for m in stack.members] == [f"blocks.{i}.mlp.fc1.weight" for i in range(6)]
    spectrum = scipy.fft.dctn(np.stack([source[m.name] for m in stack.members]).astype(np.float64), norm="ortho")
    kept = tuple(math.floor(ratio * n + 1e-9) for n in spectrum.shape)
    first = [{"low": 0, "mid": (n - k) // 2, "high": n - k}[band] for n, k in zip(spectrum.shape, kept, strict=True)]
    corner = spectrum[tuple(slice(f, f + k) for f, k in zip(first, kept, strict=True))]
    found = gene.arrays[stack.key]
    assert found.shape == kept == stack.kept
    assert np.abs(found - corner).max() < 1e-5 * np.abs(spectrum).max()
    assert stack.energy == pytest.approx(np.square(corner).sum() / np.square(spectrum).sum(), abs=2e-6)


def test_parameters_are_what_the_mask_leaves(tmp_path: Path) -> None:
    """blocks 48 wide, 6 deep, 192 in the middle, at a half: every axis but pixels, positions and classes is halved."""
    gene = read_gene(_half(tmp_path))
    total = sum(a.size for a in weights(onnx.load(DIGITS)).values() if a.dtype == np.float32 and a.size > 1)
    width, block = 24, 24 * 72 + 72 + 24 * 24 + 24 + 24 * 96 + 96 + 96 * 24 + 24 + 4 * 24
    others = width * 4 + width + width + 17 * width + 2 * width + 10 * width + 10
    assert gene.parameters == (total, 3 * block + others)


def test_a_result_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learngene cannot be run to compare with, and is no damaged model because of that."""
    gene = front_onnx.extract(DIGITS, output=tmp_path / "gene.safetensors").output
    failed = Validation([Check("run", False, "made to fail")])
    monkeypatch.setattr("front_onnx.check.validate.validate_model", lambda model, **options: failed)
    with pytest.raises(FrontError, match="so nothing was written: run: made to fail"):
        front_onnx.init(gene, output=tmp_path / "out.onnx")


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    first = _gene(tmp_path, ratio=0.5).read_bytes()
    assert _gene(tmp_path, ratio=0.5).read_bytes() == first
    assert _gene(tmp_path, ratio=0.6).read_bytes() != first


@pytest.mark.slow
def test_a_model_in_memory_is_as_good_as_a_file(tmp_path: Path) -> None:
    front_onnx.init(_gene(tmp_path, onnx.load(DIGITS), ratio=1.0), depth=3, output=tmp_path / "made.onnx")
    front_onnx.resize(DIGITS, depth=3, output=tmp_path / "resized.onnx")
    assert unsigned(tmp_path / "made.onnx") == unsigned(tmp_path / "resized.onnx")


REAL = [(name, ratio) for name in ("gpt2", "resnet-bottleneck", "llama", "swin", "bert") for ratio in (1.0, 0.5)]


@pytest.mark.parametrize(
    ("name", "ratio", "exporter"),
    by_exporter(REAL, torchscript=[("gpt2", 1.0), ("llama", 0.5)], dynamo=[("swin", 1.0), ("resnet-bottleneck", 0.5)]),
)
def test_real_graphs(tmp_path: Path, zoo_cache: Path, name: str, exporter: str, ratio: float) -> None:
    """Tied embeddings, several chains, fused qkv, windows, convolutions and their statistics."""
    architecture = ARCHITECTURES[name]
    source = export(architecture, architecture.source, exporter=exporter, cache_dir=zoo_cache)
    _assert_as_resized(tmp_path, source, ratio, architecture.request(architecture.targets["shallower"]))


GOLDEN = [
    (f"torch-{name}", ratio)
    for name in ("mixer-torchscript", "bert-torchscript", "llama-dynamo", "gpt2-torchscript")
    for ratio in (0.5, 1.0)
]


@pytest.mark.parametrize(("pair", "ratio"), few(few(GOLDEN, 6), 3, mark="slow"))
def test_golden_graphs(tmp_path: Path, pair: str, ratio: float) -> None:
    _assert_as_resized(tmp_path, golden_file(pair, tmp_path), ratio, about(pair)["request"])


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_an_output_layer_that_is_its_table_turned(tmp_path: Path, ratio: float) -> None:
    """Embeddings whose transpose is stored as the output layer: one entry of the learngene, written both ways."""
    model = mlp(depth=3, width=24, inputs=40, classes=40)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    table = numpy_helper.to_array(tensors["embed.weight"])
    tensors["head.weight"].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(table.T), "head.weight"))
    lookup = next(node for node in model.graph.node if "embed.weight" in node.input)
    lookup.op_type = "Gather"
    lookup.input[:] = ["embed.weight", "x"]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 5]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 40]))
    onnx.save(model, tmp_path / "tied.onnx")
    _assert_as_resized(tmp_path, tmp_path / "tied.onnx", ratio, {"depth": 4, "width": 16})
    made = weights(onnx.load(tmp_path / "made.onnx"))
    assert np.array_equal(made["head.weight"], made["embed.weight"].T)


def _assert_as_resized(tmp_path: Path, source: Path, ratio: float, request: dict) -> None:
    gene = _gene(tmp_path, source, ratio=ratio)
    made = front_onnx.init(gene, output=tmp_path / "made.onnx", **request)
    front_onnx.resize(source, output=tmp_path / "resized.onnx", ratio=ratio, **request)
    assert made.validation is not None and made.validation.passed
    if ratio == 1:
        assert unsigned(tmp_path / "made.onnx") == unsigned(tmp_path / "resized.onnx")
    ours, theirs = (weights(onnx.load(tmp_path / n)) for n in ("made.onnx", "resized.onnx"))
    assert {n: a.shape for n, a in ours.items()} == {n: a.shape for n, a in theirs.items()}
    for tensor, array in theirs.items():
        if array.dtype.kind == "f":
            assert np.abs(ours[tensor] - array).max(initial=0) <= 1e-5 * max(np.abs(array).max(initial=0), 1e-3)


@pytest.mark.more(reason="real weights: test_native.py; learngenes of many sizes: of the digits")
def test_minilm_in_many_sizes_from_one_learngene(tmp_path: Path, zoo_cache: Path) -> None:
    """Trained weights: one learngene, depths 2 to 12 and widths 192 to 576."""
    source = minilm(cache_dir=zoo_cache)
    part, whole = (
        front_onnx.extract(source, ratio=ratio, output=tmp_path / f"{ratio}.safetensors").output for ratio in (0.5, 1)
    )
    for request in [*({"depth": d} for d in (2, 3, 4, 6, 9, 12)), *({"width": w} for w in (192, 384, 576))]:
        made = front_onnx.init(part, output=tmp_path / "made.onnx", **request)
        assert made.validation is not None and made.validation.passed, request
    for request in ({"depth": 3}, {"width": 192}, {"depth": 9, "width": 576}):
        front_onnx.init(whole, output=tmp_path / "made.onnx", validate=False, **request)
        front_onnx.resize(source, output=tmp_path / "resized.onnx", validate=False, **request)
        assert unsigned(tmp_path / "made.onnx") == unsigned(tmp_path / "resized.onnx")


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_types_are_stored_as_they_are(tmp_path: Path, kind: type) -> None:
    model = mlp(depth=4, width=40)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = model.graph.initializer[0].data_type
    gene = read_gene(_gene(tmp_path, model, ratio=0.5))
    assert gene.stacks and {gene.arrays[stack.key].dtype for stack in gene.stacks} == {np.dtype(kind)}
    for ratio in (0.5, 1.0):
        made = front_onnx.init(
            _gene(tmp_path, model, ratio=ratio), depth=2, output=tmp_path / "made.onnx", validate=False
        )
        resized = front_onnx.resize(model, depth=2, ratio=ratio, validate=False)
        ours, theirs = weights(onnx.load(made.output)), weights(resized.model)
        step = float(ml_dtypes.finfo(kind).eps)
        for name, array in theirs.items():
            allowed = 0 if ratio == 1 else 8 * step * np.abs(array.astype(float)).max()
            assert ours[name].dtype == array.dtype
            assert np.abs(ours[name].astype(float) - array.astype(float)).max() <= allowed


def test_a_type_of_eight_bits_is_kept_whole(tmp_path: Path) -> None:
    """Types that safetensors saves and cannot load travel as bytes."""
    model = mlp(depth=3, width=40)
    table = np.arange(2048, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).reshape(8, 256)
    model.graph.initializer.append(
        onnx.TensorProto(name="eight", data_type=TensorProto.FLOAT8E4M3FN, dims=table.shape, raw_data=table.tobytes())
    )
    made = front_onnx.init(_gene(tmp_path, model, ratio=0.5), output=tmp_path / "made.onnx", validate=False)
    kept = {t.name: t.raw_data for t in onnx.load(made.output).graph.initializer}
    assert kept["eight"] == table.tobytes()


@st.composite
def bases(draw: st.DrawFn, depth: int = 0):
    size = draw(st.integers(1, 9))
    kind = draw(st.sampled_from(("whole", "band", "segments") if depth < 2 else ("whole", "band")))
    if kind == "whole":
        return Whole(size)
    if kind == "segments":
        return Segments(tuple(draw(st.lists(bases(depth=depth + 1), min_size=1, max_size=3))))
    kept = draw(st.integers(1, size))
    return Band(size, draw(st.integers(0, size - kept)), kept)


@given(bases(), st.integers(0, 2), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_what_is_kept_comes_back(basis, axis: int, seed: int) -> None:
    """Rows are orthonormal: cutting what was made of coefficients gives them again, and a basis survives JSON."""
    shape = [2, 3, 2]
    shape[axis] = basis.kept
    kept = np.random.default_rng(seed).standard_normal(shape)
    made = synthesise(kept, axis, basis)
    assert made.shape[axis] == basis.size
    assert np.abs(analyse(made, axis, basis) - kept).max() < 1e-12
    assert np.square(made).sum() == pytest.approx(np.square(kept).sum())
    assert from_data(json.loads(json.dumps(as_data(basis)))) == basis


# -- files that nobody should trust ---------------------------------------------------------------------------------


def _change(path: Path, change) -> Path:
    """The same file with its tensors and its header changed by hand."""
    from safetensors import safe_open

    with safe_open(path, "np") as opened:
        about = json.loads(opened.metadata()["front_onnx"])
    arrays = load_file(path)
    change(arrays, about)
    save_file(arrays, path, metadata={"front_onnx": json.dumps(about)})
    return path


def _pop(arrays: dict, about: dict) -> None:
    arrays.pop("stack/head.weight")


def _extra(arrays: dict, about: dict) -> None:
    arrays["stack/other"] = np.zeros(3, np.float32)


def _shape(arrays: dict, about: dict) -> None:
    arrays["stack/head.weight"] = arrays["stack/head.weight"][:, :, :-1].copy()


def _type(arrays: dict, about: dict) -> None:
    arrays["stack/head.weight"] = arrays["stack/head.weight"].astype(np.float64)


def _template(arrays: dict, about: dict) -> None:
    arrays["template"] = np.frombuffer(mlp().SerializeToString(), np.uint8)


def _size(arrays: dict, about: dict) -> None:
    about["stacks"][0]["axes"][0] = 7


def _negative(arrays: dict, about: dict) -> None:
    about["stacks"][0]["depth"] = [6, -1, 3]


def _huge(arrays: dict, about: dict) -> None:
    about["stacks"][0]["depth"] = [1 << 39, 0, 3]


def _member(arrays: dict, about: dict) -> None:
    about["stacks"][0]["members"][0][1] = 60


def _lowest(arrays: dict, about: dict) -> None:
    about["stacks"][0]["lowest"] = "low"


def _version(arrays: dict, about: dict) -> None:
    about["format"] = "learngene 99"


def _ratio(arrays: dict, about: dict) -> None:
    about["ratio"] = -1


def _nothing(arrays: dict, about: dict) -> None:
    about.clear()


@pytest.mark.parametrize(
    "change",
    [_pop, _extra, _shape, _type, _template, _size, _negative, _huge, _member, _lowest, _version, _ratio, _nothing],
)
def test_a_file_that_was_changed_is_refused(tmp_path: Path, change) -> None:
    path = _change(_half(tmp_path), change)
    with pytest.raises(FrontError, match=r"damaged|no learngene|another version"):
        front_onnx.init(path, output=tmp_path / "made.onnx")
    assert not (tmp_path / "made.onnx").exists()


def test_a_template_that_reads_files_is_refused(tmp_path: Path) -> None:
    import hashlib

    def change(arrays: dict, about: dict) -> None:
        model = onnx.ModelProto.FromString(arrays["template"].tobytes())
        tensor = next(t for t in model.graph.initializer if t.name == "head.weight")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
        raw = model.SerializeToString(deterministic=True)
        arrays["template"], about["template"] = np.frombuffer(raw, np.uint8), hashlib.sha256(raw).hexdigest()

    with pytest.raises(FrontError, match="reads a file"):
        front_onnx.init(_change(_half(tmp_path), change))


@pytest.mark.parametrize("name", ["missing.safetensors", "empty.safetensors", "text.safetensors", "other.safetensors"])
def test_what_is_no_learngene_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("a learngene, honestly")
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(FrontError, match=r"no file|no learngene"):
        front_onnx.init(tmp_path / name, depth=2)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _gene(tmp_path_factory.mktemp("cut"), mlp(depth=4, width=40), ratio=0.5).read_bytes()


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_ends_in_a_traceback(cut: bytes, tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(cut)
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        header = 8 + int.from_bytes(raw[:8], "little")
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, min(header, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(raw)
    try:
        front_onnx.init(path, depth=2, output=tmp_path / "made.onnx", validate=False)
    except FrontError as error:
        assert len(str(error)) < 700


# -- the command line, and the audit --------------------------------------------------------------------------------


def _front(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="front-onnx", env={"COLUMNS": "160"})


def test_extract_inspect_init_from_the_command_line(tmp_path: Path) -> None:
    gene, made = tmp_path / "gene.safetensors", tmp_path / "small.onnx"
    told = _front("extract", DIGITS, "-o", gene, "--ratio", 0.5)
    assert told.exit_code == 0 and "22.5 k of 171.3 k parameters" in told.output
    shown = _front("inspect", gene)
    assert "0.02 M of 0.17 M parameters" in shown.output and "6 x 192 x 48" in shown.output
    about = json.loads(_front("inspect", gene, "--json").output)
    assert about["kept"] == 22522 and about["source"]["chains"][0]["depth"] == 6
    assert _front("init", gene, "--depth", 3, "--width", 24, "-o", made).exit_code == 0
    assert front_onnx.inspect(made).chains[0].depth == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("extract", DIGITS, "-o", "x.onnx"), "ends in .safetensors"),
        (("extract", DIGITS, "--ratio", 0), "ratio is out of range"),
        (("extract", DIGITS, "--ratio", 1.5), "ratio is out of range"),
        (("init", DIGITS), "no learngene"),
        (("inspect", DIGITS, "--spectrum", "--ratio", 1), "ratio below 1"),
        (("inspect", DIGITS, "--plot", "x.png"), "add --spectrum"),
    ],
)
def test_wrong_requests_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    told = _front(*words)
    assert told.exit_code in (1, 2) and message in told.stderr and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("words", [("resize", "--depth", 3), ("extract",), ("inspect", "--spectrum")])
def test_commands_for_models_say_what_a_learngene_is_for(tmp_path: Path, words: tuple) -> None:
    told = _front(words[0], _half(tmp_path), *words[1:])
    assert told.exit_code == 2 and "front-onnx init" in told.stderr


def _wavy(depth: int, width: int) -> onnx.ModelProto:
    """Layers whose weights are smooth along all axes."""
    model = mlp(depth=depth, width=width)
    places, rng = np.linspace(0, 1, width), np.random.default_rng(1)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("layers.") and tensor.name.endswith("weight"):
            phase = int(tensor.name.split(".")[1]) / depth
            array = np.outer(np.cos(3 * places + phase), np.sin(4 * places + phase))
            array = (array + 0.01 * rng.standard_normal(array.shape)).astype(np.float32)  # exact sines are no weights
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def test_the_audit_tells_structure_from_noise() -> None:
    smooth = {(s.name, a.axis): a for s in front_onnx.spectrum(_wavy(6, 40)) for a in s.axes}
    noise = {(s.name, a.axis): a for s in front_onnx.spectrum(mlp(6, 40)) for a in s.axes}
    assert smooth.keys() == noise.keys()
    for axis in ("depth", "0", "1"):
        key = ("layers.0.weight", axis)
        assert smooth[key].energy > 0.99 and smooth[key].noise == 0.5
        assert abs(noise[key].energy - 0.5) < 0.06 and abs(noise[key].permuted - 0.5) < 0.06


def test_the_audit_ends_in_a_sentence(tmp_path: Path) -> None:
    onnx.save(_wavy(6, 40), tmp_path / "smooth.onnx")
    onnx.save(mlp(6, 40), tmp_path / "noise.onnx")
    assert "There is low-frequency structure" in _front("inspect", tmp_path / "smooth.onnx", "--spectrum").output
    about = json.loads(_front("inspect", tmp_path / "noise.onnx", "--spectrum", "--json").output)
    assert about["verdict"].startswith("There is no low-frequency structure")
    assert {row["axis"] for row in about["axes"]} == {"depth", "0", "1"}


@pytest.mark.slow  # imports matplotlib
def test_the_audit_as_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "spectrum.png"
    assert _front("inspect", DIGITS, "--spectrum", "--plot", path).exit_code == 0
    assert path.read_bytes()[:4] == b"\x89PNG"
