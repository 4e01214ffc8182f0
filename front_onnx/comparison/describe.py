"""A comparison as data that JSON can hold."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from front_onnx.comparison.row import Row, Size, Trained, Worth
from front_onnx.comparison.run import Comparison

__all__ = ["describe_comparison"]


def describe_comparison(found: Comparison) -> dict[str, Any]:
    """All of it; what is no number is null."""
    source = asdict(found.source)
    about = {
        "source": source,
        "sizes": [_size(size) for size in found.sizes],
        "worth": "accuracy" if found.source.accuracy is not None else "kept of the source",
        "best": found.best.method if found.best is not None else None,
        "output": str(found.output) if found.output else None,
        "resumed": found.resumed,
    }
    cleaned: dict[str, Any] = _finite(about)
    return cleaned


def _size(size: Size) -> dict[str, Any]:
    return {
        "size": size.label,
        "sizes": {name: list(pair) for name, pair in size.sizes.items()},
        "parameters": size.parameters,
        "best": size.best.method if size.best is not None else None,
        "as_good_as_the_best": list(size.equals),
        "chance": size.chance or None,
        "methods": [_row(row) for row in size.rows],
        "left_out": [{"method": row.method, "why": row.why} for row in size.left_out],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "kind": row.kind,
        "note": row.note or None,
        "parameters": row.parameters,
        "seconds": row.seconds,
        "at_once": _worth(row.worth),
        "trained": _trained(row.trained),
        "untrained": row.untrained or None,
    }


def _worth(worth: Worth | None) -> dict[str, Any] | None:
    if worth is None:
        return None
    outputs = {name: asdict(each) for name, each in worth.outputs.items()}
    return {"kept": worth.kept, "error": worth.error, "accuracy": worth.accuracy, "outputs": outputs}


def _trained(trained: Trained | None) -> dict[str, Any] | None:
    if trained is None:
        return None
    return {
        "kept": trained.kept,
        "deviation": trained.spread,
        "lr": trained.lr,
        "metric": trained.metric,
        "seeds": list(trained.seeds),
        "seconds": round(trained.seconds, 3),
        "runs": [_worth(run) for run in trained.runs],
        "curves": [[list(point) for point in curve] for curve in trained.curves],
    }


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
