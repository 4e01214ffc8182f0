"""What a refinement brought, in rows and sentences, from what `refine` prints as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["refined_figures", "which_epoch"]

_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("teacher_error", "kept of the teacher's outputs", lambda error: f"{max(0.0, 1 - error):.1%}"),
    ("teacher_top", "largest output is the teacher's", "{:.1%}".format),
    ("validation_metric", "", "{:.4g}".format),
    ("validation_loss", "loss", "{:.4g}".format),
    ("low_energy", "energy in the low frequencies", "{:.1%}".format),
)
_SPECTRAL = ("low_energy",)


def refined_figures(about: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What was measured of the start and of the epoch that was written, on held-out data; the most wanted first."""
    first, written = about["history"][0], about["history"][about["epoch"]]
    settings = about["run"]["settings"]
    metric = {"mse": "mean squared error"}.get(settings["loss"], "accuracy")
    rows = []
    for key, name, said in _FIGURES:
        if first.get(key) is None or written.get(key) is None or (key in _SPECTRAL and settings["lam"] == 0):
            continue
        if key == "validation_metric" and not about["labelled"]:
            continue  # it is the loss again
        held_out = "" if key in _SPECTRAL else ", held out"
        rows.append((f"{name or metric}{held_out}", said(first[key]), said(written[key])))
    return rows


def which_epoch(about: Mapping[str, Any]) -> str:
    """Which epoch was written, and why."""
    epoch, last = about["epoch"], about["history"][-1]["epoch"]
    imitated = f"; the teacher was {Path(about['teacher']).name}" if about["teacher"] else ""
    if about["history"][-1].get("validation_loss") is None:
        return f"written: epoch {last}, the last one; with --validation it is the best one, and figures show{imitated}"
    if epoch == last:
        return f"written: epoch {epoch} of {last}, the last one{imitated}"
    what = "the start itself: no epoch was better" if epoch == 0 else "the best"
    return f"written: epoch {epoch} of {last}, {what} on the validation data{imitated}"
