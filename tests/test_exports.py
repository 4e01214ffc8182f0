"""Native exports kept as files: a source resized is the native export of the target size, without running an exporter.

`tests/matrix/write_exports.py` writes those of Keras and JAX, `tests/zoo/write_golden.py` those of torch.
"""

from pathlib import Path

import numpy as np
import pytest
from golden import FOLDER, PAIRS, about, golden, golden_file
from small import feed, run
from tiers import few
from variants import VARIANTS
from zoo.opsets import EXPORTERS
from zoo.oracle import compare
from zoo.pairs import BY_BOTH

import front_onnx

TORCH = [f"torch-{name}-{exporter}" for name in BY_BOTH for exporter in EXPORTERS]
# The quick tests have these architectures by one exporter each; what is largest or much like them comes later.
QUICK = [name for name in PAIRS if not name.startswith("torch-")] + [
    *(f"torch-{name}-torchscript" for name in ("bert", "bert-collisions", "vit", "convnext", "t5-encoder")),
    *(f"torch-{name}-dynamo" for name in ("bert-fresh", "gpt2", "llama", "mixer", "resnet-bottleneck")),
]


def test_no_export_is_left_out() -> None:
    known = {f"{name}-{label}.onnx" for name in PAIRS for label in ("source", about(name)["target"])}
    assert known and known == {path.name.removesuffix(".xz") for path in FOLDER.glob("*.onnx*")}
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


def test_both_exporters_have_pairs_in_the_quick_run() -> None:
    assert min(sum(name.endswith(exporter) for name in QUICK) for exporter in EXPORTERS) >= 5
    assert len({about(name)["model"] for name in QUICK}) == len(QUICK)


@pytest.mark.parametrize("name", few(PAIRS, QUICK, mark="slow"))
def test_equals_the_native_export(tmp_path: Path, name: str) -> None:
    told = about(name)
    result = front_onnx.resize(golden_file(name, tmp_path), **told["request"], output=tmp_path / "out.onnx")
    assert result.output is not None and result.validation is not None and result.validation.passed
    assert compare(result.output, golden(name, "target"), **told.get("oracle", {})) == []


UNCHANGED = ["keras-encoder", "jax-convnext", "torch-bert-torchscript", "torch-llama-dynamo", "torch-convnext-dynamo"]
UNCHANGED_IN_ALL = [*UNCHANGED, "keras-cnn", "torch-swin-dynamo", "torch-bert-fresh-torchscript", "torch-mlp-dynamo"]


@pytest.mark.parametrize("name", few(few(PAIRS, UNCHANGED_IN_ALL), UNCHANGED, mark="slow"))
def test_nothing_asked_changes_no_weight(name: str) -> None:
    before = golden(name)
    after = front_onnx.resize(before, validate=False).model
    assert compare(after, before, tied=about(name).get("oracle", {}).get("tied", True)) == []
    weights = {t.raw_data for t in before.graph.initializer}
    constants = {a.t.raw_data for f in before.functions for n in f.node for a in n.attribute if a.HasField("t")}
    written = {t.raw_data for t in after.graph.initializer}
    assert weights <= written <= weights | constants


RETURNING = ["torch-bert-torchscript", "torch-mixer-torchscript", "torch-convnext-torchscript", "torch-vit-dynamo"]
RETURNING_IN_ALL = [*RETURNING, "torch-llama-torchscript", "torch-gpt2-dynamo", "torch-swin-dynamo"]


@pytest.mark.parametrize("name", few(few(TORCH, RETURNING_IN_ALL), RETURNING, mark="slow"))
def test_up_and_down_again_is_the_source(name: str) -> None:
    """At twice the width and back, in the paper's scale, nothing is lost."""
    before = golden(name)
    larger = front_onnx.resize(before, width_mult=2, scale="ortho", validate=False).model
    returned = front_onnx.resize(larger, width_mult="1/2", scale="ortho", validate=False).model
    arrays = feed(before, top=32)
    for mine, theirs in zip(run(returned, arrays), run(before, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "name", few(["torch-mixer-torchscript", "torch-convnext-dynamo", "torch-gpt2-torchscript"], 1, mark="slow")
)
def test_however_weights_are_stored(name: str, variant: str) -> None:
    told, source = about(name), golden(name)
    other = VARIANTS[variant](source)
    resized, wanted = (front_onnx.resize(model, **told["request"], validate=False).model for model in (other, source))
    arrays = feed(source)
    for mine, theirs in zip(run(resized, arrays), run(wanted, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
