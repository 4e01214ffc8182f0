"""Where a model comes from stands in its file: the same for the same request, nothing of the machine it was made on."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from small import DIGITS, mlp, unsigned, weights

import front_onnx
from front_onnx.commands import main
from front_onnx.provenance import PREFIX, provenance

FAST = front_onnx.CalibrationSettings(samples=96, ridges=(0.1,))


def made(**request: object) -> onnx.ModelProto:
    model = front_onnx.resize(onnx.load(DIGITS), validate=False, **request).model
    assert isinstance(model, onnx.ModelProto)
    return model


def test_what_was_asked_is_told() -> None:
    found = provenance(made(depth=3, width=24, method="select:norm", treat={"pos*": "weight"}))
    source = front_onnx.read_model(DIGITS)
    assert found == {
        "version": front_onnx.__version__,
        "source_fingerprint": source.fingerprint(),
        "request": {"depth": "3", "width": "24", "treat": {"pos*": "weight"}},
        "method": "select:norm",
    }
    drawn = provenance(made(depth=3, method="random", seed=4))
    assert drawn["request"] == {"depth": "3", "seed": 4}
    best = provenance(made(depth=3, method="best", calibration=FAST))
    assert best["method"] == "best" and best["samples"] == {"count": 96, "made_up": True}


def test_a_model_in_which_nothing_changes_says_nothing() -> None:
    source = onnx.load(DIGITS)
    same = made(depth=6, width=48)
    assert provenance(same) == {} and same.SerializeToString() == source.SerializeToString()
    assert provenance(made(depth=6, width=48, ratio=0.5))["request"] == {"depth": "6", "width": "48", "ratio": 0.5}


def test_the_same_request_the_same_bytes_wherever_it_is_made(tmp_path: Path) -> None:
    results = []
    for name in ("here", "elsewhere"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.onnx").write_bytes(DIGITS.read_bytes())
        front_onnx.resize(folder / f"{name}.onnx", depth=3, output=folder / "out.onnx", validate=False)
        results.append((folder / "out.onnx").read_bytes())
    assert results[0] == results[1] and b"elsewhere" not in results[1] and str(tmp_path).encode() not in results[1]
    by_text, by_list = made(depth="3", width_mult="1/2"), made(depth=[3], width_mult=0.5)
    assert by_text.SerializeToString() == by_list.SerializeToString()


def test_a_chain_of_models_remembers_all_of_it(tmp_path: Path) -> None:
    first = front_onnx.resize(DIGITS, depth=3, output=tmp_path / "a.onnx", validate=False).output
    assert first is not None
    model = onnx.load(first)
    model.metadata_props.add(key="licence", value="none")
    onnx.save(model, str(first))
    second = front_onnx.resize(first, width=24, method="fold", output=tmp_path / "b.onnx", validate=False).output
    found = onnx.load(second)
    assert provenance(found)["before"] == provenance(onnx.load(first))
    assert [entry.value for entry in found.metadata_props if entry.key == "licence"] == ["none"]
    keys = [entry.key for entry in found.metadata_props]
    assert len(keys) == len(set(keys))


def test_a_fingerprint_is_of_the_model_and_not_of_the_file(tmp_path: Path) -> None:
    model, wanted = onnx.load(DIGITS), front_onnx.read_model(DIGITS).fingerprint()
    beside = tmp_path / "external.onnx"
    onnx.save(onnx.load(DIGITS), str(beside), save_as_external_data=True, location="w.bin", size_threshold=0)
    for same in (model, beside):
        assert front_onnx.read_model(same).fingerprint() == wanted
    signed = onnx.ModelProto()
    signed.CopyFrom(model)
    signed.metadata_props.add(key="licence", value="none")
    assert front_onnx.read_model(signed).fingerprint() == wanted
    seen = {wanted}
    for change in range(4):
        other = onnx.load(DIGITS)
        tensor = max(other.graph.initializer, key=lambda t: len(t.raw_data))
        if change < 2:  # a bit at either end
            raw = bytearray(tensor.raw_data)
            raw[-1 if change else 0] ^= 1
            tensor.raw_data = bytes(raw)
        elif change == 2:
            other.graph.node[3].name += "x"
        else:
            other.opset_import[0].version = 18
        seen.add(front_onnx.read_model(other).fingerprint())
    assert len(seen) == 5


def test_what_goes_into_another_model_is_told(tmp_path: Path) -> None:
    small = made(depth=3, width=24, method="random")
    moved = front_onnx.init_into(DIGITS, small)
    assert moved.model is not None
    found = provenance(moved.model)
    assert found["request"]["into"] is True and found["method"] == "front"
    assert found["source_fingerprint"] == front_onnx.read_model(DIGITS).fingerprint()
    gene = front_onnx.extract(DIGITS, ratio=0.5, output=tmp_path / "gene.safetensors").output
    model = front_onnx.init(gene, depth=3, output=tmp_path / "made.onnx", validate=False).output
    assert provenance(onnx.load(model))["request"]["learngene"] is True


def test_refining_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from front_onnx.adapters.refine import refine

    onnx.save(mlp(), str(tmp_path / "a.onnx"))
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((16, 5)).astype(np.float32), "labels": rng.integers(0, 4, 16)}
    done = refine(tmp_path / "a.onnx", data, output=tmp_path / "b.onnx", epochs=1, lam=0.0, batch_size=8)
    found = provenance(onnx.load(done.output))
    assert found["method"] == "refine" and found["request"] == {"epochs": 1, "lam": 0.0, "batch_size": 8}


def test_inspect_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    front_onnx.resize(DIGITS, depth=3, width=24, method="fold", output="small.onnx", validate=False)
    done = CliRunner().invoke(main, ["inspect", "small.onnx"])
    assert "made by front-onnx" in done.output and "method fold" in done.output and "depth=3 width=24" in done.output
    about = json.loads(CliRunner().invoke(main, ["inspect", "small.onnx", "--json"]).output)
    assert about["made_from"] == provenance(onnx.load("small.onnx"))
    assert about["fingerprint"] == front_onnx.read_model("small.onnx").fingerprint()
    plain = json.loads(CliRunner().invoke(main, ["inspect", str(DIGITS), "--json"]).output)
    assert plain["made_from"] == {} and about["made_from"]["source_fingerprint"] == plain["fingerprint"]


@pytest.mark.parametrize("value", ["", "no json", "[1, 2]", "3", "null", '{"depth": {}}'])
def test_what_others_write_there_is_shown_and_no_trouble(tmp_path: Path, value: str) -> None:
    model = onnx.load(DIGITS)
    for name in ("request", "samples", "before", "version"):
        model.metadata_props.add(key=PREFIX + name, value=value)
    onnx.save(model, str(tmp_path / "odd.onnx"))
    for line in (["inspect", str(tmp_path / "odd.onnx")], ["inspect", str(tmp_path / "odd.onnx"), "--json"]):
        done = CliRunner().invoke(main, line)
        assert done.exit_code == 0, done.output
    resized = front_onnx.resize(model, depth=3, validate=False).model
    assert provenance(resized)["request"] == {"depth": "3"}
    assert weights(resized).keys() == weights(made(depth=3)).keys() and unsigned(resized) == unsigned(made(depth=3))
