"""A few mutants of `fuzz/`: each ends in an answer or in one line. Minutes of it: python tests/fuzz/run.py"""

import pytest
from fuzz.fuzzing import fuzz
from tiers import few


@pytest.mark.parametrize("seed", few([*range(12)], 1, mark="slow"))
def test_mutants_get_an_answer(seed: int) -> None:
    found = fuzz(seed, seconds=600, most=40)
    assert found.counts["answered"] + found.counts["refused"] == 80
    assert not found.failures, [(command, line) for command, _, line in found.failures]
