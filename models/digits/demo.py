"""Resize the shipped digits model three ways, and measure what each resized model is worth.

Run `python models/digits/demo.py` from the repository, with the `demo` extra installed. Smaller models are calibrated,
on 500 digits without their labels and on inputs that are made up; the larger one is grown without loss. Each file is
read back into the torch module of its size and trained for a short while, beside FRONT's weights and random ones: same
digits, same order, same settings.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import onnx
import onnxruntime
import torch
from data import load_split
from learn import accuracy, train
from model import DigitViT
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import nn

import front_onnx

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "digits.onnx"
INPUTS = HERE / "inputs.npz"
TOLERANCE = 1e-4
# Chosen for random weights alone: of 1e-3, 2e-3, 3e-3 and 6e-3 the best for two of the three sizes.
LEARNING_RATE = 3e-3
CALIBRATED = 500  # digits, without labels


@dataclass(frozen=True)
class Target:
    """One resizing: a name for the output file, and the depth and width asked for (None: the source's)."""

    name: str
    depth: int | None = None
    width: int | None = None

    def module(self) -> DigitViT:
        """Return a randomly initialised module of this size."""
        sizes = {"depth": self.depth, "width": self.width}
        return DigitViT(**{name: size for name, size in sizes.items() if size is not None})

    @property
    def starts(self) -> tuple[str, ...]:
        """What its weights may be made by."""
        return ("lossless", "front") if (self.depth or 0) > 6 else ("calibrated", "made up", "front")

    def resize(self, start: str, folder: Path, digits: np.ndarray) -> Path:
        """Resize the source through the Python API, and return the new file."""
        output = folder / f"{self.name}-{start.replace(' ', '-')}.onnx"
        how: dict[str, object] = {}
        if start in ("calibrated", "made up"):
            how = {"data": {"image": digits[:CALIBRATED]} if start == "calibrated" else "synthetic"}
        elif start == "lossless":
            how = {"method": start}
        front_onnx.resize(SOURCE, depth=self.depth, width=self.width, output=output, **how)  # type: ignore[arg-type]
        return output

    def command(self) -> str:
        """Return the command line that does the same without any digits."""
        parts = ["front-onnx resize", os.path.relpath(SOURCE)]
        parts += [f"--depth {self.depth}"] if self.depth else []
        parts += [f"--width {self.width}"] if self.width else []
        return " ".join([*parts, f"--method best -o {self.name}.onnx"])


_LABELS = {
    "calibrated": f"calibrated, {CALIBRATED} digits",
    "made up": "calibrated, made up",
    "lossless": "lossless",
    "front": "FRONT",
    "random": "random",
}
TARGETS = (
    Target("half-depth", depth=3),
    Target("half-width", width=24),
    Target("deeper-wider", depth=8, width=60),
)


@dataclass(frozen=True)
class Job:
    """One short training: from the weights in `path`, or from random ones when it is None."""

    target: Target
    path: Path | None
    seed: int
    steps: int

    def run(self) -> tuple[float, float]:
        """Return the accuracy before and after; the seed decides random weights and the order of digits."""
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        module = self.target.module()
        if self.path:
            load(self.path, module)
        digits, held_out = load_split()
        before = accuracy(module, held_out)
        train(module, digits, steps=self.steps, seed=self.seed, lr=LEARNING_RATE)
        return before, accuracy(module, held_out)


def load(path: Path, module: nn.Module) -> nn.Module:
    """Fill the module with the file's initializers by name; one that is missing or left over is an error."""
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    wanted = set(module.state_dict())
    float_tensors = {name for name, t in stored.items() if t.dims and t.data_type == onnx.TensorProto.FLOAT}
    for what, names in (("lacks", wanted - set(stored)), ("has left over", float_tensors - wanted)):
        if names:
            raise SystemExit(f"{path.name} {what}: {', '.join(sorted(names))}")
    weights = {name: torch.from_numpy(onnx.numpy_helper.to_array(stored[name]).copy()) for name in wanted}
    module.load_state_dict(weights, strict=True)
    return module.eval()


def difference(path: Path, module: nn.Module) -> float:
    """Return the largest difference between the file's and the module's outputs on the shipped digits."""
    images = np.load(INPUTS)["image"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images})
    with torch.no_grad():
        worst = float(np.abs(logits - module(torch.from_numpy(images)).numpy()).max())
    if not worst <= TOLERANCE:  # also true of nan
        raise SystemExit(f"{path.name}: the graph and the torch module differ by {worst:.1e}")
    return worst


def main() -> None:
    """Resize, check, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed and half the training")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the resized files in DIR")
    args = parser.parse_args()
    steps, seeds = (40, 1) if args.quick else (80, 3)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        run(args.keep, steps, seeds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder), steps, seeds)


def run(folder: Path, steps: int, seeds: int) -> None:
    """Do the whole job with the outputs in `folder`."""
    torch.set_num_threads(1)
    console = Console()
    start = time.perf_counter()
    digits, held_out = load_split()
    source = load(SOURCE, DigitViT())
    worst = difference(SOURCE, source)
    table = _table(steps, seeds, len(digits), len(held_out))
    table.add_row("digits", *_size(source), "", f"{100 * accuracy(source, held_out):.1f}", end_section=True)
    paths: dict[tuple[Target, str], Path | None] = {}
    for target in TARGETS:
        for name in target.starts:
            with console.status(f"resizing to {target.name}, {name}"):
                path = target.resize(name, folder, digits.images.numpy())
            if name != "lossless":  # it has epsilons that the module lacks
                worst = max(worst, difference(path, load(path, target.module())))
            paths[target, name] = path
        paths[target, "random"] = None
    jobs = {
        key: [Job(key[0], path, seed, steps) for seed in range(seeds)]
        for key, path in paths.items()
        if key[1] != "lossless"
    }
    results = train_all([job for several in jobs.values() for job in several], console)
    for target in TARGETS:
        table.add_section()
        for name in (*target.starts, "random"):
            if (target, name) in jobs:
                cell = _cell([results[job] for job in jobs[target, name]])
            else:
                cell = f"{100 * answered(paths[target, name], held_out.images.numpy(), held_out.labels.numpy()):.1f}"
            table.add_row(target.name, *_size(target.module()), _LABELS[name], cell)
    console.print(table)
    shipped = len(np.load(INPUTS)["labels"])
    console.print(f"ONNX and torch agree within {worst:.0e} on the {shipped} digits of {INPUTS.name}.")
    console.print(f"Time: {time.perf_counter() - start:.0f} s. From the command line, without any digits:")
    for target in TARGETS:
        console.print(f"  {target.command()}", soft_wrap=True, highlight=False)


def answered(path: Path | None, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the part of some digits that a file gets right."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": images})
    return float((logits.argmax(-1) == labels).mean())


def train_all(jobs: list[Job], console: Console) -> dict[Job, tuple[float, float]]:
    """Run the jobs in processes of one thread each: a model this small gains nothing from more threads."""
    results = {}
    with (
        ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), get_context("spawn")) as pool,
        Progress(console=console, transient=True) as progress,
    ):
        bar = progress.add_task("short trainings", total=len(jobs))
        futures = {pool.submit(Job.run, job): job for job in reversed(jobs)}  # the large ones first
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            progress.advance(bar)
    return results


def _table(steps: int, seeds: int, digits: int, held_out: int) -> Table:
    runs = f"mean ± deviation of {seeds} seeds" if seeds > 1 else "one seed"
    table = Table(
        title=f"Accuracy in % on {held_out} held-out digits: at once → after a short training",
        caption=f"{steps} steps of 64 out of {digits} digits; {runs}",
    )
    table.add_column("model", no_wrap=True)
    for heading in ("size", "weights"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("start", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    return table


def _size(module: nn.Module) -> tuple[str, str]:
    depth, width = len(module.blocks), module.norm.normalized_shape[0]
    return f"{depth} x {width}", f"{sum(p.numel() for p in module.parameters()):,}"


def _cell(results: list[tuple[float, float]]) -> str:
    before, after = zip(*results, strict=True)
    spread = f" ±{100 * stdev(after):.1f}" if len(after) > 1 else ""
    return f"{100 * mean(before):.1f} → {100 * mean(after):.1f}{spread}"


if __name__ == "__main__":
    main()
