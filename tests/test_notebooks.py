"""The notebooks run from top to bottom, and what is stored in them is what they print."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NAMES = ("engineer", "pytorch", "researcher")


def printed(book: dict) -> list[list[str]]:
    """What each cell prints, by line, numbers aside: they are those of a machine and of the moment."""
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    texts = ["".join(line for output in cell["outputs"] for line in output["text"]) for cell in cells]
    return [[re.sub(r"[\d.,%]+", "#", line.split(" ")[0]) for line in text.splitlines()] for text in texts]


def test_they_are_all_of_them_and_whole() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)
    linked = (FOLDER.parents[1] / "README.md").read_text() + (FOLDER.parent / "notebooks.md").read_text()
    for name in NAMES:
        assert linked.count(f"notebooks/{name}.ipynb") == 2, name
        book = json.loads((FOLDER / f"{name}.ipynb").read_text())
        assert book["nbformat"] == 4 and all(cell["id"] for cell in book["cells"])
        assert sum(map(bool, printed(book))) >= 3, name
        assert "/tmp" not in json.dumps(book) and "Traceback" not in json.dumps(book)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.export] if n == "pytorch" else []) for n in NAMES])
def test_a_notebook_runs(name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("notebooks_run", FOLDER / "run.py")
    assert spec is not None and spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    path = FOLDER / f"{name}.ipynb"
    stored, found = json.loads(path.read_text()), runner.run(path)
    assert [len(lines) > 0 for lines in printed(found)] == [len(lines) > 0 for lines in printed(stored)]
    for mine, theirs in zip(printed(found), printed(stored), strict=True):
        assert sorted(set(mine)) == sorted(set(theirs))  # rows of a table may change places
