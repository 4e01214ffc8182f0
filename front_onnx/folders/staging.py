"""Write a folder whole: beside its place, and moved there when it is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from front_onnx.errors import OutputError, RequestError
from front_onnx.store.interrupts import uninterrupted

__all__ = ["refuse_existing", "staged_folder"]


def refuse_existing(target: Path) -> None:
    """Let a folder pass that is not there yet, or empty.

    Raises:
        RequestError: something is there, or there is no place for it.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise RequestError(f"the output {target} exists", hint="-o NEW_FOLDER, a new folder or an empty one")
    if not target.absolute().parent.is_dir():
        raise RequestError(f"the output folder {target.absolute().parent} does not exist")


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A folder beside the target that becomes it when the block ends well, and is gone otherwise.

    Raises:
        RequestError: the target is there.
        OutputError: the system refuses to write.
    """
    refuse_existing(target)
    folder: str | None = None
    try:
        with uninterrupted():
            folder = tempfile.mkdtemp(dir=target.absolute().parent, prefix=".front-onnx-")
        yield Path(folder)
        with uninterrupted():
            refuse_existing(target)
            if target.is_dir():
                target.rmdir()
            os.chmod(folder, 0o777 & ~_umask())
            os.rename(folder, target)
            folder = None
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        if folder is not None:
            with uninterrupted():
                shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
