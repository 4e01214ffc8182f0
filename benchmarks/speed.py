"""How fast and how lean: one table, in one run, on this machine.

    python benchmarks/speed.py            # the kernel rows and the whole-model row
    python benchmarks/speed.py --kernel   # the kernel rows only

Every time stands beside its floor: what it takes to read the input and write the output once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy.fft
from bert import Bert, measured_resize, write_bert

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from front_onnx.read.model_file import read_model  # noqa: E402
from front_onnx.transform.maps import Dct  # noqa: E402
from front_onnx.transform.stack import resize_stack  # noqa: E402

SOURCE, TARGET = (12, 768, 3072), (6, 384, 1536)


def best(do: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs in seconds, after one to warm up: the least disturbed one."""
    do()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)


def kernel_rows(repeats: int) -> list[tuple[str, float, float]]:
    """One stack of weights, float32: (name, seconds, ratio to the floor)."""
    stack = np.random.default_rng(0).standard_normal(SOURCE, dtype=np.float32)
    result = np.empty(TARGET, np.float32)
    depth, *axes = [Dct(n, m, min(n, m)) for n, m in zip(SOURCE, TARGET, strict=True)]
    low = tuple(slice(size) for size in TARGET)

    def floor() -> None:
        for block in stack:
            block.sum()
        result.fill(1)

    def ours() -> np.ndarray:
        return resize_stack(list(stack), depth, axes)

    def plain() -> np.ndarray:
        return scipy.fft.idctn(scipy.fft.dctn(stack, norm="ortho")[low], norm="ortho")

    error = np.abs(ours() - plain()).max() / np.abs(plain()).max()
    assert error < 1e-5, error
    least = best(floor, repeats)
    rows = [("floor: read the input, write the output", least)]
    rows += [("front-onnx", best(ours, repeats)), ("scipy dctn, crop, idctn", best(plain, 3))]
    return [(name, seconds, seconds / least) for name, seconds in rows]


def whole_model_rows(repeats: int) -> list[tuple[str, float, float, float | None]]:
    """BERT-base to 6 layers of 384: (name, seconds, ratio to the floor, MB of memory above the imports)."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "bert.onnx", Path(folder) / "out.onnx"
        write_bert(source, Bert())

        def floor() -> None:
            (Path(folder) / "copy.onnx").write_bytes(source.read_bytes())

        least = best(floor, repeats)
        (Path(folder) / "copy.onnx").unlink()
        runs = [measured_resize(source, target, depth=6, width=384, validate=False) for _ in range(repeats)]
        seconds, memory = (min(column) for column in zip(*runs, strict=True))
        read_model(target)
        size = source.stat().st_size / 1e6
    return [
        (f"floor: read and write the {size:.0f} MB file", least, 1.0, None),
        ("front-onnx, 12 x 768 to 6 x 384", seconds, seconds / least, memory / 1e6),
    ]


def show(title: str, rows: Iterable[tuple[str, float, float, float | None]]) -> None:
    print(f"\n{title}\n{'':44}{'time':>10}{'x floor':>10}{'memory':>10}")
    for name, seconds, ratio, memory in rows:
        used = "" if memory is None else f"{memory:7.0f} MB"
        print(f"{name:44}{seconds * 1e3:7.1f} ms{ratio:10.1f}{used:>10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="store_true", help="only the kernel rows")
    parser.add_argument("--repeats", type=int, default=9, help="runs per row; the shortest counts")
    options = parser.parse_args()
    show(f"float32 {list(SOURCE)} to {list(TARGET)}", [(*row, None) for row in kernel_rows(options.repeats)])
    if not options.kernel:
        show("whole model", whole_model_rows(min(3, options.repeats)))


if __name__ == "__main__":
    main()
