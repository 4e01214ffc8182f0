"""The oracle on every architecture: a resized model is the native export of the target size, with other weights."""

from pathlib import Path

import onnx
import pytest
from zoo.architectures import ARCHITECTURES
from zoo.export import export, minilm
from zoo.opsets import EXPORTERS, OPSETS, UNSUPPORTED
from zoo.oracle import compare
from zoo.rows import BY_OPSET, DEFAULT_OPSET, LABELS, Row, default_rows, opset_rows

import front_onnx


def _names(rows: list[Row]) -> dict[str, list[object]]:
    return {"argvalues": rows, "ids": list(map(str, rows))}


@pytest.mark.parametrize("row", **_names([*default_rows(), *opset_rows()]))
def test_equals_the_native_export(zoo_cache: Path, tmp_path: Path, row: Row) -> None:
    architecture = ARCHITECTURES[row.name]
    size = architecture.size(row.label)
    source, native = (
        export(architecture, s, row.exporter, row.opset, row.dynamic, cache_dir=zoo_cache)
        for s in (architecture.source, size)
    )
    result = front_onnx.resize(source, **architecture.request(size), output=tmp_path / "resized.onnx")
    assert result.validation is not None and result.validation.passed
    assert result.output is not None
    tables = architecture.tables(size)
    assert compare(result.output, native, tied=not architecture.fresh, names=True, tables=tables) == []


def test_rows_cover_all_opsets() -> None:
    """Each opset with three architectures or more, each architecture with three or more opsets, each target."""
    rows = [*default_rows(), *opset_rows()]
    for exporter, opsets in OPSETS.items():
        for opset in opsets:
            assert len({r.name for r in rows if r.exporter == exporter and (r.opset or DEFAULT_OPSET) == opset}) >= 3
        for label in LABELS:
            least = 25 if exporter == "torchscript" else 3
            assert len({r.name for r in rows if r.exporter == exporter and r.label == label}) >= least
    for name in BY_OPSET:
        assert len({r.opset or DEFAULT_OPSET for r in rows if r.name == name}) >= 3
    assert len({r for r in rows if not r.dynamic}) >= len(BY_OPSET)
    assert not {(r.name, r.exporter, r.opset) for r in rows} & UNSUPPORTED.keys()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_default_opset_is_what_the_rows_take_it_for(zoo_cache: Path, exporter: str) -> None:
    mlp = ARCHITECTURES["mlp"]
    model = onnx.load(export(mlp, mlp.source, exporter, cache_dir=zoo_cache))
    assert [o.version for o in model.opset_import if not o.domain] == [DEFAULT_OPSET]


@pytest.mark.parametrize("request_", [{"depth": 3}, {"width": 192}, {"depth": 9, "width": 576}], ids=str)
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_real_weights(zoo_cache: Path, tmp_path: Path, exporter: str, request_: dict[str, int]) -> None:
    """all-MiniLM-L6-v2: trained weights, 6 blocks, 384 wide."""
    source = minilm(exporter, cache_dir=zoo_cache)
    result = front_onnx.resize(source, **request_, output=tmp_path / "resized.onnx")
    assert result.validation is not None and result.validation.passed
    assert result.plan.depths == [(6, request_.get("depth", 6))]
    sizes = {dim.name: result.plan.sizes[dim.atom] for dim in result.plan.structure.dims}
    width = request_.get("width", 384)
    assert (sizes["hidden"], sizes["heads"], sizes["head_dim"], sizes["ffn"]) == (
        width,
        width // 32,
        32,
        4 * width,
    )
