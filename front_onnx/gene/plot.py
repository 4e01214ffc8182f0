"""A picture of the spectra of a model's weights (matplotlib, an extra)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from front_onnx.gene.spectrum import BINS, StackSpectrum
from front_onnx.pictures import new_figure, save_figure

__all__ = ["plot_spectra"]


def plot_spectra(found: list[StackSpectrum], path: Path) -> None:
    """Energy per frequency along depth and along the width axes, beside white noise.

    Raises:
        RequestError: matplotlib is not installed, or cannot write such a file.
    """
    figure = new_figure(9, 3.6)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, title, depth in zip(panels, ("along depth", "along width"), (True, False), strict=True):
        curves = [a.density for s in found for a in s.axes if (a.axis == "depth") is depth]
        for curve in curves:
            panel.plot(_places(len(curve)), curve, color="tab:blue", alpha=0.25, linewidth=1)
        if curves:
            grid = _places(BINS)
            mean = np.mean([np.interp(grid, _places(len(c)), c) for c in curves], axis=0)
            panel.plot(grid, mean, color="tab:blue", linewidth=2.5, label="mean of the stacks")
        panel.axhline(1, color="gray", linestyle="--", label="white noise")
        panel.set(title=title, xlabel="frequency / n", yscale="log")
        panel.legend(frameon=False)
    panels[0].set_ylabel("energy per frequency")
    save_figure(figure, path)


def _places(bins: int) -> np.ndarray:
    return (np.arange(bins) + 0.5) / bins
