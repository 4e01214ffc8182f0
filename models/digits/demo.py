"""Resize the shipped digits model three ways, and measure what each resized model is worth.

Run `python models/digits/demo.py` from the repository, with the `demo` extra installed. Smaller models are calibrated,
on 500 digits without their labels and on inputs that are made up; the larger one is grown without loss. Each file is
read back into the torch module of its size and trained for a short while, beside weights by FRONT, copies of the
source's, and random ones: same digits, same order. A picture shows the accuracy over the steps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

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
from front_onnx.comparison.teaching import Rates
from front_onnx.pictures import new_figure, save_figure

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "digits.onnx"
INPUTS = HERE / "inputs.npz"
PICTURE = HERE / "out" / "curves.png"
TOLERANCE = 1e-4
# Chosen for random weights alone: of 1e-3, 2e-3, 3e-3 and 6e-3 the best for two of the three sizes.
LEARNING_RATE = 3e-3
POINTS = 6  # of a curve, behind its start
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
        return (("lossless",) if self.grows else ("calibrated", "made up")) + ("copy", "front")

    @property
    def grows(self) -> bool:
        """True if it is larger than the source."""
        return (self.depth or 0) > 6

    def resize(self, start: str, folder: Path, digits: np.ndarray) -> Path:
        """Resize the source through the Python API, and return the new file."""
        output = folder / f"{self.name}-{start.replace(' ', '-')}.onnx"
        how: dict[str, object] = {}
        if start in ("calibrated", "made up"):
            how = {"data": {"image": digits[:CALIBRATED]} if start == "calibrated" else "synthetic"}
        elif start == "copy":
            how = {"method": f"depth=copy,width={'duplicate' if self.grows else 'select:norm'}"}
        else:
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
    "copy": "copies",
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
    start: str

    @property
    def rate(self) -> float:
        """What suits random weights; what starts near the source has a low one, as `front-onnx compare` gives it."""
        kind = {"lossless": "exact", "calibrated": "calibrated", "made up": "calibrated"}.get(self.start)
        return LEARNING_RATE if kind is None else Rates().rate(kind)

    def run(self) -> list[tuple[int, float]]:
        """Return the accuracy by step; the seed decides random weights and the order of digits."""
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        module = self.target.module()
        if self.path:
            load(self.path, module)
        digits, held_out = load_split()
        curve = [(0, accuracy(module, held_out))]

        def watch(step: int) -> None:
            if step * POINTS % self.steps == 0:
                curve.append((step, accuracy(module, held_out)))

        train(module, digits, steps=self.steps, seed=self.seed, lr=self.rate, watch=watch)
        return curve


@dataclass(frozen=True)
class Start:
    """A file to be made."""

    target: Target
    name: str
    folder: Path

    def run(self) -> Path:
        """Resize."""
        return self.target.resize(self.name, self.folder, load_split()[0].images.numpy())


def load(path: Path, module: nn.Module) -> nn.Module:
    """Fill the module with the file's initializers by name; one that is missing or left over is an error.

    Growth without loss changes the epsilons of norms, which are attributes of nodes called as the module is.
    """
    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "LayerNormalization":
            norm = module.get_submodule(node.name.strip("/").rpartition("/")[0].replace("/", "."))
            norm.eps = next(entry.f for entry in node.attribute if entry.name == "epsilon")
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
    parser.add_argument("--picture", type=Path, metavar="FILE.png", default=PICTURE, help="where the curves are drawn")
    args = parser.parse_args()
    steps, seeds = (30, 1) if args.quick else (60, 2)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        run(args.keep, steps, seeds, args.picture)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder), steps, seeds, args.picture)


def run(folder: Path, steps: int, seeds: int, picture: Path) -> None:
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
    pairs = [(target, name) for target in TARGETS for name in target.starts]
    made = in_processes([Start(*pair, folder) for pair in pairs], "resizing", console)
    for target in TARGETS:
        for name in target.starts:
            path = paths[target, name] = made[Start(target, name, folder)]
            worst = max(worst, difference(path, load(path, target.module())))
        paths[target, "random"] = None
    jobs = {key: [Job(key[0], path, seed, steps, key[1]) for seed in range(seeds)] for key, path in paths.items()}
    results = in_processes([job for several in jobs.values() for job in several], "short trainings", console)
    for target in TARGETS:
        table.add_section()
        for name in (*target.starts, "random"):
            cell = _cell([results[job] for job in jobs[target, name]])
            table.add_row(target.name, *_size(target.module()), _LABELS[name], cell)
    console.print(table)
    shipped = len(np.load(INPUTS)["labels"])
    console.print(f"ONNX and torch agree within {worst:.0e} on the {shipped} digits of {INPUTS.name}.")
    draw({key: [results[job] for job in several] for key, several in jobs.items()}, accuracy(source, held_out), picture)
    console.print(f"Curves: {os.path.relpath(picture)}", soft_wrap=True, highlight=False)
    console.print(f"Time: {time.perf_counter() - start:.0f} s. From the command line, without any digits:")
    for target in TARGETS:
        console.print(f"  {target.command()}", soft_wrap=True, highlight=False)


def draw(found: dict[tuple[Target, str], list[list[tuple[int, float]]]], source: float, path: Path) -> None:
    """Draw the mean accuracy over the steps of each start, a panel for each size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = new_figure(11, 3.4)
    panels = figure.subplots(1, len(TARGETS), sharey=True)
    colors = dict(
        zip(_LABELS, ("tab:green", "tab:olive", "tab:green", "tab:blue", "tab:orange", "tab:gray"), strict=True)
    )
    for panel, target in zip(panels, TARGETS, strict=True):
        for (other, name), curves in found.items():
            if other == target:
                steps = [step for step, _ in curves[0]]
                means = [mean(value for _, value in points) for points in zip(*curves, strict=True)]
                panel.plot(steps, means, marker=".", color=colors[name], label=_LABELS[name])
        panel.axhline(source, color="black", linestyle=":", linewidth=1)
        depth, width = len(target.module().blocks), target.module().norm.normalized_shape[0]
        panel.set(title=f"{target.name}, {depth} x {width}", xlabel="training step", ylim=(0, 1.02))
        panel.legend(frameon=False, fontsize="x-small", loc="lower right")
    panels[0].set_ylabel("accuracy, held out (dotted: the source)")
    save_figure(figure, path)


def in_processes(jobs: Sequence[Any], what: str, console: Console) -> dict[Any, Any]:
    """Run jobs in processes of one thread each: a model this small gains nothing from more threads."""
    results = {}
    with (
        ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), get_context("spawn")) as pool,
        Progress(console=console, transient=True) as progress,
    ):
        bar = progress.add_task(what, total=len(jobs))
        futures = {pool.submit(job.run): job for job in reversed(jobs)}  # the large ones first
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            progress.advance(bar)
    return results


def _table(steps: int, seeds: int, digits: int, held_out: int) -> Table:
    runs = f"mean ± deviation of {seeds} seeds" if seeds > 1 else "one seed"
    table = Table(
        title=f"Accuracy in % on {held_out} held-out digits: at once → after a short training",
        caption=f"{steps} steps of 64 out of {digits} digits; {runs}; rate {LEARNING_RATE:g}, "
        f"{Rates().rate('calibrated'):g} if calibrated, {Rates().rate('exact'):g} if lossless",
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


def _cell(curves: list[list[tuple[int, float]]]) -> str:
    before, after = ([curve[place][1] for curve in curves] for place in (0, -1))
    spread = f" ±{100 * stdev(after):.1f}" if len(after) > 1 else ""
    return f"{100 * mean(before):.1f} → {100 * mean(after):.1f}{spread}"


if __name__ == "__main__":
    main()
