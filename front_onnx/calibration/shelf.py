"""Where activations of all samples lie between two steps: in memory up to a limit, beyond it in files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

from front_onnx.errors import OutputError

__all__ = ["Shelf"]


class Shelf:
    """Arrays by tensor and batch. Files lie in a folder of their own that is gone afterwards.

    Args:
        limit: bytes kept in memory; what is put there later goes into files.
        folder: where that folder is made; the system's for temporary files if None.

    Attributes:
        peak: the most bytes that were in memory at once.
        spilled: bytes that were written to files.
    """

    def __init__(self, limit: int, folder: Path | None = None) -> None:
        self.limit, self.peak, self.spilled = limit, 0, 0
        self._place = folder
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: dict[tuple[str, int], np.ndarray | Path] = {}
        self._bytes = self._count = 0

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def put(self, name: str, batch: int, array: np.ndarray) -> None:
        """Keep an array."""
        self.drop(name, batch)
        if self._bytes + array.nbytes > self.limit and array.dtype.kind != "O":
            self._held[name, batch] = self._written(array)
            self.spilled += array.nbytes
            return
        self._bytes += array.nbytes
        self.peak = max(self.peak, self._bytes)
        self._held[name, batch] = array

    def _written(self, array: np.ndarray) -> Path:
        """The file that an array was written to.

        Raises:
            OutputError: there is no place for it.
        """
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="front-onnx-", dir=self._place)
            path = Path(self._folder.name) / f"{self._count}.npy"
            self._count += 1
            np.save(path, array)
        except OSError as error:
            where = self._folder.name if self._folder is not None else self._place or tempfile.gettempdir()
            hint = "--memory with more, or TMPDIR with room"
            raise OutputError(
                f"activations cannot be written to {where}: {error.strerror or error}", hint=hint
            ) from error
        return path

    def get(self, name: str, batch: int) -> np.ndarray:
        """An array that was put here."""
        found = self._held[name, batch]
        return np.load(found) if isinstance(found, Path) else found

    def drop(self, name: str, batch: int) -> None:
        """Forget an array, if it is there."""
        found = self._held.pop((name, batch), None)
        if isinstance(found, Path):
            found.unlink()
        elif found is not None:
            self._bytes -= found.nbytes
