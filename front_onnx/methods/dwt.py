"""DWT: wavelets in place of the DCT (Table 11): what is coarse first, at any size."""

from __future__ import annotations

import numpy as np
import scipy.fft

from front_onnx.methods.basis import Basis

__all__ = ["Dwt"]


class Dwt(Basis):
    """An orthonormal wavelet basis: the coarsest coefficients, then details level by level, down to the finest.

    - haar: pairs of neighbours are their weighted mean and difference, again and again, down to one. Of an odd number
      the last has no partner and waits for the next level, with the weight of what it stands for (the unbalanced Haar
      transform of Girardi & Sweldens, 1997); constants have one coefficient at every size.
    - db4: Daubechies' wavelet with four vanishing moments (PyWavelets), periodised, as long as the number of coarse
      coefficients is even. An odd number of them, which no periodised transform halves, is left to the DCT: a size of
      48 has four levels and three coarse coefficients, and an odd size none.
    """

    name = "dwt"
    variants = ("haar", "db4")

    def basis(self, size: int) -> np.ndarray:
        """[size, size] with orthonormal rows."""
        return _haar(size) if self.variant == "haar" else _periodised(size, self.variant)


def _haar(size: int) -> np.ndarray:
    coarse, weight, details = np.eye(size), np.ones(size), []
    while len(coarse) > 1:
        pairs = len(coarse) // 2 * 2
        left, right = weight[:pairs:2, None], weight[1:pairs:2, None]
        x, y, norm = coarse[:pairs:2], coarse[1:pairs:2], np.hypot(left, right)
        details.append((right * x - left * y) / norm)
        coarse = np.concatenate([(left * x + right * y) / norm, coarse[pairs:]])
        weight = np.concatenate([norm[:, 0], weight[pairs:]])
    return np.concatenate([coarse, *details[::-1]])


def _periodised(size: int, wavelet: str) -> np.ndarray:
    import pywt  # slow to import

    coarse, details = np.eye(size), []
    while len(coarse) > 1 and len(coarse) % 2 == 0:
        coarse, detail = pywt.dwt(coarse, wavelet, mode="periodization", axis=0)
        details.append(detail)
    if len(coarse) > 1:
        coarse = _cosines(len(coarse)) @ coarse
    return np.concatenate([coarse, *details[::-1]])


def _cosines(size: int) -> np.ndarray:
    """[size, size], the orthonormal DCT-II."""
    found: np.ndarray = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")
    return found
