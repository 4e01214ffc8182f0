"""Export what the tests compare with, over all cores, before they run; what is there already is kept.

python tests/zoo/export_all.py [--more]

What the whole run needs; with `--more`, what all tests need. A file's name carries what it depends on (the zoo's code,
the exporters' versions); files of other versions are removed. Exports that only one test takes are made by that test.
"""

import argparse
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the zoo is a package beside the tests

from zoo.architectures import ARCHITECTURES
from zoo.cache import FOLDER
from zoo.pairs import PAIRS
from zoo.rows import rows

# Name, exporter, size, opset, dynamic axes, and whether it is exported though tests/exports keeps it.
Job = tuple[str, str, str, int | None, bool, bool]


def jobs(more: bool) -> list[Job]:
    """Every architecture, exporter, size, opset and form of the rows, once, those that take longest first."""
    wanted: dict[Job, None] = {("minilm", "torchscript", "source", None, True, False): None}
    # Many tests take the sources that TorchScript writes.
    wanted |= {(name, "torchscript", "source", None, True, False): None for name in ARCHITECTURES}
    for row in rows():
        if more or not row.more:
            for label in ("source", row.label):
                wanted[row.name, row.exporter, label, row.opset, row.dynamic, False] = None
    if more:
        wanted["minilm", "dynamo", "source", None, True, False] = None
        for name, exporter, label in PAIRS.values():
            for size in ("source", label):
                wanted[name, exporter, size, None, True, True] = None
    return sorted(wanted, key=lambda job: job[1] != "dynamo")


def run(job: Job) -> None:
    """Export one."""
    import torch

    from zoo.export import export, minilm

    torch.set_num_threads(1)
    name, exporter, label, opset, dynamic, anew = job
    if name == "minilm":
        minilm(exporter, cache_dir=FOLDER)
        return
    architecture = ARCHITECTURES[name]
    export(architecture, architecture.size(label), exporter, opset, dynamic, cache_dir=FOLDER, anew=anew)


def main() -> None:
    """Remove what is out of date, export what is missing."""
    from zoo.export import fingerprint

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", action="store_true", help="what all tests need, not only the whole run")
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.*"):
        if path.suffix == ".lock" or (path.suffix == ".onnx" and not path.stem.endswith(fingerprint())):
            path.unlink()
    before, started = len(list(FOLDER.glob("*.onnx"))), time.perf_counter()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for _ in pool.imap_unordered(run, jobs(given.more)):
            pass
    made = len(list(FOLDER.glob("*.onnx"))) - before
    print(f"{made} models exported in {time.perf_counter() - started:.0f} s, {before} were there")


if __name__ == "__main__":
    main()
