"""A matching as plain data, and matches that a user made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from front_onnx.errors import FileError
from front_onnx.match.matching import Match

__all__ = ["by_hand", "describe_matches"]


def describe_matches(matches: Sequence[Match]) -> list[dict[str, Any]]:
    """One row for each piece of the target."""
    return [
        {
            "where": entry.target.where,
            "role": str(entry.target.role),
            "target": entry.target.tensors[0],
            "blocks": len(entry.target.tensors),
            "source": entry.source.tensors[0] if entry.source is not None else None,
            "source_blocks": len(entry.source.tensors) if entry.source is not None else None,
            "reason": entry.reason or None,
        }
        for entry in matches
    ]


def by_hand(given: str | os.PathLike[str] | Mapping[str, str | None] | None) -> dict[str, str | None]:
    """What goes where by hand: {"TARGET TENSOR[:ROLE]": "SOURCE TENSOR[:ROLE]" or null}, or a JSON file of it.

    Raises:
        FileError: no such file, or something else in it.
    """
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    try:
        found = json.loads(Path(given).read_text())
    except OSError as error:
        raise FileError(f"{given} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise FileError(f"{given} is no JSON: {error}") from None
    fits = isinstance(found, dict) and all(isinstance(v, str | None) for v in found.values())
    if not fits:
        wanted = '{"TARGET TENSOR": "SOURCE TENSOR" or null}'
        raise FileError(f"{given} does not say what goes where", wanted=wanted)
    return dict(found)
