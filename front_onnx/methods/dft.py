"""DFT: the discrete Fourier transform in place of the DCT (Table 11), real: cosines and sines of whole periods."""

from __future__ import annotations

import numpy as np

from front_onnx.methods.basis import Basis

__all__ = ["Dft"]


class Dft(Basis):
    """The orthonormal real Fourier basis, ordered by frequency: 1, cos 1, sin 1, cos 2, sin 2, ..."""

    name = "dft"

    def basis(self, size: int) -> np.ndarray:
        """[size, size] with orthonormal rows."""
        place, rows = np.arange(size), [np.full(size, np.sqrt(1 / size))]
        for frequency in range(1, size // 2 + 1):
            angle = 2 * np.pi * frequency * place / size
            if 2 * frequency == size:
                rows.append(np.cos(angle) * np.sqrt(1 / size))
            else:
                rows += [np.cos(angle) * np.sqrt(2 / size), np.sin(angle) * np.sqrt(2 / size)]
        return np.stack(rows)
