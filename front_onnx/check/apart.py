"""A process beside this one for what may crash or hang: onnx's checker, shape inference, onnxruntime.

It is started once, on first use or ahead of it (`start_ahead`), and serves all checks of this process. Each request has
a time limit, all of them a memory limit where the system knows one; a process that crashes or takes too long is ended,
and whoever asked is told in one line. It ends with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.check import worker
from front_onnx.store.memory import free_memory

__all__ = ["Apart", "ApartError", "RemoteSession", "apart", "hurried", "start_ahead", "threads_for"]

_SECONDS = 5.0  # of work for a request about a small file
_PER_SECOND = 10 << 20  # bytes of a model that a second more is given for
_WALL = 15  # times that, where the process gets no processor to work on
_START = 120.0
_MEMORY, _TIMES = 768 << 20, 64  # bytes that checks may take: so many, and so many times those of model and inputs
_SMALL = 16 << 20
_Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


class ApartError(Exception):
    """What was asked failed beside: the library's own words, or how its process ended."""


class Apart:
    """The process beside. One request at a time."""

    def __init__(self) -> None:
        path = Path(worker.__file__)
        windows = sys.platform == "win32"
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=not windows,  # Ctrl-C ends this process, which ends that one
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) if windows else 0,
        )
        self.owner = os.getpid()
        self._answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._ready = False
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while (answer := worker.receive(self._process.stdout)) is not None:
                self._answers.put(answer)
        self._answers.put(None)

    @property
    def alive(self) -> bool:
        """True if it can be asked."""
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, do: str, size: int = 0, arrays: Mapping[str, np.ndarray] | None = None, **message: Any) -> _Answer:
        """Have something done; see `worker.py` for what there is.

        Args:
            do: what.
            size: bytes of the model that it is about.
            arrays: by name.
            message: plain data.

        Raises:
            ApartError: it failed, crashed, or took too long.
        """
        with self._lock:
            try:
                if not self._ready:
                    self._wait(_START, _START)
                    self._ready = True
                fed = sum(array.nbytes for array in (arrays or {}).values())
                self._send(do, arrays, {**message, "memory": _memory(size + fed)})
                seconds = _patience[-1] * _allowed(size)
                answer = self._wait(seconds, _WALL * seconds)
            except BaseException:
                self.end()
                raise
        if "error" in answer[0]:
            raise ApartError(answer[0]["error"])
        return answer

    def _send(self, do: str, arrays: Mapping[str, np.ndarray] | None, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, OSError):  # how it ended is told by who waits for the answer
            worker.send(self._process.stdin, {"do": do, **message}, dict(arrays or {}))

    def _wait(self, seconds: float, wall: float) -> _Answer:
        started, worked = time.monotonic(), self._worked()
        while True:
            try:
                answer = self._answers.get(timeout=0.25)
            except queue.Empty:
                passed, now = time.monotonic() - started, self._worked()
                spent = passed if now is None or worked is None else min(passed, now - worked)
                if spent > seconds or passed > wall:
                    line = f"it took longer than {seconds:.3g} s and was stopped"
                    raise ApartError(f"{line}; FRONT_ONNX_CHECK_SECONDS=60 gives it more") from None
                continue
            if answer is None:
                raise ApartError(self._ended())
            return answer

    def _worked(self) -> float | None:
        """Seconds of processor time that it has used; None where the system does not say."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return None

    def _ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        with contextlib.suppress(ValueError, TypeError):
            return f"it crashed ({signal.Signals(-code).name})"
        return f"it crashed (exit code {code})"

    def end(self) -> None:
        """End the process, and wait until it is gone."""
        if self.owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            self._process.wait(5)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if stream is self._process.stdin and stream is not None:
                    stream.close()


class RemoteSession:
    """An onnxruntime session beside."""

    _keys = itertools.count()

    def __init__(self, path: str | os.PathLike[str], size: int) -> None:
        self._apart, self._key, self._size = apart(), str(next(self._keys)), size
        path, threads = os.path.abspath(path), threads_for(size)
        about, _ = self._apart.ask("load", size, key=self._key, path=path, threads=threads)
        self.inputs: list[str] = about["inputs"]
        self.outputs: list[str] = about["outputs"]

    def described(self, feed: Mapping[str, np.ndarray]) -> dict[str, tuple[list[int], bool]]:
        """Run it: by output, its shape, and whether all its numbers are finite."""
        about, _ = self._apart.ask("run", self._size, feed, key=self._key, give=False)
        return {name: (shape, finite) for name, (shape, finite) in about["outputs"].items()}

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run it: its outputs by name, sequences left out."""
        return self._apart.ask("run", self._size, feed, key=self._key, give=True)[1]

    def close(self) -> None:
        """Give its memory back."""
        if self._apart.alive:
            with contextlib.suppress(ApartError):
                self._apart.ask("close", key=self._key)


def threads_for(size: int) -> int:
    """Threads for a session of a model of so many bytes, 0 for all: those of a small one start longer than they run."""
    return 1 if size < _SMALL else 0


_running: list[Apart] = []
_patience = [1.0]


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Within this, requests get half the time: what a source takes that long for, its result may take twice as long."""
    _patience.append(0.5)
    try:
        yield
    finally:
        _patience.pop()


def apart() -> Apart:
    """The process beside, started if there is none.

    Raises:
        OSError: it cannot be started.
    """
    if not _running or not _running[0].alive:
        _running[:] = [Apart()]
    return _running[0]


def start_ahead() -> None:
    """Start it now, for checks that come later: it gets ready meanwhile."""
    with contextlib.suppress(OSError):
        apart()


@atexit.register
def _end() -> None:
    for process in _running:
        process.end()


def _allowed(size: int) -> float:
    """Seconds for a request about a model of a size."""
    with contextlib.suppress(KeyError, ValueError):
        return max(0.1, float(os.environ["FRONT_ONNX_CHECK_SECONDS"]))
    return _SECONDS + size / _PER_SECOND


def _memory(size: int) -> int:
    """Bytes that checks of a model and inputs of a size may take: nothing that a machine does not have."""
    wanted = _MEMORY + _TIMES * size
    free = free_memory()
    return wanted if free is None else max(_MEMORY, min(wanted, free * 4 // 5))
