"""Run the notebooks from top to bottom and keep what they print: `python docs/notebooks/run.py NOTEBOOK...`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["run"]

_CLOCK = re.compile(r"\d+\.\d+ s\b")


def run(path: Path) -> dict[str, Any]:
    """A notebook with the outputs of its cells as they are today; a line that begins with ! is a command.

    Raises:
        Exception: whatever a cell raises.
    """
    book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    space: dict[str, Any] = {"__name__": "__main__", "_shell": _shell}
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        for number, cell in enumerate((cell for cell in book["cells"] if cell["cell_type"] == "code"), 1):
            source = re.sub(r"(?m)^!(.*)$", lambda found: f"_shell({found[1]!r})", "".join(cell["source"]))
            with contextlib.redirect_stdout(io.StringIO()) as told:
                exec(compile(source, f"{path.name}, cell {number}", "exec"), space)
            lines = [f"{line.rstrip()}\n" for line in told.getvalue().rstrip().splitlines()]
            cell["execution_count"] = number
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []
    finally:
        os.chdir(before)
    return book


def _shell(line: str) -> None:
    """Print what a command prints; nothing is told of how long it took, which is another time each time."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {**os.environ, "PATH": programs, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(line, shell=True, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{line}: {done.stderr}")
    print(_CLOCK.sub("... s", done.stdout))


def main() -> None:
    """Run what is named, and write it."""
    for name in sys.argv[1:]:
        path = Path(name).resolve()
        path.write_text(json.dumps(run(path), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
