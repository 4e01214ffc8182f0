"""The command line: what it writes, what it prints, how it ends."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from small import DIGIT_INPUTS, DIGITS, mlp, run, weights
from tiers import few

from front_onnx import api, session
from front_onnx.check import validate
from front_onnx.commands import main
from front_onnx.errors import FrontError
from front_onnx.methods.scale import SCALES
from front_onnx.store import atomic

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the shipped model and a small one without blocks."""
    shutil.copy(DIGITS, tmp_path / "digits.onnx")
    onnx.save(mlp(repeat=False), str(tmp_path / "plain.onnx"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def front(line: str) -> Result:
    return CliRunner().invoke(main, line.split(), prog_name="front-onnx")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(folder: Path, line: str, code: int = 2) -> str:
    """Run a command that has to fail: one line on stderr, nothing else anywhere. Returns the line."""
    before = contents(folder)
    result = front(line)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr and "this is a bug" not in result.stderr
    assert contents(folder) == before
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]
    return result.stderr


# --- what works ------------------------------------------------------------------------------------------


def test_default_output_lies_beside_the_input(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "digits.onnx").rename(folder / "deep" / "digits.onnx")
    result = front("resize deep/digits.onnx --depth 3 --width 24")
    assert result.exit_code == 0 and result.stderr == ""
    assert sorted(p.name for p in (folder / "deep").iterdir()) == ["digits-d3-w24.onnx", "digits.onnx"]
    out = run(folder / "deep" / "digits-d3-w24.onnx", {"image": np.load(DIGIT_INPUTS)["image"]})
    assert out[0].shape == (40, 10) and np.isfinite(out[0]).all()


OPTIONS = [
    "--width-mult 1",
    "--depth 5",
    "--set ffn=100",
    "--width-mult 1/2",
    "--heads 2",
    "--head-dim 6",
    "--ratio 0.5",
]


@pytest.mark.parametrize("options", few([*OPTIONS, "--depth 5 --scale ortho"], 3, mark="slow"))
def test_default_output_never_is_the_input(folder: Path, options: str) -> None:
    before = contents(folder)
    assert front(f"resize digits.onnx {options}").exit_code == 0
    after = contents(folder)
    new = after.keys() - before.keys()
    assert len(new) == 1 and new.pop().startswith("digits-")
    assert {name: after[name] for name in before} == before


def test_output_option_and_overwriting_another_file(folder: Path) -> None:
    (folder / "small.onnx").write_text("old")
    result = front("resize digits.onnx --depth 2 -o small.onnx")
    assert result.exit_code == 0
    assert "wrote small.onnx" in result.stdout
    assert sum("attn.proj.weight" in name for name in weights(onnx.load(str(folder / "small.onnx")))) == 2
    assert {p.name for p in folder.iterdir()} == {"digits.onnx", "plain.onnx", "small.onnx"}


def test_dry_run_prints_the_plan_and_writes_nothing(folder: Path) -> None:
    before = contents(folder)
    result = front("resize digits.onnx --depth 3 --width 24 -o other.onnx --dry-run")
    assert result.exit_code == 0
    assert contents(folder) == before
    assert "nothing was written" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["depth", "6", "3"] in rows and ["hidden", "48", "24"] in rows and ["heads", "4", "2"] in rows


def test_dry_run_refuses_what_a_run_refuses(folder: Path) -> None:
    refused(folder, "resize digits.onnx --width 25 --dry-run")


def test_rounding_shows_in_the_table(folder: Path) -> None:
    result = front("resize digits.onnx --width-mult 0.7 --round-to 8 --dry-run")
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "hidden 48 24 rounded from 33.6" in rows and "heads 4 2" in rows and "head_dim 12 12" in rows
    about = json.loads(front("resize digits.onnx --width 60 --round-to 5 --freeze ffn --json").stdout)
    assert about["rounded"] == {} and about["dims"] == {"hidden": [48, 60], "heads": [4, 5]}
    assert Path("digits-w60.onnx").exists()


def test_table_for_people(folder: Path) -> None:
    result = front("resize digits.onnx --depth 3 --width 24")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["depth", "6", "3"] in rows
    assert ["hidden", "48", "24"] in rows
    assert ["head_dim", "12", "12"] in rows
    assert any(row[:2] == ["parameters", "171.3"] for row in rows)
    assert any(row[:2] == ["file", "size"] for row in rows)
    for word in ("weights resized", "copied", "checker", "onnxruntime", "all finite", " s\n"):
        assert word in result.stdout


def test_json_of_resize(folder: Path) -> None:
    result = front("resize digits.onnx --depth 3 --width 24 --json")
    assert result.exit_code == 0 and result.stderr == ""
    about = json.loads(result.stdout)
    source, output = onnx.load("digits.onnx"), onnx.load("digits-d3-w24.onnx")
    assert about["source"] == "digits.onnx" and about["output"] == "digits-d3-w24.onnx"
    assert about["depth"] == {"blocks": [6, 3]}
    assert about["dims"] == {"hidden": [48, 24], "heads": [4, 2], "ffn": [192, 96]}
    assert about["kept"]["head_dim"] == 12
    floats = [sum(a.size for a in weights(m).values() if a.dtype.kind == "f" and a.size > 1) for m in (source, output)]
    assert about["parameters"] == floats
    assert about["bytes"] == [os.path.getsize("digits.onnx"), os.path.getsize("digits-d3-w24.onnx")]
    assert about["nodes"] == [len(source.graph.node), len(output.graph.node)]
    assert about["weights_resized"] > 10 and about["weights_copied"] >= 1
    assert about["seconds"] > 0
    assert about["scale"] == "auto" and about["ratio"] == 1
    assert about["validation"]["passed"] is True
    names = [check["name"] for check in about["validation"]["checks"]]
    assert names == ["checker", "shape inference", "onnxruntime", "run", "finite outputs"]


def test_json_of_a_dry_run(folder: Path) -> None:
    result = front("resize digits.onnx --depth 9 --dry-run --json")
    about = json.loads(result.stdout)
    assert about["output"] is None and about["validation"] is None
    assert about["depth"] == {"blocks": [6, 9]}
    assert about["parameters"][1] > about["parameters"][0] == 171322
    assert contents(folder).keys() == {"digits.onnx", "plain.onnx"}


def test_no_validate_leaves_the_checks_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "validate_model", lambda *a, **k: pytest.fail("validated"))
    result = front("resize digits.onnx --depth 3 --no-validate --json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["validation"] is None
    assert Path("digits-d3.onnx").exists()


def test_seed_changes_the_checks_and_not_the_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    original = validate.validate_model
    monkeypatch.setattr(validate, "validate_model", lambda *a, **k: seeds.append(k["seed"]) or original(*a, **k))
    for seed in (1, 2):
        assert front(f"resize digits.onnx --depth 3 -o {seed}.onnx --seed {seed}").exit_code == 0
    assert seeds == [1, 2]
    assert Path("1.onnx").read_bytes() == Path("2.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("scale", few(SCALES, ["auto", "fan-in"]))
def test_every_scale_writes_another_model(folder: Path, scale: str) -> None:
    about = json.loads(front(f"resize digits.onnx --width 24 --scale {scale} -o scaled.onnx --json").stdout)
    assert about["scale"] == scale
    mine = weights(onnx.load("scaled.onnx"))[_ffn(onnx.load("scaled.onnx"))]
    front("resize digits.onnx --width 24 --scale ortho -o ortho.onnx")
    ortho = weights(onnx.load("ortho.onnx"))[_ffn(onnx.load("ortho.onnx"))]
    # halving both axes of a matrix: each convention multiplies the orthonormal result by a known factor
    factor = {"ortho": 1, "auto": np.sqrt(2), "amp": 0.5, "variance": 1, "fan-in": np.sqrt(2)}[scale]
    np.testing.assert_allclose(mine, ortho * factor, rtol=1e-5, atol=1e-6)


def _ffn(model: onnx.ModelProto) -> str:
    """The first weight of the feed-forward part, by its shape."""
    return next(name for name, array in weights(model).items() if sorted(array.shape) == [24, 96])


def test_help_of_every_command() -> None:
    for line, words in (
        ("--help", ["inspect", "resize", "validate"]),
        ("resize --help", ["--depth", "--width", "--width-mult", "--heads", "--head-dim", "--set", "--dry-run"]),
        ("resize -h", ["--ratio", "--scale", "--seed", "--no-validate", "--json", "-o"]),
        ("inspect --help", ["--json"]),
        ("validate --help", ["--like", "--inputs", "--json"]),
    ):
        result = front(line)
        assert result.exit_code == 0
        assert not [word for word in words if word not in result.stdout]


def test_bare_command_shows_help() -> None:
    result = front("")
    assert "Commands:" in result.output and "Error" not in result.output


# --- inspect ---------------------------------------------------------------------------------------------


def test_inspect_for_people(folder: Path) -> None:
    result = front("inspect digits.onnx")
    assert result.exit_code == 0 and result.stderr == ""
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(row.startswith("blocks 6 48 28.3 k") for row in rows)
    assert "blocks: 6 blocks alike, blocks.0 to blocks.5, by structure and names" in rows
    assert "hidden 48 is the width" in rows
    assert "heads 4 4 x head_dim 12 follows the width" in rows
    assert "ffn 192 4 x hidden follows the width" in rows
    assert any(row.startswith("classes 10 fixed: an output") for row in rows)


def test_inspect_json(folder: Path) -> None:
    about = json.loads(front("inspect digits.onnx --json").stdout)
    assert about["parameters"] == 171322 and about["bytes"] == os.path.getsize("digits.onnx")
    (chain,) = about["chains"]
    assert (chain["name"], chain["depth"], chain["units"], chain["width"]) == ("blocks", 6, 6, 48)
    beside = {"first": 0, "last": 0}
    assert chain["found"] == {"by": "structure and names", "first": "blocks.0", "last": "blocks.5", "beside": beside}
    dims = {dim["name"]: dim for dim in about["dims"]}
    assert {name: dim["size"] for name, dim in dims.items()}.items() >= {
        "hidden": 48,
        "heads": 4,
        "head_dim": 12,
        "ffn": 192,
        "classes": 10,
    }.items()
    assert dims["ffn"]["relation"] == "4 x hidden" and dims["ffn"]["follows_width"]
    assert dims["hidden"]["follows_width"] and not dims["classes"]["follows_width"]
    assert dims["classes"]["resizable"] and dims["classes"]["reason"]


def test_inspect_names_the_node_that_freezes_a_dim(folder: Path) -> None:
    onnx.save(mlp(odd="Mystery"), "odd.onnx")
    about = json.loads(front("inspect odd.onnx --json").stdout)
    hidden = next(dim for dim in about["dims"] if dim["size"] == 6)
    assert not hidden["resizable"] and "/middle/odd_one" in hidden["reason"]
    assert "/middle/odd_one" in front("inspect odd.onnx").stdout


def test_inspect_a_block_by_hand(folder: Path) -> None:
    about = json.loads(
        front("inspect digits.onnx --block /blocks.0/norm1/LayerNormalization../blocks.1/Add_1 --json").stdout
    )
    assert [(chain["depth"], chain["units"]) for chain in about["chains"]] == [(3, 3)]


def test_inspect_a_width_by_hand(folder: Path) -> None:
    dims = json.loads(front("inspect plain.onnx --residual embed.out --json").stdout)["dims"]
    assert [(d["name"], d["size"], d["relation"]) for d in dims if d["kind"] == "residual"] == [("hidden", 6, None)]
    assert [d["relation"] for d in dims if d["kind"] == "inner"] == ["7/6 x hidden", "3/2 x hidden", "2 x hidden"]


def test_inspect_without_blocks(folder: Path) -> None:
    result = front("inspect plain.onnx")
    assert result.exit_code == 0 and "No repeated block" in result.stdout
    assert json.loads(front("inspect plain.onnx --json").stdout)["chains"] == []


# --- validate --------------------------------------------------------------------------------------------


def test_validate(folder: Path) -> None:
    result = front("validate digits.onnx")
    assert result.exit_code == 0
    assert result.stdout.count("ok ") == 5 and "logits [2, 10]" in result.stdout


def test_validate_like_lists_differences_and_passes(folder: Path) -> None:
    front("resize digits.onnx --set classes=7 -o seven.onnx")
    result = front("validate seven.onnx --like digits.onnx")
    assert result.exit_code == 0
    assert "output logits: float [batch, 7], was float [batch, 10]" in result.stdout
    front("resize digits.onnx --depth 3 -o three.onnx")
    assert json.loads(front("validate three.onnx --like digits.onnx --json").stdout)["differences"] == []


def test_validate_on_real_inputs(folder: Path) -> None:
    result = front(f"validate digits.onnx --inputs {DIGIT_INPUTS}")
    assert result.exit_code == 0 and "logits [40, 10]" in result.stdout


def test_validate_fails_with_code_one(folder: Path) -> None:
    model = mlp()
    weight = model.graph.initializer[0]
    array = weights(model)[weight.name].copy()
    array[0, 0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(model, "nan.onnx")
    result = front("validate nan.onnx --json")
    assert result.exit_code == 1
    about = json.loads(result.stdout)
    assert not about["passed"] and about["checks"][-1]["name"] == "finite outputs"
    assert "FAIL" in front("validate nan.onnx").stdout


def test_validate_notices_a_broken_graph(folder: Path) -> None:
    model = mlp()
    model.graph.node[3].input[0] = "nowhere"
    onnx.save(model, "broken.onnx")
    result = front("validate broken.onnx")
    assert result.exit_code == 1 and "FAIL checker" in result.stdout


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, ["picture", "image"]),
        ({"image": np.zeros((1, 1, 8, 9), np.float32)}, ["image", "[1, 1, 8, 9]"]),
        ({"image": np.zeros((8, 8), np.float32)}, ["image", "[8, 8]"]),
        ({"image": np.zeros((1, 1, 8, 8), np.float64)}, ["image", "float64", "float32"]),
    ],
)
def test_validate_refuses_inputs_that_do_not_fit(folder: Path, arrays: dict, words: list[str]) -> None:
    np.savez("given.npz", **arrays)
    line = refused(folder, "validate digits.onnx --inputs given.npz")
    assert not [word for word in words if word not in line]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 damaged", None])
def test_validate_refuses_what_is_no_npz(folder: Path, content: bytes | None) -> None:
    if content is not None:
        (folder / "given.npz").write_bytes(content)
    assert "given.npz" in refused(folder, "validate digits.onnx --inputs given.npz")


def test_validate_refuses_a_single_array(folder: Path) -> None:
    np.save("given.npy", np.zeros(3))
    assert "given.npy" in refused(folder, "validate digits.onnx --inputs given.npy")


def test_validate_refuses_pickles(folder: Path) -> None:
    np.savez("given.npz", image=np.array([{}], dtype=object))
    assert "given.npz" in refused(folder, "validate digits.onnx --inputs given.npz")


# --- wrong requests: exit code 2 -------------------------------------------------------------------------


# Half of them run quickly: most options have several ways to be wrong.
WRONG = [
    ("--width 25", ["got 2.083", "24 or 36"]),  # heads of 12
    ("--width 1", ["heads", "12"]),
    ("--width 0", ["width", "positive"]),
    ("--width -48", ["--width", "-48"]),
    ("--width 2.5", ["--width", "2.5"]),
    ("--width wide", ["--width", "wide"]),
    ("--width ,", ["--width"]),
    ("--width 24,24", ["--width", "24,24"]),
    ("--width 24 --width-mult 0.5", ["--width", "--width-mult"]),
    ("--width-mult 0.3 --exact", ["1/4"]),
    ("", ["no size is asked for", "blocks has 6", "48"]),
    ("--depth-mult 0", ["--depth-mult", "positive"]),
    ("--depth-mult 0.4 --exact", ["blocks", "2.4"]),
    ("--params many", ["--params", "60M"]),
    ("--size 3m --params 3m", ["--size", "--params"]),
    ("--width-mult 0", ["--width-mult", "positive"]),
    ("--width-mult -1", ["--width-mult", "positive"]),
    ("--width-mult nan", ["--width-mult", "nan"]),
    ("--width-mult inf", ["--width-mult", "inf"]),
    ("--width-mult 1/0", ["--width-mult", "1/0"]),
    ("--width-mult half", ["--width-mult", "half"]),
    ("--depth 0", ["blocks", "got 0", "wanted at least 1"]),
    ("--depth -2", ["--depth", "-2"]),
    ("--depth 2.0", ["--depth", "2.0"]),
    ("--depth deep", ["--depth", "deep"]),
    ("--depth 3,3", ["--depth", "3,3", "blocks"]),
    ("--depth ,", ["--depth"]),
    ("--depth decoder=2", ["decoder", "blocks"]),
    ("--depth blocks=two", ["--depth", "two"]),
    ("--heads 0", ["--heads"]),
    ("--heads 5", ["head_dim", "9.6"]),
    ("--heads many", ["--heads", "many"]),
    ("--head-dim 7", ["heads"]),
    ("--head-dim 0", ["--head-dim"]),
    ("--set width=3", ["width", "hidden", "heads", "classes"]),
    ("--set classes", ["DIM=SIZE", "classes"]),
    ("--set classes=", ["DIM=SIZE"]),
    ("--set classes=-1", ["DIM=SIZE"]),
    ("--set classes=1.5", ["DIM=SIZE"]),
    ("--set classes=²", ["DIM=SIZE"]),
    ("--set =3", ["DIM=SIZE"]),
    ("--set classes=0", ["classes", "positive"]),
    ("--set classes=3 --set classes=4", ["classes", "3 and 4"]),
    ("--depth 3 --freeze width", ["--freeze", "width", "hidden", "heads"]),
    ("--width 24 --freeze hidden", ["hidden", "got 48", "wanted 24"]),
    (
        "--width 24 --freeze heads",
        ["/blocks.0/attn/Reshape_1", "got 24", "wanted 48"],
    ),  # heads x head_dim is the width
    ("--freeze ffn --set ffn=96", ["ffn", "got 96", "wanted 192"]),
    ("--round-to 0", ["--round-to", "0"]),
    ("--round-to x", ["--round-to", "x"]),
    ("--width 24 --residual nowhere", ["--residual", "nowhere"]),
    ("--width 24 --residual /blocks.0/Add_outptu_0", ["perhaps", "/blocks.0/Add_output_0"]),
    ("--width 24 --residual /blocks.0/Add_output_0:3", ["no axis 3", "0 to 2"]),
    ("--width 24 --residual /blocks.0/Add_output_0:x", ["no axis x"]),
    ("--width 24 --residual logits", ["logits", "0 (known at run time only), 1 (10)"]),
    ("--width 24 --residual image:0", ["image", "no width", "known at run time only"]),
    ("--width 24 --residual /blocks.0/mlp/fc1/Add_output_0", ["no chain", "/blocks.5/Add_1_output_0 of blocks"]),
    ("--block nowhere..else", ["--block", "nowhere"]),
    ("--block /blocks.0/Add_1", ["--block", "NODE..NODE"]),
    ("--block /blocks.1/Add../blocks.0/Add", ["--block", "before"]),
    ("--ratio 0", ["ratio"]),
    ("--ratio 1.5", ["ratio", "1.5"]),
    ("--ratio nan", ["ratio"]),
    ("--ratio much", ["--ratio", "much"]),
    ("--scale loud", ["--scale", "loud", "ortho"]),
    ("--seed -1", ["--seed"]),
    ("--seed x", ["--seed", "x"]),
    ("--depht 3", ["--depht"]),
    ("--depth 3 -o .", ["folder"]),
    ("--depth 3 -o digits.onnx", ["output is the input"]),
    ("--depth 3 -o ./../{folder}/digits.onnx", ["output is the input"]),
    ("--depth 3 -o missing/out.onnx", ["missing"]),
    ("--depth 3 -o plain.onnx/out.onnx", ["plain.onnx"]),
]


@pytest.mark.parametrize(("options", "words"), few(WRONG, WRONG[::2], mark="slow"))
def test_wrong_requests(folder: Path, options: str, words: list[str]) -> None:
    line = refused(folder, f"resize digits.onnx {options.format(folder=folder.name)}")
    assert not [word for word in words if word not in line], line


def test_the_three_of_a_fused_qkv_are_no_dim(folder: Path) -> None:
    assert "hidden, heads, head_dim, ffn, classes" in refused(folder, "resize digits.onnx --set qkv=2")


def test_models_without_repeated_blocks(folder: Path) -> None:
    assert "no repeated block" in refused(folder, "resize plain.onnx --depth 2")
    assert "--width-mult" in refused(folder, "resize plain.onnx --width 3")
    assert front("resize plain.onnx --width-mult 2").exit_code == 0


@pytest.mark.parametrize("option", ["--heads", "--head-dim"])
def test_heads_of_a_model_without_any(folder: Path, option: str) -> None:
    assert "no attention heads" in refused(folder, f"resize plain.onnx {option} 3")


@pytest.mark.parametrize(
    "options",
    [
        "--width 12",
        "--width-mult 2",
        "--set {hidden}=12",
    ],
)
def test_a_frozen_dim_names_the_node_in_the_way(folder: Path, options: str) -> None:
    onnx.save(mlp(odd="Mystery"), "odd.onnx")
    about = json.loads(front("inspect odd.onnx --json").stdout)
    hidden = next(dim["name"] for dim in about["dims"] if dim["size"] == 6)
    line = refused(folder, f"resize odd.onnx {options.format(hidden=hidden)}")
    assert "/middle/odd_one" in line and hidden in line


def test_depth_works_beside_a_frozen_width(folder: Path) -> None:
    """Whatever the unknown operator does, it does it to the same tensor; only the checks cannot run it."""
    onnx.save(mlp(odd="Mystery"), "odd.onnx")
    assert front("resize odd.onnx --depth 5 --no-validate").exit_code == 0
    names = weights(onnx.load("odd-d5.onnx"))
    assert [f"layers.{i}.weight" in names for i in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(
    "command", ["inspect {}", "resize {} --depth 2", "validate {}", "validate digits.onnx --like {}"]
)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.onnx", None),
        ("empty.onnx", b""),
        ("text.onnx", b"this is a text and no model\n"),
        ("zeros.onnx", bytes(4096)),
        ("truncated.onnx", "half"),
        ("folder.onnx", "folder"),
    ],
)
def test_unreadable_models(folder: Path, command: str, name: str, content: bytes | str | None) -> None:
    if content == "half":
        (folder / name).write_bytes(DIGITS.read_bytes()[:100_000])
    elif content == "folder":
        (folder / name).mkdir()
    elif isinstance(content, bytes):
        (folder / name).write_bytes(content)
    assert name in refused(folder, command.format(name))


def test_missing_arguments_and_commands(folder: Path) -> None:
    assert "MODEL" in refused(folder, "resize")
    assert "MODEL" in refused(folder, "inspect")
    assert "grow" in refused(folder, "grow digits.onnx")


# --- failures: exit code 1 -------------------------------------------------------------------------------


@pytest.fixture
def external(folder: Path) -> Path:
    onnx.save(
        onnx.load("digits.onnx"), "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0
    )
    return folder / "apart.onnx"


def test_external_data_stays_external(folder: Path, external: Path) -> None:
    assert front("resize apart.onnx --depth 3 --width 24 -o out.onnx").exit_code == 0
    front("resize digits.onnx --depth 3 --width 24 -o inline.onnx")
    assert {p.name for p in folder.iterdir()} >= {"out.onnx", "out.onnx.data"}
    assert os.path.getsize("out.onnx") < 0.9 * os.path.getsize("inline.onnx")
    mine, wanted = weights(onnx.load("out.onnx")), weights(onnx.load("inline.onnx"))
    assert mine.keys() == wanted.keys() and all(np.array_equal(mine[k], wanted[k]) for k in wanted)
    images = {"image": np.load(DIGIT_INPUTS)["image"]}
    assert np.array_equal(run(folder / "out.onnx", images)[0], run(folder / "inline.onnx", images)[0])


@pytest.mark.parametrize(
    "command", ["resize apart.onnx --depth 3", "resize apart.onnx --width 24", "validate apart.onnx"]
)
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_missing_external_data(folder: Path, external: Path, command: str, damage: str) -> None:
    data = folder / "apart.bin"
    if damage == "missing":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:1000])
    assert "apart.bin" in refused(folder, command, code=1)


def test_an_output_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic.tempfile, "TemporaryDirectory", deny)
    assert "Permission denied" in refused(folder, "resize digits.onnx --depth 3", code=1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    refused(folder, "resize digits.onnx --depth 3 -o locked/out.onnx", code=1)


@pytest.mark.slow  # it fills what it may
@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk(folder: Path) -> None:
    """A real failure in the middle of writing: files may not grow over 100 kB."""
    before = contents(folder)
    line = f"ulimit -f 100; exec {sys.executable} {ROOT / 'cli.py'} resize digits.onnx --depth 5"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert "File too large" in done.stderr and "bug" not in done.stderr
    assert contents(folder) == before and len(list(folder.iterdir())) == 2


def test_a_result_larger_than_the_disk(folder: Path) -> None:
    line = refused(folder, "resize digits.onnx --width 1200000000", code=1)
    assert "bytes" in line and "free" in line


def test_moving_into_place_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(source: object, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic.os, "replace", deny)
    assert "Permission denied" in refused(folder, "resize digits.onnx --depth 3", code=1)


def test_a_result_that_fails_its_checks_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = api.fill

    def spoil(graph: object, pending: object, put: object, tell: object) -> None:
        def nan(name: str, array: np.ndarray) -> None:
            put(name, np.full_like(array, np.nan))

        original(graph, pending, nan, tell)

    monkeypatch.setattr(api, "fill", spoil)
    assert "finite" in refused(folder, "resize digits.onnx --depth 3", code=1)
    assert front("resize digits.onnx --depth 3 --no-validate").exit_code == 0


def test_an_existing_output_survives_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "out.onnx").write_text("precious")

    def fail(*args: object) -> None:
        raise FrontError("no luck")

    monkeypatch.setattr(api, "fill", fail)
    refused(folder, "resize digits.onnx --depth 3 -o out.onnx", code=1)
    assert (folder / "out.onnx").read_text() == "precious"


def test_bugs_are_told_in_one_line_unless_debugging(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*args: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(session, "make_plan", crash)
    result = front("resize digits.onnx --depth 3")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: RuntimeError: two lines") and result.stderr.count("\n") == 1
    monkeypatch.setenv("FRONT_ONNX_DEBUG", "1")
    assert isinstance(front("resize digits.onnx --depth 3").exception, RuntimeError)


def test_interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "fill", interrupt)
    before = contents(folder)
    result = front("resize digits.onnx --depth 3")
    assert result.exit_code == 130 and result.stderr.strip() == "Error: interrupted"
    assert contents(folder) == before


# --- from a shell ----------------------------------------------------------------------------------------


def shell(*args: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "cli.py"), *args], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow  # a process
def test_launcher_from_a_clone(folder: Path) -> None:
    done = shell("resize", "digits.onnx", "--depth", "3", cwd=folder)
    assert done.returncode == 0 and done.stderr == ""
    assert (folder / "digits-d3.onnx").exists()


@pytest.mark.slow  # a process
def test_launcher_fails_without_a_traceback(folder: Path) -> None:
    done = shell("resize", "digits.onnx", "--depth", "none", cwd=folder)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "Error: --depth takes whole numbers (got none)\n"


def test_output_into_a_closed_pipe(folder: Path) -> None:
    line = f"{sys.executable} {ROOT / 'cli.py'} inspect digits.onnx --json | head -c 1"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_dry_run_says_what_would_be_calibrated() -> None:
    done = CliRunner().invoke(main, ["resize", str(DIGITS), "--depth", "3", "--method", "best", "--dry-run"])
    assert done.exit_code == 0 and "to be calibrated when it is written" in " ".join(done.output.split())
    done = CliRunner().invoke(main, ["resize", str(DIGITS), "--depth", "8", "--method", "best", "--dry-run"])
    assert done.exit_code == 0 and "method lossless" in " ".join(done.output.split())
