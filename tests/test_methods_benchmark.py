"""The benchmark of methods (benchmarks/methods): a run, a file that is gone on with, a table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
RUN = Path(__file__).parents[1] / "benchmarks" / "methods" / "run.py"


def _run(folder: Path, *more: str) -> str:
    said = ["--task", "digits", "--jobs", "1", "--seeds", "1", "--steps", "1", "--cache", str(folder / "made")]
    line = [sys.executable, str(RUN), *said, "--json", str(folder / "found.json"), *more]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_runs_are_kept_and_made_into_a_table(tmp_path: Path) -> None:
    _run(tmp_path, "--methods", "front@ortho;lossless", "--directions", "wider,narrower")
    found = json.loads((tmp_path / "found.json").read_text())["digits"]
    assert "refused" in found["narrower/lossless/0"]
    at_once, trained = found["wider/lossless/0"]["figures"]
    assert at_once == found["source"][0] > 0.99 and 0 <= trained <= 1
    found["narrower/front@ortho/0"] = {"figures": [0.25, 0.5]}  # what is there is not run again
    (tmp_path / "found.json").write_text(json.dumps({"digits": found}))
    table = _run(tmp_path, "--methods", "front@ortho;lossless", "--directions", "wider,narrower")
    assert "| lossless | - |" in table and "| front@ortho | 25.0 → 50.0 |" in table
    assert "- lossless, narrower: " in table
