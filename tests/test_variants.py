"""Resizing does not depend on how a model is written down: old files, other placements of weights, other types."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small import constants, feed, output_shapes, run
from tiers import by_exporter, few
from variants import VARIANTS
from zoo.architectures import ARCHITECTURES
from zoo.export import _only_arguments, _quiet, export, unfuse_attention
from zoo.oracle import compare
from zoo.sizes import Size

import front_onnx

STORED = list(itertools.product(["mlp", "bert", "gpt2", "convnext", "llama"], VARIANTS))


@pytest.mark.parametrize(
    ("name", "variant", "exporter"), by_exporter(STORED, torchscript=STORED[::6], dynamo=STORED[3::6])
)
def test_however_weights_are_stored(zoo_cache: Path, name: str, exporter: str, variant: str) -> None:
    architecture = ARCHITECTURES[name]
    source = onnx.load(export(architecture, architecture.source, exporter, cache_dir=zoo_cache))
    other = VARIANTS[variant](source)
    arrays = feed(source)
    for mine, theirs in zip(run(other, arrays), run(source, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)  # else the variant is no variant
    request = {"depth": "3,2,5,2" if name == "convnext" else 5, "width_mult": 2}
    resized, wanted = (front_onnx.resize(model, **request).model for model in (other, source))
    assert output_shapes(resized) == output_shapes(wanted)
    for mine, theirs in zip(run(resized, arrays), run(wanted, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def _export(name: str, size: Size, path: Path, opset: int, *, fold: bool, dtype: torch.dtype | None) -> onnx.ModelProto:
    """A TorchScript export with options the zoo does not have."""
    architecture = ARCHITECTURES[name]
    module, inputs = architecture.build(size)
    if opset < 14:
        unfuse_attention(module)
    if dtype is not None:
        module = module.to(dtype)
        inputs = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
    with _quiet(), _only_arguments(module, list(inputs)):
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(architecture.outputs),
            opset_version=opset,
            dynamo=False,
            do_constant_folding=fold,
            dynamic_axes={key: dict(architecture.input_axes) for key in inputs},
        )
    return onnx.load(path)


OPTIONS = [
    ("deit", 9, True, None),
    ("resnet-basic", 9, True, None),
    ("bert", 11, True, None),  # Slice and Squeeze: sizes in attributes before opset 13
    ("gpt2", 11, True, None),  # Split with an attribute
    ("llama", 12, True, None),
    ("gpt2", 17, False, None),
    ("convnext", 17, False, None),
    ("gpt2", 17, True, torch.float64),
    ("deit", 17, True, torch.float16),
    ("mlp", 9, True, None),
    ("convnext", 12, True, None),
    ("t5-encoder", 12, True, None),
    ("bert", 17, False, None),
    ("deit", 17, False, None),
    ("llama", 17, False, None),
    ("mlp", 17, True, torch.float64),
    ("llama", 17, True, torch.float64),
    ("resnet-basic", 17, True, torch.float16),
    ("llama", 17, True, torch.float16),
]


@pytest.mark.export
@pytest.mark.parametrize(("name", "opset", "fold", "dtype"), few(OPTIONS, 9))
def test_old_opsets_unfolded_weights_and_other_types(
    tmp_path: Path, name: str, opset: int, fold: bool, dtype: torch.dtype | None
) -> None:
    architecture = ARCHITECTURES[name]
    sizes = (architecture.source, architecture.targets["mixed"])
    source, native = (
        _export(name, size, tmp_path / f"{i}.onnx", opset, fold=fold, dtype=dtype) for i, size in enumerate(sizes)
    )
    resized = front_onnx.resize(source, **architecture.request(architecture.targets["mixed"])).model
    kinds = {str(array.dtype) for array in constants(source).values() if array.size > 50}
    assert dtype is None or str(dtype).removeprefix("torch.") in kinds  # else the export is not what is meant
    assert {str(array.dtype) for array in constants(resized).values() if array.size > 50} == kinds
    assert compare(resized, native) == []


@pytest.mark.export
@pytest.mark.parametrize(
    ("name", "fold"),
    few(
        itertools.product(["vit", "mlp", "bert-classifier", "llama", "gpt2"], [True, False]),
        [("vit", True), ("mlp", False), ("bert-classifier", True)],
    ),
)
def test_the_outside_never_follows_the_width(tmp_path: Path, name: str, fold: bool) -> None:
    source = _export(name, ARCHITECTURES[name].source, tmp_path / "a.onnx", 17, fold=fold, dtype=None)
    resized = front_onnx.resize(source, width_mult=2).model
    assert output_shapes(resized) == output_shapes(source)
