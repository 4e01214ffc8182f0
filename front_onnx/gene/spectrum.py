"""Is there low-frequency structure in a model's weights? The audit behind `inspect --spectrum`.

A learngene is worth something because low frequencies hold more of the energy than their share. In white noise they
hold their share, and in the same weights in random order nearly so (the mean is frequency 0). Both stand beside what
is found, for every axis of every stack.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from front_onnx.plan.plan import Plan
from front_onnx.transform.contents import Resampled
from front_onnx.transform.stack import working_type

__all__ = ["BINS", "AxisSpectrum", "StackSpectrum", "describe_spectrum", "spectra"]

BINS = 16
_CLEAR = 0.05  # more energy in the low band than permuted weights have, to be called structure


@dataclass(frozen=True)
class AxisSpectrum:
    """Energy along one axis of a stack.

    Attributes:
        axis: "depth", or the place of the axis in a tensor.
        size: n.
        kept: the low frequencies that a learngene of the ratio keeps.
        energy: the part of the energy in them.
        permuted: the same after a random permutation of all entries of the stack.
        density: energy per frequency in bins from low to high, 1 for white noise [<= BINS].
    """

    axis: str
    size: int
    kept: int
    energy: float
    permuted: float
    density: tuple[float, ...]

    @property
    def noise(self) -> float:
        """The part of the energy of white noise."""
        return self.kept / self.size


@dataclass(frozen=True)
class StackSpectrum:
    """The spectra of a stack along its axes that can be cut; its name is that of its first tensor."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[AxisSpectrum, ...]


def spectra(plan: Plan, seed: int = 0) -> list[StackSpectrum]:
    """The spectra of all stacks that a learngene cuts: those of a plan that changes no size, at a ratio below 1."""
    graph = plan.structure.graph
    chosen = {
        (c.names, c.depth, c.axes): c for c in plan.contents.values() if isinstance(c, Resampled) and not c.transposed
    }
    out = []
    for content in chosen.values():
        blocks = [graph.array(name) for name in content.names]
        stack = np.stack([np.asarray(block, working_type(block.dtype)) for block in blocks])
        generator = np.random.default_rng(seed)
        permuted = generator.permutation(stack.reshape(-1)).reshape(stack.shape)
        axes = []
        for axis, cut in enumerate((content.depth, *content.axes)):
            size = stack.shape[axis]
            kept = max(1, math.floor(plan.request.ratio * size + 1e-9))
            if size == 1 or kept == size or not _is_cut(cut):
                continue
            found, other = _power(stack, axis), _power(permuted, axis)
            bins = np.array_split(found * (size / max(found.sum(), 1e-300)), min(BINS, size))
            axes.append(
                AxisSpectrum(
                    "depth" if axis == 0 else str(axis - 1),
                    size,
                    kept,
                    _share(found, kept),
                    _share(other, kept),
                    tuple(float(b.mean()) for b in bins),
                )
            )
        if axes:
            out.append(StackSpectrum(content.names[0], stack.shape, tuple(axes)))
    return out


def _is_cut(axis_map: object) -> bool:
    return type(axis_map).__name__ != "Keep"


def _power(x: np.ndarray, axis: int) -> np.ndarray:
    """Energy at each frequency along an axis [n]."""
    spectrum = scipy.fft.dct(x, axis=axis, norm="ortho")
    others = tuple(place for place in range(x.ndim) if place != axis)
    power: np.ndarray = np.square(spectrum, dtype=np.float64).sum(axis=others)
    return power


def _share(power: np.ndarray, kept: int) -> float:
    total = float(power.sum())
    return float(power[:kept].sum()) / total if total else 1.0


def describe_spectrum(found: list[StackSpectrum], ratio: float) -> dict[str, Any]:
    """All of it as plain data, with a sentence on what it means."""
    rows = [
        {
            "stack": stack.name,
            "shape": list(stack.shape),
            "axis": axis.axis,
            "energy": round(axis.energy, 4),
            "noise": round(axis.noise, 4),
            "permuted": round(axis.permuted, 4),
            "density": [round(value, 4) for value in axis.density],
        }
        for stack in found
        for axis in stack.axes
    ]
    return {"ratio": ratio, "axes": rows, "verdict": _verdict(found, ratio)}


def _verdict(found: list[StackSpectrum], ratio: float) -> str:
    """One sentence: is there low-frequency structure here or not?"""
    said = []
    clear = False
    for along in ("depth", "the width axes"):
        all_axes = [(math.prod(stack.shape), axis) for stack in found for axis in stack.axes]
        axes = [(weight, axis) for weight, axis in all_axes if (axis.axis == "depth") == (along == "depth")]
        if not axes:
            continue
        weights = np.array([weight for weight, _ in axes], float)
        energy, permuted = (
            float(np.average([getattr(axis, name) for _, axis in axes], weights=weights))
            for name in ("energy", "permuted")
        )
        clear = clear or energy - permuted > _CLEAR
        word = "structure" if energy - permuted > _CLEAR else "no structure"
        said.append(f"along {along} {word} ({energy:.2f} of the energy, {permuted:.2f} when permuted)")
    if not said:
        return "Nothing can be cut at this ratio, so there is nothing to say."
    start = "There is low-frequency structure in these weights" if clear else "There is no low-frequency structure here"
    return f"{start}, at ratio {ratio:g}: {', '.join(said)}."
