"""Pictures of a comparison: trainings by steps, and what sizes keep by their parameters (matplotlib, an extra)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from front_onnx.comparison.row import Trained
from front_onnx.comparison.run import Comparison
from front_onnx.errors import RequestError
from front_onnx.pictures import new_figure, save_figure

__all__ = ["mean_curve", "plot_comparison", "worth_curves"]

_PALETTE = "tab20"
_COLUMNS = 2  # panels in a row
_SHOWN = 12  # curves in one panel: the best ones


def mean_curve(trained: Trained) -> list[tuple[int, float]]:
    """The mean over the seeds at every step that was measured."""
    points = zip(*trained.curves, strict=True)
    return [(several[0][0], mean(value for _, value in several)) for several in points]


def worth_curves(found: Comparison) -> dict[str, list[tuple[int, float]]]:
    """By method, (parameters, what is kept in the end) for every size that it makes; the best method over all first."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for size in found.sizes:
        for row in size.rows:
            curves.setdefault(row.method, []).append((size.parameters, row.final))
    order = sorted(curves, key=lambda name: -mean(value for _, value in curves[name]))
    return {name: curves[name] for name in order}


def plot_comparison(found: Comparison, path: Path) -> None:
    """A panel for the trainings of each size, and one for what sizes keep.

    Raises:
        RequestError: there is nothing to draw, matplotlib is not installed, or cannot write such a file.
    """
    trained = [size for size in found.sizes if any(row.trained for row in size.rows)]
    panels = len(trained) + (len(found.sizes) > 1)
    if not panels:
        raise RequestError("--plot draws trainings or several sizes", hint="--train 80, or --at for several sizes")
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    figure = new_figure(7 * columns, 4 * rows)
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in places[panels:]:
        unused.set_visible(False)
    axes = iter(places)
    colors = dict(zip(worth_curves(found), _colors(), strict=False))
    for size in trained:
        panel = next(axes)
        for row in [row for row in size.rows if row.trained][:_SHOWN]:
            assert row.trained is not None
            panel.plot(*zip(*mean_curve(row.trained), strict=True), label=row.method, color=colors[row.method])
            panel.set_ylabel(row.trained.metric)
        panel.set(title=size.label, xlabel="step")
        if panel.get_ylabel() == "squared error":
            panel.set_yscale("log")
        panel.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    if len(found.sizes) > 1:
        panel = next(axes)
        for method, points in [*worth_curves(found).items()][:_SHOWN]:
            panel.plot(*zip(*points, strict=True), marker="o", label=method, color=colors[method])
        if found.source.accuracy is not None:
            panel.axhline(found.source.accuracy, color="gray", linestyle="--", label="source")
        said = "accuracy" if found.source.accuracy is not None else "kept of the source"
        panel.set(title="what sizes keep", xlabel="parameters", ylabel=said)
        panel.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def _colors() -> Iterator[Any]:
    from matplotlib import colormaps

    table = colormaps[_PALETTE]
    while True:
        yield from (table(number) for number in (*range(0, 20, 2), *range(1, 20, 2)))
