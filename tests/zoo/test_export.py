"""Every export of the zoo runs in onnxruntime and computes what its module computes."""

import onnx
import pytest

from .architectures import ARCHITECTURES
from .dump import disagreement
from .export import export
from .opsets import EXPORTERS, STATIC_ONLY
from .rows import opset_rows

every = pytest.mark.parametrize("name", list(ARCHITECTURES))
both = pytest.mark.parametrize("exporter", EXPORTERS)


@every
@both
def test_source_agrees_with_its_module(zoo_cache, name, exporter):
    architecture = ARCHITECTURES[name]
    path = export(architecture, architecture.source, exporter, cache_dir=zoo_cache)
    module, inputs = architecture.build(architecture.source)
    assert disagreement(path, module, inputs) < 1e-4


@every
@both
def test_dynamic_axes_are_dynamic(zoo_cache, name, exporter):
    """The file computes the same as the module on another batch and another length."""
    if (name, exporter) in STATIC_ONLY:
        pytest.skip(STATIC_ONLY[name, exporter])
    architecture = ARCHITECTURES[name]
    path = export(architecture, architecture.source, exporter, cache_dir=zoo_cache)
    module, inputs = architecture.build(architecture.source)
    other = {key: value[1:] for key, value in inputs.items()}
    if 1 in architecture.input_axes:
        other = {key: value[:, 2:] for key, value in other.items()}
    assert disagreement(path, module, other) < 1e-4


@pytest.mark.parametrize("name", [row.name for row in opset_rows() if (row.exporter, row.opset) == ("torchscript", 13)])
def test_oldest_opset(zoo_cache, name):
    architecture = ARCHITECTURES[name]
    path = export(architecture, architecture.source, "torchscript", 13, cache_dir=zoo_cache)
    assert [entry.version for entry in onnx.load(path).opset_import if not entry.domain] == [13]
    assert disagreement(path, *architecture.build(architecture.source)) < 1e-4
