"""What each method is worth: methods by directions, on three tasks, in one table.

    python benchmarks/methods/run.py --task digits --json methods.json
    python benchmarks/methods/run.py --task minilm --data wikitext-2 --json methods.json [--model minilm.onnx]
    python benchmarks/methods/run.py --task resnet --data cifar10-jpeg.npz --json methods.json

A method is what `--method` takes, `METHOD@SCALE` one with another scale, and `fresh` what the framework draws;
`calibrated` is calibrated on the task's samples, which have no labels, `made-up` on none.
Runs that the JSON file has are not repeated; `--table` only prints what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from digits import Digits  # noqa: E402
from minilm import MiniLM  # noqa: E402
from pictures import Pictures  # noqa: E402
from task import DIRECTIONS, FRESH, Task  # noqa: E402

import front_onnx  # noqa: E402

TASKS: dict[str, type[Task]] = {task.name: task for task in (Digits, MiniLM, Pictures)}
CALIBRATED = ("calibrated", "made-up")
METHODS = "front,front@ortho,front@amp,front@variance,front@fan-in,dft,lossless,depth=zero,fresh"


def one(task: Task, method: str, direction: str, seed: int) -> dict[str, Any]:
    """The figures of one run, or why there are none."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, _, scale = method.partition("@")
    sizes = task.sizes[direction]
    asked = {key: size if isinstance(size, int) else ",".join(map(str, size)) for key, size in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resized.onnx"
        how: dict[str, Any] = {} if name in (FRESH, *CALIBRATED) else {"method": name}
        if name in CALIBRATED:
            how["data"] = task.samples() if name == CALIBRATED[0] else "synthetic"
        try:
            front_onnx.resize(
                task.prepare(), output=path, scale=scale or "auto", seed=seed, validate=False, **asked, **how
            )
        except front_onnx.FrontError as error:
            return {"refused": str(error).splitlines()[0]}
        return {"figures": task.measure(path, seed, fresh=sizes if name == FRESH else None)}


def run(tasks: list[Task], methods: list[str], directions: list[str], seeds: int | None, jobs: int, out: Path) -> None:
    """Everything that the file does not have yet; it is written again after every run."""
    found = read(out)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = {}
        for task in tasks:
            rows = found.setdefault(task.name, {})
            if "source" not in rows:
                rows["source"] = task.measure(task.prepare(), 0, train=False)
                write(found, out)
            for direction in directions:
                for method in methods:
                    if method == FRESH and task.name == MiniLM.name:
                        continue
                    for seed in range(seeds or task.seeds):
                        key = f"{direction}/{method}/{seed}"
                        if key not in rows:
                            waiting[pool.submit(one, task, method, direction, seed)] = rows, key
        for number, future in enumerate(as_completed(waiting), 1):
            rows, key = waiting[future]
            try:
                rows[key] = future.result()
            except Exception as error:  # one run is no reason to lose the others; said, and tried again next time
                print(f"{key}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            write(found, out)
            print(f"{number} of {len(waiting)}: {key} {rows[key]}", file=sys.stderr, flush=True)


def read(path: Path) -> dict[str, Any]:
    """What was run before."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(found: dict[str, Any], path: Path) -> None:
    """All that was run, so that a file is whole whenever one looks."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1))
    os.replace(partial, path)


def table(found: dict[str, Any], task: type[Task]) -> str:
    """Markdown: a row for each method, a column for each direction."""
    rows = {key: value for key, value in found.get(task.name, {}).items() if key != "source"}
    directions = [d for d in DIRECTIONS if any(key.startswith(f"{d}/") for key in rows)]
    methods = list(dict.fromkeys(key.split("/")[1] for key in rows))
    source = " → ".join(cell([[value]]) for value in found[task.name]["source"])
    lines = [
        f"{task.name}: {' → '.join(task.figures)}, in %; the source: {source}",
        "",
        f"| method | {' | '.join(directions)} |",
        "|---" * (len(directions) + 1) + "|",
    ]
    refused = set()
    for method in methods:
        cells = []
        for direction in directions:
            runs = [value for key, value in rows.items() if key.startswith(f"{direction}/{method}/")]
            refused |= {f"{method}, {direction}: {value['refused']}" for value in runs if "refused" in value}
            figures = [value["figures"] for value in runs if "figures" in value]
            cells.append(cell(figures) if figures else "-" if runs else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in sorted(refused))])


def cell(runs: list[list[float]]) -> str:
    """Means over the seeds, and the deviation of the last figure."""
    columns = list(zip(*runs, strict=True))
    spread = f" ±{100 * stdev(columns[-1]):.1f}" if len(runs) > 1 else ""
    return " → ".join(f"{100 * mean(column):.1f}" for column in columns) + spread


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, action="append", required=True)
    parser.add_argument("--methods", default=METHODS, help="with ; between them where one has a comma")
    parser.add_argument("--directions", default=",".join(DIRECTIONS))
    parser.add_argument("--seeds", type=int, help="3 for digits and 1 for the others, unless told")
    parser.add_argument("--steps", type=int, help="of the short training")
    parser.add_argument("--rate", type=float, help="its learning rate")
    parser.add_argument("--data", type=Path, help="the folder of WikiText-2, or cifar10-jpeg.npz")
    parser.add_argument("--model", type=Path, help="an export of all-MiniLM-L6-v2")
    parser.add_argument("--cache", type=Path, default=ROOT / ".benchmark", help="what is made once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, default=Path("methods.json"))
    parser.add_argument("--table", action="store_true", help="print what the file has, and run nothing")
    options = parser.parse_args()
    tasks = [TASKS[name] for name in dict.fromkeys(options.task)]
    if not options.table:
        options.cache.mkdir(parents=True, exist_ok=True)
        made = [kind(options.cache, options.data, options.model, options.steps, options.rate) for kind in tasks]
        methods = options.methods.split(";" if ";" in options.methods else ",")
        run(made, methods, options.directions.split(","), options.seeds, options.jobs, options.json)
    found = read(options.json)
    print("\n\n".join(table(found, kind) for kind in tasks))


if __name__ == "__main__":
    main()
