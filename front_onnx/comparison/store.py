"""The folder of a comparison: a finished result is a small JSON file, and a run that was cut off goes on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from front_onnx.comparison.row import Row
from front_onnx.errors import OutputError
from front_onnx.store.atomic import atomic_write

__all__ = ["Store", "key_of"]


def key_of(about: Mapping[str, Any]) -> str:
    """The name of a result: a hash of all that decides it (source, request, method, samples, settings, version)."""
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Store:
    """Results by their key.

    Args:
        folder: made if it is not there.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder {folder} cannot be made: {error.strerror}") from None

    def get(self, key: str) -> Row | None:
        """A result that was kept; None if there is none that can be read."""
        try:
            return Row.from_data(json.loads((self.folder / f"{key}.json").read_text())["row"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, row: Row, about: Mapping[str, Any]) -> None:
        """Keep a result, and what it is of."""
        with atomic_write(self.folder / f"{key}.json") as staged, staged.writing():
            staged.path.write_text(json.dumps({"about": about, "row": row.as_data()}, indent=1, default=str) + "\n")

    def model(self, key: str) -> Path:
        """Where the model of a result lies, as long as it is the best of its size."""
        return self.folder / f"{key}.onnx"

    def clear(self, key: str) -> None:
        """Remove what a training left behind: checkpoints, and models of its seeds."""
        for path in self.folder.glob(f"{key}.*.run"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{key}.*.onnx*"):
            path.unlink()

    def drop(self, key: str) -> None:
        """Remove the model of a result."""
        self.clear(key)
        for path in self.folder.glob(f"{key}.*"):
            if path.suffix != ".json":
                path.unlink()
