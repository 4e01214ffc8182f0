"""Put a result in its place whole, or leave everything as it was.

A result is made in a staging folder beside its target and moved when it is complete. A model with a data file is two
files, and no system moves two files at once. So the data file never replaces another: it gets a name that is free,
and moving the model, which names it, is the one step that replaces the old pair by the new one. Whatever happens in
between, the name of the model leads to a model with its own data.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from front_onnx.errors import OutputError, RequestError
from front_onnx.read.external_data import map_file
from front_onnx.read.wire import cut
from front_onnx.store.interrupts import uninterrupted

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows, where two runs on one output are not kept apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["Staged", "atomic_write", "named_file", "replaceable"]


@dataclass(frozen=True)
class Staged:
    """Where to write what will appear at `target`.

    Attributes:
        target: the path as the user gave it, for messages.
        path: the file to write.
        data_name: the name that a data file beside it has to have, and is referred to by.
    """

    target: Path
    path: Path
    data_name: str

    @property
    def data_path(self) -> Path:
        """The data file to write."""
        return self.path.with_name(self.data_name)

    def check_data(self) -> None:
        """Refuse a data file that nobody who opens the target by its name would find.

        Raises:
            RequestError: the target is a link into another folder; a model's data file is looked for
                beside the link, by onnx and onnxruntime alike.
        """
        real = Path(os.path.realpath(self.target))
        if not self.target.parent.samefile(real.parent):
            line = f"the output {self.target} is a link into another folder, and a data file belongs beside the model"
            raise RequestError(line, hint=f"-o {real}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Tell what the system refuses in terms of the target.

        Raises:
            OutputError: the system refused to write.
        """
        try:
            yield
        except OSError as error:
            raise _cannot(self.target, error) from None


@contextlib.contextmanager
def atomic_write(target: Path, *, read: Collection[Path] = ()) -> Iterator[Staged]:
    """Stage a file, and a data file beside it, and move them into place when the block ends well.

    Where the target is a link, what it leads to is replaced. A data file that stands there is removed if the replaced
    model was its owner, and is never written over. If the block raises, or the process is told to end (SIGINT,
    SIGTERM, SIGHUP, handled by raising), nothing is left behind and what stood there before stays.

    Args:
        target: the file to write.
        read: files that must stay, whoever owns them.

    Raises:
        RequestError: the target is a folder, a device, a pipe or read-only, or its folder does not exist;
            OutputError: the system refuses to write.
    """
    real = replaceable(target)
    folder: tempfile.TemporaryDirectory[str] | None = None
    try:
        with uninterrupted():
            folder = _staging(target, real)
        with _locked(real.parent):  # another run may be between two moves
            name = _free_data_name(real, read)
        staged = Staged(target, Path(folder.name) / real.name, name)
        yield staged
        with staged.writing(), uninterrupted(), _locked(real.parent):
            replaceable(target)  # it may have changed meanwhile
            _commit(staged, real, {path.resolve() for path in read})
    finally:
        if folder is not None:
            with uninterrupted(), contextlib.suppress(OSError):
                folder.cleanup()


def named_file(given: str | os.PathLike[str]) -> Path:
    """Read the path of an output as a user writes it.

    Raises:
        RequestError: it ends as only folders do.
    """
    text = os.fspath(given)
    if not text or text.endswith(("/", os.sep)):
        raise RequestError(f"the output {text or '.'} is a folder", hint="name a file in it")
    return Path(text)


def replaceable(target: Path) -> Path:
    """Follow the target to the file that writing it would replace or make.

    Raises:
        RequestError: there can be no such file.
    """
    try:
        status = os.stat(target)
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise RequestError(f"the output {target} cannot be written: {error.strerror}") from None
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise RequestError(f"the output {target} is a folder")
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise RequestError(f"the output {target} is no regular file", hint="choose another -o")
    real = Path(os.path.realpath(target))
    if not real.parent.is_dir():
        raise RequestError(f"the output folder {real.parent} does not exist")
    if status is not None and (not status.st_mode & 0o222 or not os.access(real, os.W_OK)):
        raise RequestError(f"the output {target} is read-only", hint="choose another -o")
    return real


def _staging(target: Path, real: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(dir=real.parent, prefix=".front-onnx-")
    except OSError as error:
        raise OutputError(f"the output folder {target.parent} cannot be written to: {error.strerror}") from None


def _cannot(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target} cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs from moving files in this folder; the lock ends with the process at the latest."""
    if fcntl is None:  # pragma: no cover
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _data_names(name: str) -> Iterator[str]:
    """NAME.data, NAME.1.data, NAME.2.data ..."""
    yield f"{name}.data"
    for number in itertools.count(1):
        yield f"{name}.{number}.data"


def _owned(real: Path, keep: Collection[Path] = ()) -> set[str]:
    """Names of the data files that belong to the model which stands at `real` and to nothing else that is known."""
    pattern = re.compile(re.escape(real.name) + r"(\.\d+)?\.data")
    with contextlib.suppress(Exception):  # what stands there need not be a model
        data = map_file(real)
        proto = onnx.ModelProto.FromString(cut(data, 1024)[0])
        named = {e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"}
        own = {name for name in named if pattern.fullmatch(name)}
        return {name for name in own if _is_plain(real.with_name(name)) and real.with_name(name) not in keep}
    return set()


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _free_data_name(real: Path, read: Collection[Path]) -> str:
    """The first name that nothing has, but for what the model there owns and nobody reads."""
    owned = _owned(real, {path.resolve() for path in read})
    return next(name for name in _data_names(real.name) if name in owned or not os.path.lexists(real.with_name(name)))


def _commit(staged: Staged, real: Path, keep: Collection[Path]) -> None:
    """Move the model, its data first, so that the target's name leads to a model and its own data after each move."""
    owned = _owned(real, keep)
    if not os.path.exists(staged.data_path):
        os.replace(staged.path, real)
        _remove(real, owned)
        return
    names = itertools.chain([staged.data_name], _data_names(real.name))
    name = next(name for name in names if not os.path.lexists(real.with_name(name)))
    os.rename(staged.data_path, real.with_name(name))  # nobody else moves anything here: see `_locked`
    try:
        _replace(staged, real, name)
    except BaseException:
        real.with_name(name).unlink()
        raise
    _remove(real, owned)
    if name != staged.data_name:
        _settle(staged, real, name)


def _settle(staged: Staged, real: Path, name: str) -> None:
    """Give the data the wanted name, which the old pair has left; whatever fails, the pair is whole as it is."""
    wanted = real.with_name(staged.data_name)
    if os.path.lexists(wanted):
        return
    with contextlib.suppress(OSError):
        os.link(real.with_name(name), wanted)
        try:
            _replace(staged, real, staged.data_name)
        except BaseException:
            wanted.unlink()
            raise
        real.with_name(name).unlink()  # onnx reads no data file of two names, so neither name may stay for long


def _replace(staged: Staged, real: Path, data_name: str) -> None:
    """Replace the target by the staged model, or by one that differs in the name of its data."""
    if data_name == staged.data_name:
        os.replace(staged.path, real)
        return
    proto = onnx.load_model(staged.path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and entry.value == staged.data_name:
                entry.value = data_name
    renamed = staged.path.with_name(f"{staged.path.name[:200]}.renamed")
    renamed.write_bytes(proto.SerializeToString(deterministic=True))
    os.replace(renamed, real)


def _remove(real: Path, names: Collection[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            real.with_name(name).unlink()
