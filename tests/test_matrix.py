"""A sample of the support matrix: one row of each trait that the other tests do not show."""

from __future__ import annotations

import pytest
from matrix.run import run

ROWS = {
    "BART torchscript": "an encoder and a decoder, cross-attention, two depths",
    "Falcon grouped torchscript": "groups and queries per group in one fused weight",
    "Funnel base torchscript": "relative positions shifted by mixing axes",
    "GPT-NeoX torchscript": "queries, keys and values inside each head, partial rotary",
    "ModernBERT torchscript": "two kinds of layers in turn, the first without its norm",
    "Phi-3 torchscript": "fused grouped queries, a fused gate",
}


@pytest.mark.parametrize("row", ROWS)
def test_row_is_right(row):
    found = run("torch_text", row)
    assert found["outcome"] == "right", found["targets"]
