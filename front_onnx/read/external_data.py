"""Data files beside a model: which ones may be read, and reading them without loading them.

A model file is input from anywhere, so the location it names is not trusted: only a regular file under the
model's folder, or under the folder of the model's real path (the Hugging Face cache keeps model and data as
symlinks into one folder), is opened, and offset and length are checked against its size first.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path, PureWindowsPath

from onnx import TensorProto

from front_onnx.errors import DamagedError
from front_onnx.read.tensor_data import raw_length

__all__ = ["DataFiles", "is_external", "map_file"]


def is_external(tensor: TensorProto) -> bool:
    """True if the tensor's values lie in a data file."""
    return tensor.HasField("data_location") and tensor.data_location == TensorProto.EXTERNAL


def map_file(path: Path) -> mmap.mmap | bytes:
    """The file's bytes, mapped read-only (b"" for an empty file).

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise OSError(errno.EINVAL, f"it is {kind}")
        if status.st_size == 0:
            return b""
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)


class DataFiles:
    """The data files of the model at `model`, opened on first use.

    Args:
        model: path of the model file as the user gave it.
    """

    def __init__(self, model: Path) -> None:
        self._folders = list(
            dict.fromkeys([Path(os.path.realpath(model.parent)), Path(os.path.realpath(model)).parent])
        )
        self._open: dict[Path, mmap.mmap | bytes] = {}

    @property
    def size(self) -> int:
        """The bytes of all data files seen so far."""
        return sum(len(data) for data in self._open.values())

    @property
    def paths(self) -> list[Path]:
        """The real paths of all data files seen so far."""
        return list(self._open)

    @property
    def maps(self) -> list[mmap.mmap]:
        """The files now mapped."""
        return [data for data in self._open.values() if isinstance(data, mmap.mmap)]

    def find(self, tensor: TensorProto) -> tuple[mmap.mmap | bytes, int, int]:
        """The mapped file of an external tensor, and the offset and length of its values there, checked.

        Raises:
            DamagedError: location outside the model's folder, no such file, range outside it, wrong length.
        """
        entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
        location = entries.get("location", "")
        wanted = raw_length(tensor)
        offset = _number(tensor, entries, "offset", 0)
        length = _number(tensor, entries, "length", wanted)
        if length != wanted:
            raise DamagedError(
                f"tensor {tensor.name!r} has another byte length than its shape", got=length, wanted=wanted
            )
        data = self._file(tensor, location)
        if offset + length > len(data):
            raise DamagedError(
                f"tensor {tensor.name!r} lies outside its data file {location!r}",
                got=f"{len(data)} bytes",
                wanted=f"{offset + length}",
            )
        return data, offset, length

    def _file(self, tensor: TensorProto, location: str) -> mmap.mmap | bytes:
        refused = f"tensor {tensor.name!r} names the data file {location!r}"
        if not location or "\0" in location:
            raise DamagedError(f"{refused}, which is no file name")
        if os.path.isabs(location) or PureWindowsPath(location).drive or location[0] in "/\\":
            raise DamagedError(f"{refused}, an absolute path", wanted="a file under the model's folder")
        found = next((folder / location for folder in self._folders if os.path.lexists(folder / location)), None)
        real = Path(os.path.realpath(found if found is not None else self._folders[0] / location))
        if not any(real.is_relative_to(folder) for folder in self._folders):
            raise DamagedError(f"{refused}, which leads out of the model's folder", got=real)
        if real not in self._open:
            try:
                self._open[real] = map_file(real)
            except FileNotFoundError:
                raise DamagedError(f"{refused}, which does not exist", wanted=self._folders[0] / location) from None
            except (OSError, ValueError) as error:
                raise DamagedError(f"{refused}, which cannot be read: {getattr(error, 'strerror', error)}") from None
        return self._open[real]


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise DamagedError(f"tensor {tensor.name!r} has an impossible {key} of its external data", got=repr(text))
    return int(text)
