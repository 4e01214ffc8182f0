"""The golden pairs are what torch's exporters write today."""

from pathlib import Path

import pytest
from golden import golden

from .architectures import ARCHITECTURES
from .export import export
from .pairs import PAIRS
from .write_golden import without_notes


@pytest.mark.more(reason="another answer comes with other versions of the exporters, and the lock holds them")
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("size", ["source", "target"])
def test_is_what_the_exporter_writes(zoo_cache: Path, pair: str, size: str) -> None:
    """Where it is not, `python tests/zoo/write_golden.py` writes it anew: look at what has changed."""
    name, exporter, label = PAIRS[pair]
    architecture = ARCHITECTURES[name]
    wanted = architecture.size(label if size == "target" else size)
    today = without_notes(export(architecture, wanted, exporter, cache_dir=zoo_cache, anew=True))
    kept = golden(pair, size)
    assert kept.graph.node == today.graph.node
    assert kept.graph.initializer == today.graph.initializer
    assert kept == today
