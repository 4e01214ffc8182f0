"""Interrupt, starve and race the writing of results, many times, and count what is left behind.

python tests/robustness.py              # 200 times each, a few minutes
python tests/robustness.py --times 20

Each try runs `front-onnx resize` in a process of its own over an output that is there already, as one file and with a
data file. Counted: what can be read and is neither the old nor a new result (mixed), what cannot be read (partial), the
old result gone although the run failed (lost), files that nobody named (stray), staging folders left (kill -9 may).
"""

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from small import mlp

import front_onnx
import front_onnx.check.validate  # what a child would import again
from front_onnx.commands import main

COUNTED = ("old", "new", "partial", "mixed", "lost", "stray", "staging", "wrong exit")


def source(path: Path, factor: float, external: bool) -> Path:
    """Write a model whose weights are told apart by a factor."""
    model = mlp(depth=4, width=96)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.float32(factor) * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.weights", size_threshold=100)
    return path


def digest(path: Path) -> str | None:
    """A hash of all values that a model leads to; None if it cannot be read."""
    try:
        tensors = onnx.load(path).graph.initializer
        found = hashlib.sha256()
        for tensor in sorted(tensors, key=lambda tensor: tensor.name):
            found.update(tensor.name.encode() + numpy_helper.to_array(tensor).tobytes())
        return found.hexdigest()
    except Exception:
        return None


def child(arguments: list[str], before: Callable[[], None] = lambda: None) -> int:
    """Run the command in a fork, which has all modules already; its process id."""
    process = os.fork()
    if process == 0:
        code = 1
        with suppress(BaseException):
            silence = os.open(os.devnull, os.O_RDWR)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            before()
            try:
                main(arguments)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        os._exit(code)
    return process


def ended(process: int) -> int:
    """The exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Place:
    """A folder with two sources and an output that is there already."""

    def __init__(self, folder: Path, external: bool) -> None:
        self.folder, self.out = folder, folder / "out" / "out.onnx"
        self.out.parent.mkdir(parents=True)
        self.sources = [source(folder / f"source{n}.onnx", 1.0 + n, external) for n in range(3)]
        self.known = [self._reference(path) for path in self.sources]
        started = time.perf_counter()
        assert ended(child(self.command(0))) == 0
        self.seconds = time.perf_counter() - started
        self.expected = {"out.onnx", "out.onnx.data"} if external else {"out.onnx"}

    def _reference(self, path: Path) -> str | None:
        front_onnx.resize(path, depth=6, output=self.folder / "reference.onnx", validate=False)
        return digest(self.folder / "reference.onnx")

    def command(self, number: int) -> list[str]:
        return ["resize", str(self.sources[number]), "--depth", "6", "--no-validate", "-o", str(self.out)]

    def reset(self) -> None:
        """Lay the old result out again."""
        for path in self.out.parent.iterdir():
            path.chmod(0o700)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert ended(child(self.command(0))) == 0

    def left(self, failed: bool) -> Iterator[str]:
        """What stands there now."""
        found = digest(self.out) if self.out.exists() else "nothing"
        if found is None:
            yield "partial"
        elif found == self.known[0]:
            yield "old"
        elif found in self.known:
            yield "new"
        else:
            yield "lost" if found == "nothing" else "mixed"
        names = {path.name for path in self.out.parent.iterdir()}
        yield from ["staging"] * any(name.startswith(".front-onnx-") for name in names)
        yield from ["stray"] * bool({name for name in names if not name.startswith(".front-onnx-")} - self.expected)


def told(place: Place, number: int, code: int) -> Iterator[str]:
    """A signal at some moment of the run."""
    process = child(place.command(1))
    time.sleep(random.uniform(0, 1.2 * place.seconds))
    with suppress(ProcessLookupError):
        os.kill(process, number)
    found = ended(process)
    # Before the command has taken over the signal, the system ends the process by it.
    yield from ["wrong exit"] * (found not in (0, code, -number))
    yield from place.left(found != 0)


def full(place: Place) -> Iterator[str]:
    """Files may not grow over some size, less than the result has."""
    size = max(path.stat().st_size for path in place.out.parent.iterdir())
    limit = random.randrange(1, size)
    found = ended(child(place.command(1), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
    yield from ["wrong exit"] * (found != 1)
    yield from place.left(True)


def read_only(place: Place) -> Iterator[str]:
    place.out.chmod(0o444)
    found = ended(child(place.command(1)))
    yield from ["wrong exit"] * (found != 2)
    yield from place.left(True)


def race(place: Place) -> Iterator[str]:
    """Two runs at once on one output, the second a moment later."""
    first = child(place.command(1))
    time.sleep(random.uniform(0, 0.3 * place.seconds))
    second = child(place.command(2))
    yield from ["wrong exit"] * ((ended(first), ended(second)) != (0, 0))
    yield from place.left(False)


CASES: dict[str, Callable[[Place], Iterator[str]]] = {
    "kill -9": lambda place: told(place, signal.SIGKILL, -9),
    "SIGTERM": lambda place: told(place, signal.SIGTERM, 143),
    "SIGHUP": lambda place: told(place, signal.SIGHUP, 129),
    "disk full": full,
    "read-only target": read_only,
    "two writers": race,
}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 1 MB, where this may be mounted (Linux, root)."""
    where = folder / "disk"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True)
    try:
        yield where if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(where)], check=True)


def disk_full(place: Place, disk: Path) -> Iterator[str]:
    """A file system with no room for a second result."""
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free
    filler.write_bytes(b"\0" * max(0, free - random.randrange(4096, 300_000)))
    found = ended(child(place.command(1)))
    filler.unlink()
    yield from ["wrong exit"] * (found not in (0, 1))
    yield from place.left(True)


def report(name: str, kind: str, times: int, counts: Counter[str]) -> None:
    print(f"| {name} | {kind} | {times} | " + " | ".join(str(counts[column]) for column in COUNTED) + " |", flush=True)


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    bad = 0
    print("| case | output | tries | " + " | ".join(COUNTED) + " |\n|---|---|" + "---|" * (len(COUNTED) + 1))
    for external in (False, True):
        kind = "with data" if external else "one file"
        with tempfile.TemporaryDirectory() as temporary:
            place = Place(Path(temporary) / "place", external)
            for name, case in CASES.items():
                counts: Counter[str] = Counter()
                for _ in range(options.times):
                    place.reset()
                    counts.update(case(place))
                report(name, kind, options.times, counts)
                allowed = {"old", "new"} | ({"staging"} if name == "kill -9" else set())
                bad += sum(count for found, count in counts.items() if found not in allowed)
            with small_disk(Path(temporary)) as disk:
                if disk is None:
                    continue
                counts = Counter()
                place.out = disk / "out.onnx"
                for _ in range(options.times):
                    place.reset()
                    counts.update(disk_full(place, disk))
                report("no space left", kind, options.times, counts)
                bad += sum(count for found, count in counts.items() if found not in ("old", "new"))
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(run())
