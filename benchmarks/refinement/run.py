"""What refinement is worth: FRONT, FRONT++ and plain fine-tuning, extracted and initialised at half the size.

python benchmarks/refinement/run.py digits
python benchmarks/refinement/cifar.py --data cifar10-jpeg.npz --out FOLDER
python benchmarks/refinement/run.py cifar --folder FOLDER

For every source: energy in the low band, accuracy; then extract, init to half the depth and to half the width, and the
accuracy before and after each of 5 epochs, 3 seeds. Writes NAME.json and NAME.png beside the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from front_onnx.pictures import new_figure, save_figure

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
EPOCHS, SEEDS = 5, 3

# How each source is made of the trained one; None leaves it as it is.
SOURCES: dict[str, dict[str, Any] | None] = {
    "FRONT": None,
    "fine-tuned, no L_reg": {"lam": 0.0},
    "FRONT++, mean, 2e-3": {"lam": 2e-3, "reduction": "mean"},
    "FRONT++, sum, 2e-3": {"lam": 2e-3, "reduction": "sum"},
    "FRONT++, sum, 2e-2": {"lam": 2e-2, "reduction": "sum"},
    "FRONT++, sum, 2e-3, own teacher": {"lam": 2e-3, "reduction": "sum", "lr": 2e-4, "teacher": True},
}
RANDOM = "random weights"


@dataclass(frozen=True)
class Setup:
    """A source and its data.

    Attributes:
        model, train, test: files.
        targets: sizes by name.
        samples: of `train` that are used.
        refining: epochs of refinement.
        batch: samples in a batch.
        lr: of the refinement, and of the short trainings.
    """

    model: Path
    train: Path
    test: Path
    targets: dict[str, dict[str, int]]
    samples: int
    refining: int
    batch: int
    lr: tuple[float, float]


def digits(folder: Path) -> Setup:
    """The model that ships, and scikit-learn's digits."""
    sys.path.insert(0, str(ROOT / "models" / "digits"))
    from data import load_split

    for name, part in zip(("train", "test"), load_split(), strict=True):
        np.savez(folder / f"{name}.npz", image=part.images.numpy(), labels=part.labels.numpy())
    targets = {"half the depth": {"depth": 3}, "half the width": {"width": 24}}
    model = ROOT / "models" / "digits" / "digits.onnx"
    return Setup(model, folder / "train.npz", folder / "test.npz", targets, 10_000, 20, 64, (5e-4, 1e-3))


def cifar(folder: Path) -> Setup:
    """What cifar.py wrote."""
    targets = {"half the depth": {"depth": 3}, "half the width": {"width": 48}}
    return Setup(folder / "cifar.onnx", folder / "train.npz", folder / "test.npz", targets, 5_000, 10, 64, (5e-4, 1e-3))


def _arrays(path: Path, count: int) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name][:count] for name in archive.files}


def refine_source(setup: Setup, name: str, settings: dict[str, Any], folder: Path) -> tuple[str, Path, dict]:
    """A refined source, and its first and last record."""
    import torch
    from front_onnx.adapters.refine import refine

    torch.set_num_threads(1)
    taught = {"teacher": setup.model} if settings.get("teacher") else {}
    refined = refine(
        setup.model,
        _arrays(setup.train, setup.samples),
        validation=_arrays(setup.test, 10_000),
        output=folder / f"{name.replace(' ', '-')}.onnx",
        epochs=setup.refining,
        batch_size=setup.batch,
        label_smoothing=0.1,
        **{"lr": setup.lr[0], **settings, **taught},
    )
    kept = {key: refined.history[-1].get(key) for key in refined.history[-1]}
    return name, refined.output, {"before": refined.history[0], "after": kept, "first": refined.history[1]}


def make_target(source: Path, size: dict[str, int], path: Path) -> Path:
    """Extract and init."""
    from front_onnx.learngenes import extract, init

    gene = extract(source, output=path.with_suffix(".safetensors"))
    init(gene.output, **size, output=path)
    return path


def train_target(setup: Setup, name: str, target: str, path: Path, seed: int, scratch: bool) -> tuple[str, str, list]:
    """Accuracies before and after each epoch."""
    import torch
    from front_onnx.adapters.refine import refine

    torch.set_num_threads(1)
    refined = refine(
        path,
        _arrays(setup.train, setup.samples),
        validation=_arrays(setup.test, 10_000),
        output=path.with_name(f"{path.stem}-{name.replace(' ', '-')}-{seed}-trained.onnx"),
        epochs=EPOCHS,
        batch_size=setup.batch,
        lr=setup.lr[1],
        label_smoothing=0.1,
        lam=0.0,
        seed=seed,
        from_scratch=scratch,
    )
    return name, target, [record["validation_metric"] for record in refined.history]


def run(name: str, setup: Setup, folder: Path, jobs: int) -> dict[str, Any]:
    """Everything about one source."""
    found: dict[str, Any] = {"name": name, "epochs": EPOCHS, "seeds": SEEDS, "sources": {}, "targets": {}}
    sources = {key: setup.model for key, settings in SOURCES.items() if settings is None}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(refine_source, setup, k, s, folder) for k, s in SOURCES.items() if s is not None]
        for future in waiting:
            key, path, records = future.result()
            sources[key], found["sources"][key] = path, records
            print(f"refined: {key}", flush=True)
        trainings = []
        for target, size in setup.targets.items():
            for number, (key, path) in enumerate(sources.items()):
                made = make_target(path, size, folder / f"{target.replace(' ', '-')}-{number}.onnx")
                trainings += [(setup, key, target, made, seed, False) for seed in range(SEEDS)]
                if key == "FRONT":
                    trainings += [(setup, RANDOM, target, made, seed, True) for seed in range(SEEDS)]
        for future in [pool.submit(train_target, *training) for training in trainings]:
            key, target, accuracies = future.result()
            found["targets"].setdefault(target, {}).setdefault(key, []).append(accuracies)
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown of all figures."""
    lines = [
        "| source | accuracy | low band | high band | L_reg | gradients: task, L_reg |",
        "|---|---|---|---|---|---|",
    ]
    before = next(iter(found["sources"].values()))["before"]
    bands = f"{before['low_energy']:.3f} | {before['high_energy']:.3f}"
    lines.append(f"| FRONT (as trained) | {100 * before['validation_metric']:.1f} | {bands} | x 1 | |")
    for name, records in found["sources"].items():
        after, first = records["after"], records["first"]
        change = f"x {after['reg_now'] / records['before']['reg_now']:.2f}"
        norms = f"{first['task_gradient']:.1e}, {first['reg_gradient']:.1e}"
        accuracy = 100 * after["validation_metric"]
        bands = f"{after['low_energy']:.3f} | {after['high_energy']:.3f}"
        lines.append(f"| {name} | {accuracy:.1f} | {bands} | {change} | {norms} |")
    for target, rows in found["targets"].items():
        heads = " | ".join(["at once", *(f"epoch {n}" for n in range(1, found["epochs"] + 1))])
        lines += ["", f"| {target} | {heads} |", "|---" * (found["epochs"] + 2) + "|"]
        for name, runs in rows.items():
            cells = []
            for values in zip(*runs, strict=True):
                spread = f" ±{100 * stdev(values):.1f}" if len(values) > 1 else ""
                cells.append(f"{100 * mean(values):.1f}{spread}")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(found: dict[str, Any], path: Path) -> None:
    """Accuracy over epochs."""
    figure = new_figure(10, 4)
    panels = figure.subplots(1, len(found["targets"]), sharey=True, squeeze=False)[0]
    for panel, (target, rows) in zip(panels, found["targets"].items(), strict=True):
        for name, runs in rows.items():
            values = 100 * np.array(runs)
            style = {"color": "gray", "linestyle": "--"} if name == RANDOM else {}
            panel.errorbar(range(values.shape[1]), values.mean(0), values.std(0), capsize=2, label=name, **style)
        panel.set(title=f"{found['name']}: {target}", xlabel="epoch")
    panels[0].set_ylabel("accuracy, %")
    panels[-1].legend(frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("digits", "cifar"))
    parser.add_argument("--folder", type=Path, help="what cifar.py wrote; for digits, where files are kept")
    parser.add_argument("--out", type=Path, default=Path(), help="where the table, the JSON and the plot go")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.name == "cifar" and options.folder is None:
        parser.error("cifar needs --folder")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        setup = digits(folder) if options.name == "digits" else cifar(folder)
        found = run(options.name, setup, folder, options.jobs)
    (options.out / f"{options.name}.json").write_text(json.dumps(found))
    plot(found, options.out / f"{options.name}.png")
    print(table(found))


if __name__ == "__main__":
    main()
