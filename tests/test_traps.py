"""Traps that real models set, each once found by resizing a model nobody had tuned to."""

from pathlib import Path

import pytest
import torch
from tiers import few
from zoo.architectures import TEXT_AXES
from zoo.export import write
from zoo.opsets import EXPORTERS
from zoo.oracle import compare
from zoo.randomise import randomise

import front_onnx

pytestmark = pytest.mark.export


def _export(make: type, config: object, path: Path, exporter: str) -> Path:
    torch.manual_seed(0)
    module = make(config)
    randomise(module, seed=1)
    ids = torch.randint(1, 90, (2, 7), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    outputs = ("last_hidden_state", "pooler_output") if hasattr(module, "pooler") else ("last_hidden_state",)
    write(module.eval(), inputs, path, exporter=exporter, opset=None, outputs=outputs, axes=TEXT_AXES)
    return path


def _pair(make: type, config: type, exporter: str, folder: Path, small: dict, **common: object) -> tuple[Path, Path]:
    source = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "use_cache": False}
    return (
        _export(make, config(**{**source, **common}), folder / "source.onnx", exporter),
        _export(make, config(**{**source, **common, **small}), folder / "native.onnx", exporter),
    )


@pytest.mark.parametrize("exporter", EXPORTERS)  # GatherND is dynamo's
def test_one_key_head_picked_by_index(tmp_path: Path, exporter: str) -> None:
    """Query heads, one key head and one value head in one axis, the last two picked by Gather or by GatherND."""
    from transformers import FalconConfig, FalconModel

    common = {"vocab_size": 97, "multi_query": True, "parallel_attn": True, "alibi": False, "bias": False}
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    source, native = _pair(FalconModel, FalconConfig, exporter, tmp_path, small, **common)
    result = front_onnx.resize(source, depth=2, width=16, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, native) == []


@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_embeddings_times_the_root_of_the_width(tmp_path: Path, exporter: str) -> None:
    from transformers import GemmaConfig, GemmaModel

    common = {"vocab_size": 97, "intermediate_size": 48, "num_key_value_heads": 4, "head_dim": 8}
    small = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 24}
    source, native = _pair(GemmaModel, GemmaConfig, exporter, tmp_path, small, **common)
    result = front_onnx.resize(source, width=16, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, native) == []


def test_weights_shared_by_all_blocks_stay_shared(tmp_path: Path) -> None:
    """In one tensor, as TorchScript writes them; dynamo writes a copy for each block, and copies are resampled."""
    from transformers import AlbertConfig, AlbertModel

    common = {"vocab_size": 97, "embedding_size": 16, "intermediate_size": 48}
    source, native = _pair(AlbertModel, AlbertConfig, "torchscript", tmp_path, {"num_hidden_layers": 5}, **common)
    result = front_onnx.resize(source, depth=5, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, native) == []


class _Squashed(torch.nn.Module):
    """Logits squashed by a tanh, over as many classes as `classes` says."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(9, width)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(depth))
        self.head = torch.nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return torch.tanh(self.head(x) / 30) * 30


@pytest.mark.parametrize("exporter", few(EXPORTERS, 1))
def test_squashed_logits_keep_their_classes(tmp_path: Path, exporter: str) -> None:
    paths = []
    for width in (16, 8):
        module = _Squashed(width, 3, classes=12).eval()
        inputs = {"x": torch.zeros(2, 9)}
        paths.append(tmp_path / f"{width}.onnx")
        write(module, inputs, paths[-1], exporter=exporter, opset=None, outputs=("logits",), axes={0: "batch"})
    result = front_onnx.resize(paths[0], width=8, output=tmp_path / "out.onnx")
    assert result.output is not None and compare(result.output, paths[1]) == []


def test_an_output_that_follows_the_width_is_told(tmp_path: Path) -> None:
    """As many squashed classes as the residual is wide cannot be told from a feature: the warning says so."""
    path = tmp_path / "16.onnx"
    module = _Squashed(16, 3, classes=16).eval()
    write(module, {"x": torch.zeros(2, 9)}, path, exporter="torchscript", opset=None, outputs=("logits",), axes={})
    plan = front_onnx.resize(path, width=8, dry_run=True).plan
    assert any("follows the width, 16 to 8" in warning for warning in plan.warnings)
