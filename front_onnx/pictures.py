"""Figures that are drawn without a screen (matplotlib, an extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from front_onnx.errors import RequestError
from front_onnx.store.atomic import atomic_write

__all__ = ["check_picture", "new_figure", "save_figure"]


def new_figure(width: float, height: float) -> Any:
    """An empty figure, sizes in inches.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RequestError("--plot needs matplotlib", hint="pip install 'front-onnx[plot]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_picture(path: Path) -> None:
    """Refuse early what `save_figure` would refuse late.

    Raises:
        RequestError: matplotlib is not installed or knows no such format, or there is no such folder.
    """
    known = new_figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known or not path.parent.is_dir():
        wanted = f"a folder that exists, and .{', .'.join(sorted(known))}"
        raise RequestError(f"--plot cannot write {path}", wanted=wanted)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format that the name ends in.

    Raises:
        RequestError: matplotlib cannot write such a file, or not there.
    """
    with atomic_write(path) as staged:
        try:
            figure.savefig(staged.path)
        except (ValueError, OSError) as error:
            line = str(error).replace(str(staged.path), str(path))
            raise RequestError(f"--plot cannot write {path}: {line}") from None
