"""Sizes of heads in a decoder with a cache: keys that are turned have halves, and the cache is as wide as the keys."""

from pathlib import Path

import pytest
from zoo.oracle import compare
from zoo.sizes import Size

from front_onnx.api import inspect, resize


def export(path: Path, head_dim: int, depth: int = 3) -> Path:
    from matrix.torch_cache import _decoder  # slow to import
    from matrix.torch_text import model

    sizes = {"num_key_value_heads": lambda depth, width: 2, "head_dim": head_dim, "num_attention_heads": 4}
    _decoder(model("LlamaConfig", "LlamaForCausalLM", 6, **sizes))(Size((depth,), (24,))).export(path, "torchscript")
    return path


@pytest.mark.export
@pytest.mark.parametrize("head_dim, depth", [(12, 3), (8, 5)])
def test_keys_queries_and_values_follow_the_size_of_heads(tmp_path: Path, head_dim: int, depth: int) -> None:
    """Once the halves of keys stayed, and only values got wider: a model, but of no architecture."""
    source, native = export(tmp_path / "source.onnx", 6), export(tmp_path / "native.onnx", head_dim, depth)
    assert {"head_dim", "v_head_dim"} <= {dim.name for dim in inspect(source).dims}
    resize(source, heads=4, head_dim=head_dim, depth=depth, output=tmp_path / "resized.onnx")
    assert not compare(tmp_path / "resized.onnx", native)
