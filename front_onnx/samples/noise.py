"""Noise that is alike to what is recorded: amplitudes that fall with frequency, channels that go together, edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import fft

__all__ = ["coloured", "picture_like", "sequence_like"]

_SLOPES = 0.5, 1.5  # of natural pictures: about 1 (Field 1987, doi:10.1364/JOSAA.4.002379)
_TOGETHER = 0.5, 0.95  # the correlation of two channels
_BRIGHTNESS = 0.5  # deviation of a sample's mean
_CONTRAST = (
    0.5,
    8.0,
)  # of a sample before it saturates: above 1, it has areas of one value with edges between
_LEVEL = 0.7  # deviation of what it saturates about, in its own: how much is figure, and how much ground


def picture_like(rng: np.random.Generator, shape: Sequence[int], sides: tuple[int, int]) -> np.ndarray:
    """Pictures of deviation 1 and random brightness; samples along axis 0, channels where the sides are not.

    Spectra alone make clouds. What is recorded has things that cover one another, areas with edges between (Ruderman
    1997, doi:10.1016/S0042-6989(97)00008-4), so that each sample saturates at a contrast and a level of its own.
    """
    height, width = (shape[side] for side in sides)
    samples, channels = shape[0], shape[6 - sum(sides)]
    found = coloured(rng, (samples, channels + 1, height, width), 2)
    share = rng.uniform(*_TOGETHER, (samples, 1, 1, 1)).astype(np.float32)
    mixed: np.ndarray = np.sqrt(share) * found[:, :1] + np.sqrt(1 - share) * found[:, 1:]
    mixed = _standard(mixed)
    low, high = map(math.log, _CONTRAST)
    contrast = np.exp(rng.uniform(low, high, (samples, 1, 1, 1))).astype(np.float32)
    level = _LEVEL * rng.standard_normal((samples, 1, 1, 1), np.float32)
    mixed = _standard(np.tanh(contrast * (mixed - level)))
    mixed += _BRIGHTNESS * rng.standard_normal((samples, 1, 1, 1), np.float32)
    return mixed if sides == (2, 3) else mixed.transpose(0, 2, 3, 1)


def sequence_like(rng: np.random.Generator, shape: Sequence[int], time: int) -> np.ndarray:
    """Rows that change slowly along an axis; of mean 0 and deviation 1."""
    others = [size for place, size in enumerate(shape) if place != time]
    found = np.moveaxis(coloured(rng, (*others, shape[time]), 1), -1, time)
    axes = tuple(range(1, len(shape)))
    found -= found.mean(axes, keepdims=True)
    found /= found.std(axes, keepdims=True) + 1e-6
    return found


def _standard(pictures: np.ndarray) -> np.ndarray:
    """Each sample with mean 0 and deviation 1."""
    pictures = pictures - pictures.mean((1, 2, 3), keepdims=True)
    found: np.ndarray = pictures / (pictures.std((1, 2, 3), keepdims=True) + 1e-6)
    return found


def coloured(rng: np.random.Generator, shape: Sequence[int], axes: int) -> np.ndarray:
    """Noise of an amplitude spectrum 1/f^a over the last axes, with an `a` for each entry of the first axis."""
    last = tuple(range(len(shape) - axes, len(shape)))
    sides = [shape[place] for place in last]
    if 0 in shape:
        return np.zeros(shape, np.float32)
    half = (*shape[:-1], shape[-1] // 2 + 1)
    white = rng.standard_normal(half, np.float32) + 1j * rng.standard_normal(half, np.float32)
    frequencies = [*(fft.fftfreq(n) for n in sides[:-1]), fft.rfftfreq(sides[-1])]
    distance = np.sqrt(sum(f**2 for f in np.meshgrid(*frequencies, indexing="ij")))
    distance[(0,) * axes] = 1 / max(sides)  # the mean: as the lowest frequency
    slopes = rng.uniform(*_SLOPES, (shape[0], *(1,) * axes))
    amplitudes = np.exp(-slopes * np.log(distance)).astype(np.float32)
    white *= amplitudes.reshape(shape[0], *(1,) * (len(shape) - axes - 1), *distance.shape)
    found: np.ndarray = fft.irfftn(white, sides, axes=last)
    return found
