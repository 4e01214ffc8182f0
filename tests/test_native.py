"""The oracle on every architecture: a resized model is the native export of the target size, with other weights."""

from pathlib import Path

import onnx
import pytest
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES
from zoo.export import export, minilm
from zoo.opsets import EXPORTERS, OPSETS, UNSUPPORTED
from zoo.oracle import compare
from zoo.rows import BY_OPSET, DEFAULT_OPSET, LABELS, Row, kept_rows, rows

import front_onnx


@pytest.mark.parametrize("row", few(rows(), lambda row: not row.more), ids=str)
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
    every = [*kept_rows(), *rows()]
    assert len(set(every)) == len(every)
    for exporter, opsets in OPSETS.items():
        for opset in opsets:
            assert len({r.name for r in every if r.exporter == exporter and (r.opset or DEFAULT_OPSET) == opset}) >= 3
        for label in LABELS:
            least = 25 if exporter == "torchscript" else 3
            assert len({r.name for r in every if r.exporter == exporter and r.label == label}) >= least
    for name in BY_OPSET:
        assert len({r.opset or DEFAULT_OPSET for r in every if r.name == name}) >= 3
    assert len({r for r in every if not r.dynamic}) >= len(BY_OPSET)
    assert not {(r.name, r.exporter, r.opset) for r in every} & UNSUPPORTED.keys()


def test_the_whole_run_has_rows_of_every_kind() -> None:
    """Each architecture by both exporters; by TorchScript, a dim changing alone and both, and at another opset."""
    run = [row for row in [*kept_rows(), *rows()] if not row.more]
    for name in ARCHITECTURES:
        assert {row.exporter for row in run if row.name == name} == set(EXPORTERS)
        labels = {row.label for row in run if row.name == name and row.exporter == "torchscript" and not row.opset}
        assert labels & {"shallower", "narrower"} and labels & {"grow", "mixed"}
    for name in BY_OPSET:
        assert any(row.opset for row in run if row.name == name)
    for opset in set(OPSETS["torchscript"]) - {DEFAULT_OPSET}:
        assert len([row for row in run if (row.exporter, row.opset) == ("torchscript", opset)]) >= 2
    assert {row.dynamic for row in run if row.exporter == "dynamo" and row.opset} == {True, False}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_default_opset_is_what_the_rows_take_it_for(zoo_cache: Path, exporter: str) -> None:
    mlp = ARCHITECTURES["mlp"]
    model = onnx.load(export(mlp, mlp.source, exporter, cache_dir=zoo_cache))
    assert [o.version for o in model.opset_import if not o.domain] == [DEFAULT_OPSET]


@pytest.mark.parametrize(
    ("request_", "exporter"), by_exporter([{"depth": 9, "width": 576}, {"depth": 3}, {"width": 192}], dynamo=0)
)
def test_real_weights(zoo_cache: Path, tmp_path: Path, exporter: str, request_: dict[str, int]) -> None:
    """all-MiniLM-L6-v2: trained weights, 6 blocks, 384 wide."""
    source = minilm(exporter, cache_dir=zoo_cache)
    result = front_onnx.resize(source, **request_, output=tmp_path / "resized.onnx")
    assert result.validation is not None and result.validation.passed
    assert result.plan.depths == [(6, request_.get("depth", 6))]
    sizes = {dim.name: result.plan.sizes[dim.var] for dim in result.plan.structure.dims}
    width = request_.get("width", 384)
    assert (sizes["hidden"], sizes["heads"], sizes["head_dim"], sizes["ffn"]) == (
        width,
        width // 32,
        32,
        4 * width,
    )
