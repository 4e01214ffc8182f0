"""Models that other frameworks exported, kept as files: resized, they are their native exports of the target size.

`tests/matrix/write_exports.py` writes them.
"""

import json
from pathlib import Path

import onnx
import pytest
from zoo.oracle import compare

import front_onnx

FOLDER = Path(__file__).parent / "exports"
EXPORTS = sorted(path.stem for path in FOLDER.glob("*.json"))


def test_no_export_is_left_out() -> None:
    about = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in EXPORTS}
    known = {f"{name}-{label}.onnx" for name, told in about.items() for label in ("source", told["target"])}
    assert known and known == {path.name for path in FOLDER.glob("*.onnx")}


@pytest.mark.parametrize("name", EXPORTS)
def test_equals_the_native_export(tmp_path: Path, name: str) -> None:
    about = json.loads((FOLDER / f"{name}.json").read_text())
    result = front_onnx.resize(FOLDER / f"{name}-source.onnx", **about["request"], output=tmp_path / "out.onnx")
    assert result.output is not None and result.validation is not None and result.validation.passed
    assert compare(result.output, FOLDER / f"{name}-{about['target']}.onnx") == []


@pytest.mark.parametrize("name", EXPORTS)
def test_nothing_asked_changes_no_weight(tmp_path: Path, name: str) -> None:
    source = FOLDER / f"{name}-source.onnx"
    result = front_onnx.resize(source, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, source) == []
    before = onnx.load(source)
    weights = {t.raw_data for t in before.graph.initializer}
    constants = {a.t.raw_data for f in before.functions for n in f.node for a in n.attribute if a.HasField("t")}
    written = {t.raw_data for t in onnx.load(result.output).graph.initializer}
    assert weights <= written <= weights | constants
