"""Lossless growth of kinds of models that the zoo has no rows of: exact, or it says what is not."""

from pathlib import Path

import onnx
import pytest
from test_lossless import deeper, differences
from tiers import few
from zoo.rowless import MODELS, export

import front_onnx

pytestmark = pytest.mark.export

GROUPS = "a norm takes means over the channels of a group"
NO_WAY = "nothing passes by a block"
INEXACT = {
    ("resnet-group-norm", "x1.5"): GROUPS,
    ("unet-group-norm", "x1.5"): GROUPS,
    ("vgg-silu", "deeper"): NO_WAY,
    **{(name, "deeper"): NO_WAY for name in ("lstm", "lstm-both-ways", "gru")},  # a stack of cells, one behind another
}
CASES = [(name, "torchscript") for name in MODELS] + [(name, "dynamo") for name in ("experts-stacked", "unit-length")]


@pytest.mark.parametrize(("name", "exporter"), few(CASES, lambda case: case != ("unit-length", "dynamo")))
def test_kinds_without_rows_grow_without_loss(tmp_path: Path, name: str, exporter: str) -> None:
    source = export(name, tmp_path / "source.onnx", exporter)
    layers = deeper(front_onnx.inspect(source))
    ways = {"x1.5": {"width_mult": "1.5"}, "x2": {"width_mult": "2"}}
    ways |= {"deeper": {"depth": layers}, "both": {"depth": layers, "width_mult": "1.5"}} if layers else {}
    for way, asked in ways.items():
        result = front_onnx.resize(source, method="lossless", output=tmp_path / f"{way}.onnx", **asked)
        assert result.validation is not None and result.validation.passed and result.agreement is not None
        parts = ("x1.5", "deeper") if way == "both" else (way,)
        wanted = [INEXACT[name, part] for part in parts if (name, part) in INEXACT]
        said = [warning for warning in result.plan.warnings if "not exact" in warning]
        assert bool(said) == bool(wanted) and all(any(text in line for line in said) for text in wanted)
        assert said or result.agreement.worst < 1e-5
        if not said and not name.startswith("unit-length"):  # those have to be decoded
            grown = onnx.load(tmp_path / f"{way}.onnx")
            assert max(differences(onnx.load(source), grown, result.plan)) < 1e-5


def test_both_levels_of_a_u_net_are_chains(tmp_path: Path) -> None:
    """What a skip connection passes by is looked through to the end of its last block, and not into it."""
    found = front_onnx.inspect(export("unet-group-norm", tmp_path / "source.onnx")).chains
    assert [(chain.name, chain.depth) for chain in found] == [("high", 2), ("low", 2)]
