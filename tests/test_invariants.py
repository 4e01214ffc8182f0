"""What has to hold for every resize: nothing asked changes nothing, there and back is the identity, twice is once."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small import DIGITS, constants, feed, run, weights
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES, BATCH_AXIS
from zoo.export import export, write
from zoo.opsets import EXPORTERS
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx


def source(cache: Path, name: str, exporter: str) -> onnx.ModelProto:
    architecture = ARCHITECTURES[name]
    return onnx.load(export(architecture, architecture.source, exporter, cache_dir=cache))


def same_size(name: str) -> dict[str, str]:
    size = ARCHITECTURES[name].source
    width = {} if ARCHITECTURES[name].width_by_ratio else {"width": ",".join(map(str, size.width))}
    return {"depth": ",".join(map(str, size.depth)), **(width or {"width_mult": "1"})}


SAME = ["bert-fresh", "gpt2", "convnext", "llama", "t5-encoder", "vit", "swin", "resnet-bottleneck", "mlp", "bert"]


@pytest.mark.parametrize(
    ("name", "exporter"), by_exporter(SAME, torchscript=3, dynamo=["llama", "t5-encoder", "vit", "swin"])
)
def test_the_same_size_is_the_same_model(zoo_cache: Path, name: str, exporter: str) -> None:
    model = source(zoo_cache, name, exporter)
    resized = front_onnx.resize(model, **same_size(name)).model
    assert list(resized.graph.initializer) == list(model.graph.initializer)
    assert list(resized.graph.node) == list(model.graph.node)
    assert resized.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    arrays = feed(model)
    assert all(np.array_equal(a, b) for a, b in zip(run(resized, arrays), run(model, arrays), strict=True))


def test_the_same_size_is_the_same_file(tmp_path: Path) -> None:
    result = front_onnx.resize(DIGITS, depth=6, width=48, output=tmp_path / "same.onnx")
    assert {k: v.tobytes() for k, v in weights(onnx.load(result.output)).items()} == {
        k: v.tobytes() for k, v in weights(onnx.load(DIGITS)).items()
    }


def doubled(name: str, what: str) -> tuple[dict, dict]:
    """A larger size, and the way back."""
    size = ARCHITECTURES[name].source
    there: dict[str, object] = {}
    back: dict[str, object] = {}
    if what != "width":
        # chains of pairs stay chains of pairs
        there["depth"] = ",".join(str(2 * n) for n in size.depth)
        back["depth"] = ",".join(map(str, size.depth))
    if what != "depth":
        there["width_mult"], back["width_mult"] = "2", "1/2"
    return there, back


RETURNING = [
    (name, what)
    for name in ("gpt2", "llama", "vit", "convnext", "resnet-basic", "mlp")
    for what in ("depth", "width", "both")
]


@pytest.mark.parametrize(
    ("name", "what", "exporter"),
    by_exporter(
        RETURNING,
        torchscript=[("mlp", "both"), ("resnet-basic", "depth"), ("gpt2", "width")],
        dynamo=[("vit", "depth"), ("convnext", "width"), ("llama", "both")],
    ),
)
def test_up_and_down_again_is_the_source(zoo_cache: Path, name: str, exporter: str, what: str) -> None:
    model = source(zoo_cache, name, exporter)
    there, back = doubled(name, what)
    larger = front_onnx.resize(model, **there, scale="ortho").model
    assert sum(a.size for a in weights(larger).values()) > 1.2 * sum(a.size for a in weights(model).values())
    returned = front_onnx.resize(larger, **back, scale="ortho").model
    arrays = feed(model)
    for mine, theirs in zip(run(returned, arrays), run(model, arrays), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    before, after = constants(model), constants(returned)
    floats = {k for k, a in before.items() if a.dtype == np.float32 and a.size > 1}
    missing = floats - after.keys()
    assert not missing
    for name_ in floats:
        np.testing.assert_allclose(after[name_], before[name_], atol=1e-5, err_msg=name_)


@pytest.mark.parametrize("what", few(["both", "depth", "width"], 1, mark="slow"))
def test_the_shipped_model_comes_back(tmp_path: Path, what: str) -> None:
    there = {"depth": {"depth": 9}, "width": {"width": 72}, "both": {"depth": 9, "width": 72}}[what]
    back = {key: {"depth": 6, "width": 48}[key] for key in there}
    larger = front_onnx.resize(DIGITS, **there, scale="ortho", output=tmp_path / "large.onnx").output
    returned = front_onnx.resize(larger, **back, scale="ortho", output=tmp_path / "back.onnx").output
    before, after = weights(onnx.load(DIGITS)), weights(onnx.load(returned))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "request_", few([{"depth": 2, "width": 60, "ratio": 0.7}, {"depth": 9, "width": 24}, {"heads": 2}], 1)
)
def test_the_same_request_gives_the_same_bytes(tmp_path: Path, request_: dict) -> None:
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for seed, path in enumerate(files):
        front_onnx.resize(DIGITS, **request_, output=path, seed=seed)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_lower_ratio_keeps_the_low_frequencies(tmp_path: Path) -> None:
    """At the same size a ratio filters: less energy in every weight, all of it at ratio 1, once is enough."""
    model = onnx.load(DIGITS)

    def energy(m: onnx.ModelProto) -> float:
        return sum(float((a.astype(np.float64) ** 2).sum()) for a in weights(m).values() if a.dtype == np.float32)

    filtered = {r: front_onnx.resize(model, ratio=r, scale="ortho").model for r in (0.25, 0.5, 0.75, 1)}
    energies = [energy(m) for m in filtered.values()]
    assert energies == sorted(energies) and len(set(energies)) == 4
    assert energies[-1] == energy(model)
    again = front_onnx.resize(filtered[0.5], ratio=0.5, scale="ortho").model
    for name, array in weights(filtered[0.5]).items():
        np.testing.assert_allclose(weights(again)[name], array, atol=1e-5, err_msg=name)


@pytest.mark.export
@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_resnet_101_to_the_depth_of_resnet_50(tmp_path: Path, exporter: str) -> None:
    import timm  # behind the zoo's imports, which make it importable without torchvision

    def native(architecture: str) -> Path:
        torch.manual_seed(0)
        module = timm.create_model(architecture, channels=(4, 6, 8, 10), stem_width=4, num_classes=11)
        randomise(module, seed=len(architecture))
        path = tmp_path / f"{architecture}.onnx"
        inputs = {"x": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))}
        write(module.eval(), inputs, path, exporter=exporter, opset=None, outputs=("logits",), axes=BATCH_AXIS)
        return path

    result = front_onnx.resize(native("resnet101"), depth="3,4,6,3", output=tmp_path / "resized.onnx")
    assert [depths for depths in map(tuple, result.plan.depths)] == [(3, 3), (4, 4), (23, 6), (3, 3)]
    assert compare(result.output, native("resnet50"), names=True) == []
