"""Checkpoints: everything that the next epoch depends on, so that a run goes on as if it had never stopped."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from front_onnx.errors import FileError, OutputError, RequestError
from front_onnx.store.atomic import atomic_write

__all__ = ["epochs_done", "load_checkpoint", "save_checkpoint"]

_VERSION = 1
_FREE = frozenset(("device",))  # settings that a run may be resumed with others of


def save_checkpoint(path: Path, tensors: dict[str, Any], about: dict[str, Any]) -> None:
    """Write a checkpoint in one move: what stood there before is complete until the new one is.

    Args:
        path: the file.
        tensors: state of the module, the optimizer, the schedule: whatever torch.load reads without running code.
        about: plain data: settings, epoch, history.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path) as staged:
        try:
            torch.save({"version": _VERSION, "about": json.dumps(about), **tensors}, staged.path)
        except (OSError, RuntimeError) as error:
            line = str(error).replace(str(staged.path), str(path))
            raise OutputError(f"the checkpoint {path} cannot be written: {line}") from None


def epochs_done(path: Path) -> tuple[int, int] | None:
    """How many epochs a checkpoint has seen, of how many; None if there is no checkpoint that could be read."""
    try:
        about = json.loads(torch.load(path, map_location="cpu", weights_only=True)["about"])
        return len(about["history"]) - 1, about["run"]["settings"]["epochs"]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, pickle.UnpicklingError, EOFError):
        return None


def load_checkpoint(path: Path, about: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint of the same run.

    Args:
        path: the file.
        about: what the run is now: its settings, its source, its data.

    Returns:
        tensors and plain data, as they were saved.

    Raises:
        FileError: there is none, or it is damaged.
        RequestError: it belongs to a run with other settings.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        saved = json.loads(found.pop("about"))
        version = found.pop("version")
    except FileNotFoundError:
        raise FileError(f"there is no checkpoint {path} to resume from") from None
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
        EOFError,
    ) as error:
        line = " ".join(str(error).split())[:120]
        raise FileError(f"the checkpoint {path} is damaged: {line}") from None
    if version != _VERSION:
        raise FileError("the checkpoint is of another version", got=version, wanted=_VERSION)
    now, before = json.loads(json.dumps(about)), saved["run"]
    settings = {**before["settings"], **{key: now["settings"].get(key) for key in _FREE}}
    for name, old, new in [
        *((key, settings.get(key), value) for key, value in now["settings"].items()),
        *((key, before.get(key), value) for key, value in now.items() if key != "settings"),
    ]:
        if old != new:
            raise RequestError(f"the checkpoint's run had another {name}", got=new, wanted=old)
    return found, saved
