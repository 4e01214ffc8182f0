"""Sizes that are declared free and yet have one number only: what the analysis found, and onnxruntime confirms."""

from __future__ import annotations

import os
from pathlib import Path

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.check.validate import trusted_session
from front_onnx.operators.analysis import Analysis

__all__ = ["baked_sizes"]

_LARGE = 1 << 30  # bytes of a file that is not run for this alone


def baked_sizes(model: str | os.PathLike[str], analysis: Analysis) -> dict[str, int]:
    """Free sizes with which a model runs at one number only, and that number, by key.

    Each is run at the number that fits, at one more and at twice it. What runs at another one, or at none, is not among
    them.
    """
    path = Path(model)
    if not analysis.symbols.traced or path.stat().st_size > _LARGE:
        return {}
    try:
        session = trusted_session(path)
    except Exception:  # whatever onnxruntime raises: then nothing can be told
        return {}

    def runs(sizes: dict[str, int]) -> bool:
        try:
            session.run(synthetic_inputs(analysis.graph, {}, analysis=analysis, sizes=sizes))
        except Exception:  # as above
            return False
        return True

    try:
        if not runs({}):
            return {}
        found = {}
        for key, size in analysis.symbols.traced.items():
            if not any(runs({analysis.symbols.free.root(key): other}) for other in (size + 1, 2 * size)):
                found[key] = size
        return found
    finally:
        session.close()
