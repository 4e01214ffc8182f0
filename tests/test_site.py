"""The site: it builds without a warning, has every public name, and fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import front_onnx

ROOT = Path(__file__).parents[1]


@pytest.mark.slow  # a process
def test_the_site_builds_and_is_whole(tmp_path: Path) -> None:
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
    reference = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert not [name for name in front_onnx.__all__ if f'id="front_onnx.{name}"' not in reference]
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > 12
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert not loaded, (page.name, loaded)


def test_every_page_is_in_the_navigation() -> None:
    held = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r": ([a-z-]+\.md)", held))
