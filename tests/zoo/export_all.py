"""Export what the tests compare with, over all cores, before they run; what is there already is kept.

python tests/zoo/export_all.py

A file's name carries what it depends on (the zoo's code, the exporters' versions); files of other versions are removed.
Exports that only one test takes are made by that test.
"""

import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the zoo is a package beside the tests

from zoo.architectures import ARCHITECTURES
from zoo.cache import FOLDER
from zoo.opsets import EXPORTERS
from zoo.rows import default_rows, opset_rows

Job = tuple[str, str, str, int | None, bool]


def jobs() -> list[Job]:
    """Every architecture, exporter, size, opset and form of the rows, once, those that take longest first."""
    wanted: dict[Job, None] = {("minilm", exporter, "source", None, True): None for exporter in EXPORTERS}
    for row in (*default_rows(), *opset_rows()):
        for label in ("source", row.label):
            wanted[row.name, row.exporter, label, row.opset, row.dynamic] = None
    return sorted(wanted, key=lambda job: job[1] != "dynamo")


def run(job: Job) -> None:
    """Export one."""
    import torch

    from zoo.export import export, minilm

    torch.set_num_threads(1)
    name, exporter, label, opset, dynamic = job
    if name == "minilm":
        minilm(exporter, cache_dir=FOLDER)
        return
    architecture = ARCHITECTURES[name]
    export(architecture, architecture.size(label), exporter, opset, dynamic, cache_dir=FOLDER)


def main() -> None:
    """Remove what is out of date, export what is missing."""
    from zoo.export import fingerprint

    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.*"):
        if path.suffix == ".lock" or (path.suffix == ".onnx" and not path.stem.endswith(fingerprint())):
            path.unlink()
    before, started = len(list(FOLDER.glob("*.onnx"))), time.perf_counter()
    with multiprocessing.get_context("spawn").Pool() as pool:
        for _ in pool.imap_unordered(run, jobs()):
            pass
    made = len(list(FOLDER.glob("*.onnx"))) - before
    print(f"{made} models exported in {time.perf_counter() - started:.0f} s, {before} were there")


if __name__ == "__main__":
    main()
