"""One row of the matrix: an architecture, an exporter, and the sizes it is resized to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from zoo.sizes import Size, request

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """An architecture as one exporter writes it.

    Attributes:
        name: the architecture.
        kind: what sort of model it is, for the table ("encoder", "cnn" ...).
        exporter: torchscript, dynamo, keras, tf2onnx, jax2onnx ...
        export: writes the native model of a size to a path.
        source: the size that is resized.
        targets: the sizes it is resized to.
        by_ratio: widths are asked for as one factor.
        tied: see `zoo.oracle.compare`.
        options: what else a user has to type, by target label ("" for every target).
        tables: contents of constants that the architecture computes at a size.
        twin: writes the native model of a size with other weights to the second path, unless what the first path
            holds shows that all its constants are weights; says whether it did.
        alone: the exporter does not write the same graph twice: if a row is wrong, exports in fresh processes decide.
        tries: how many of them a target is compared with.
    """

    name: str
    kind: str
    exporter: str
    export: Callable[[Size, Path], None]
    source: Size
    targets: Mapping[str, Size]
    by_ratio: bool = False
    tied: bool = True
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    tables: Callable[[Size], Sequence[np.ndarray]] | None = None
    twin: Callable[[Size, Path, Path], bool] | None = None
    alone: bool = False
    tries: int = 1

    def request(self, label: str) -> dict[str, object]:
        """What is asked of the tool for a target."""
        typed: dict[str, object] = dict(request(self.source, self.targets[label], by_ratio=self.by_ratio))
        return {**typed, **self.options.get("", {}), **self.options.get(label, {})}
