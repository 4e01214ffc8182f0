"""Where a model comes from, written into it: `front_onnx.*` among the metadata of its file.

No dates and no paths, so that the same request gives the same bytes; a model in which nothing was changed gets none.

    front_onnx.version              of this package
    front_onnx.source_fingerprint   of the source, see `ModelFile.fingerprint`
    front_onnx.request              what was asked for, as JSON; what was not asked is left out
    front_onnx.method               how weights were carried over, as users say it
    front_onnx.samples              what weights were fitted to, as JSON; left out where there was nothing
    front_onnx.start                "carried", where a calibration ended with weights that were carried over
    front_onnx.before               what the source said of where it comes from, as JSON, if it did
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any

import onnx

from front_onnx.plan.plan import Plan
from front_onnx.plan.request import Request
from front_onnx.read.model_file import ModelFile
from front_onnx.transform.contents import Drawn, Resampled
from front_onnx.version import __version__

__all__ = ["PREFIX", "changes", "origin", "provenance", "requested", "sign", "start_of"]

PREFIX = "front_onnx."
_LEFT_OUT = ("evidence", "method", "seed")
_DATA = ("request", "samples", "before")


def origin(
    source: ModelFile,
    *,
    method: str,
    request: Mapping[str, Any],
    samples: tuple[int, bool] | None = None,
    start: str | None = None,
) -> dict[str, str]:
    """Where a model comes from, as metadata.

    Args:
        source: what its weights were made of.
        method: how.
        request: what was asked for, as data that JSON can hold.
        samples: how many there were to fit weights to, and True if they were made up.
        start: what kind of start it is, where the method does not say so, see `start_of`.
    """
    said = {
        "version": __version__,
        "source_fingerprint": source.fingerprint(),
        "request": _json(request),
        "method": method,
    }
    if samples is not None:
        said["samples"] = _json({"count": samples[0], "made_up": samples[1]})
    if start is not None:
        said["start"] = start
    if before := provenance(source.proto):
        said["before"] = _json(before)
    return {PREFIX + name: text for name, text in said.items()}


def sign(proto: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Write into a model where it comes from, in the place of what said so before; other metadata stay as they are."""
    kept = [(entry.key, entry.value) for entry in proto.metadata_props if not entry.key.startswith(PREFIX)]
    del proto.metadata_props[:]
    for key, value in (*kept, *entries.items()):
        proto.metadata_props.add(key=key, value=value)


def provenance(proto: onnx.ModelProto) -> dict[str, Any]:
    """What a model says of where it comes from, by name without the prefix; what is JSON is read."""
    found: dict[str, Any] = {}
    for entry in proto.metadata_props:
        if entry.key.startswith(PREFIX):
            name = entry.key.removeprefix(PREFIX)
            found[name] = _read(entry.value) if name in _DATA else entry.value
    return found


def start_of(told: Mapping[str, Any]) -> str | None:
    """What kind of start a model is by what it says of itself: exact, calibrated or carried; None if it says nothing.

    What was refined is the kind of start that it was before.
    """
    method, samples = told.get("method"), told.get("samples")
    if method == "refine":
        before = told.get("before")
        return start_of(before) if isinstance(before, Mapping) else None
    if method is None:
        return None
    if told.get("start") == "carried":
        return "carried"
    if samples is not None:
        return "calibrated"
    return "exact" if method in ("best", "lossless") else "carried"


def requested(request: Request, **more: Any) -> dict[str, Any]:
    """What a request asks for: all that is not as it is when nothing is said; `more` that is there."""
    usual = Request()
    told = {
        field.name: _said(field.name, getattr(request, field.name))
        for field in fields(request)
        if field.name not in _LEFT_OUT and getattr(request, field.name) != getattr(usual, field.name)
    }
    return told | {name: value for name, value in more.items() if value not in (None, [], False)}


def _said(option: str, value: Any) -> Any:
    """A value as the command line has it, so that what is said in two ways is written in one."""
    if option in ("depth", "width", "heads", "head_dim"):
        if isinstance(value, Mapping):
            return ",".join(f"{name}={size}" for name, size in value.items())
        several = value if not isinstance(value, str) and isinstance(value, Iterable) else str(value).split(",")
        return ",".join(str(each).strip() for each in several)
    if option in ("width_mult", "depth_mult"):
        return str(Fraction(str(value)))
    return str(value) if option in ("params", "size") else value


def changes(plan: Plan) -> bool:
    """True if a plan changes anything: a size, or weights of the same size."""
    contents = (*plan.contents.values(), *(c for unit in plan.clones.values() for c in unit.values()))
    return plan.resizes or any(isinstance(content, Resampled | Drawn) for content in contents)


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    """Sizes may be of any kind that a person has: numpy's numbers, mappings, tuples."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__index__"):
        return int(value)
    return str(value)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
