"""A sample of the support matrix: one row of each trait that the other tests do not show."""

from __future__ import annotations

import pytest
from matrix.run import run, targets
from tiers import few

ROWS = {
    ("torch_cache", "GPT-2 cache torchscript"): "keys and values of every block among the inputs and outputs",
    ("torch_text", "Qwen2-MoE torchscript"): "experts that data look up",
    ("torch_text", "T5 torchscript"): "an output scaled by the width, position biases that blocks share",
    ("torch_text", "BART torchscript"): "an encoder and a decoder, cross-attention, two depths",
    ("torch_text", "DeBERTa-v2 torchscript"): "weights of a block that relative positions are projected by as well",
    ("torch_text", "Falcon grouped torchscript"): "groups and queries per group in one fused weight",
    ("torch_text", "Funnel base torchscript"): "relative positions shifted by mixing axes",
    ("torch_text", "GPT-NeoX torchscript"): "queries, keys and values inside each head, partial rotary",
    ("torch_text", "ModernBERT torchscript"): "two kinds of layers in turn, the first without its norm",
    ("torch_text", "Phi-3 torchscript"): "fused grouped queries, a fused gate",
    ("torch_vision", "EdgeNeXt torchscript"): "stages that end in a block of another kind",
    ("torch_vision", "ShuffleNet torchscript"): "shuffled channels, first blocks with two branches",
}


@pytest.mark.export
@pytest.mark.parametrize("others", few([False, True], 1), ids=["one target", "others"])
@pytest.mark.parametrize(("suite", "row"), ROWS)
def test_row_is_right(suite, row, others):
    """At no size asked for, and at the last target, where depth and width both change; others are more of the same."""
    *before, last = targets(suite, row)
    labels = before if others else [last]
    found = run(suite, row, labels=labels)
    assert found["targets"].keys() == {"identity", *labels}
    assert found["outcome"] == "right", found["targets"]
