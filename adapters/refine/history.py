"""The log of a refinement: one JSON object a line, and a picture of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from front_onnx.errors import FileError
from front_onnx.pictures import new_figure, save_figure
from front_onnx.store.atomic import atomic_write

__all__ = ["plot_history", "read_log", "write_log"]


def write_log(path: Path, run: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Write the run's settings and one line for each epoch; epoch 0 is the source.

    Raises:
        OutputError: it cannot be written.
    """
    lines = [json.dumps(record) for record in ({"run": run}, *history)]
    with atomic_write(path) as staged, staged.writing():
        staged.path.write_text("\n".join(lines) + "\n")


def read_log(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings and the epochs of a log.

    Raises:
        FileError: it is no such log.
    """
    try:
        first, *rest = [json.loads(line) for line in path.read_text().splitlines() if line]
        return first["run"], rest
    except (OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} is no log of a refinement: {error}") from None


def plot_history(history: list[dict[str, Any]], path: Path) -> None:
    """Loss and metric, both terms' gradient norms, and the energy in the low and the high band, over the epochs.

    Raises:
        RequestError: matplotlib is not installed, or cannot write such a file.
    """
    figure = new_figure(12, 3.6)
    losses, norms, energy = figure.subplots(1, 3)
    for panel, keys in (
        (losses, ("task", "validation_loss", "metric", "validation_metric")),
        (norms, ("task_gradient", "reg_gradient")),
        (energy, ("low_energy", "high_energy")),
    ):
        for key in keys:
            points = [(r["epoch"], r[key]) for r in history if r.get(key) is not None]
            if points:
                panel.plot(*zip(*points, strict=True), marker=".", label=key.replace("_", " "))
        panel.set_xlabel("epoch")
        if panel.lines:
            panel.legend(frameon=False)
    norms.set(title="norms of the gradients", yscale="log" if norms.lines else "linear")
    losses.set_title("loss and metric")
    energy.set_title("part of the energy")
    save_figure(figure, path)
