"""The oracle on every architecture: a resized model is the native export of the target size, with other weights."""

from pathlib import Path

import pytest
from zoo.architectures import ARCHITECTURES, Architecture
from zoo.export import EXPORTERS, OPSETS, UNSUPPORTED, export, minilm
from zoo.oracle import compare

import front_onnx

LABELS = ("shallower", "narrower", "grow", "mixed")
# Collisions and fresh weights are traps for the analysis, not for the exporters: the default opset is enough.
BY_OPSET = [name for name in ARCHITECTURES if not name.endswith(("-fresh", "-collisions"))]


def _check(
    architecture: Architecture,
    label: str,
    exporter: str,
    opset: int | None,
    dynamic: bool,
    cache: Path,
    folder: Path,
) -> None:
    size = architecture.size(label)
    source, native = (
        export(architecture, s, exporter, opset, dynamic, cache_dir=cache) for s in (architecture.source, size)
    )
    result = front_onnx.resize(source, **architecture.request(size), output=folder / "resized.onnx")
    assert result.validation is not None and result.validation.passed
    assert result.output is not None
    tables = architecture.tables(size)
    assert compare(result.output, native, tied=not architecture.fresh, names=True, tables=tables) == []


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_native_export(zoo_cache: Path, tmp_path: Path, name: str, exporter: str, label: str) -> None:
    _check(ARCHITECTURES[name], label, exporter, None, True, zoo_cache, tmp_path)


def _opset_rows() -> list[tuple[str, str, int, bool, str]]:
    """Every exporter and opset with a third of the architectures, static and dynamic and the targets in turn."""
    rows = []
    for exporter in EXPORTERS:
        for i, opset in enumerate(OPSETS[exporter]):
            for j, name in enumerate(BY_OPSET):
                if (i + j) % 3 == 0 and (name, exporter, opset) not in UNSUPPORTED:
                    rows.append((name, exporter, opset, (i + j) % 2 == 0, LABELS[(i + 2 * j) % 4]))
    return rows


@pytest.mark.parametrize(("name", "exporter", "opset", "dynamic", "label"), _opset_rows())
def test_equals_the_native_export_at_opset(
    zoo_cache: Path, tmp_path: Path, name: str, exporter: str, opset: int, dynamic: bool, label: str
) -> None:
    _check(ARCHITECTURES[name], label, exporter, opset, dynamic, zoo_cache, tmp_path)


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
