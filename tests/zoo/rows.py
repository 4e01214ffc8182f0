"""What is compared with native exports, beside the pairs in tests/exports: targets, and a cover of opsets.

Every row belongs to the whole run or, `more`, to what comes after it.
"""

from dataclasses import dataclass

from .architectures import ARCHITECTURES
from .opsets import OPSETS, UNSUPPORTED
from .pairs import PAIRS

LABELS = ("shallower", "narrower", "grow", "mixed")
DEFAULT_OPSET = 20  # of both exporters; a test says so
# Collisions and fresh weights are traps for the analysis, not for the exporters: the default opset is enough.
BY_OPSET = [name for name in ARCHITECTURES if not name.endswith(("-fresh", "-collisions"))]


@dataclass(frozen=True)
class Row:
    """An architecture exported in one way at its own size and at another."""

    name: str
    exporter: str
    label: str
    opset: int | None = None
    dynamic: bool = True
    more: bool = False

    def __str__(self) -> str:
        form = "dynamic" if self.dynamic else "static"
        return f"{self.name}-{self.exporter}-{self.opset or 'default'}-{form}-{self.label}"


def rows() -> list[Row]:
    """All of them."""
    return [*default_rows(), *opset_rows()]


def kept_rows() -> list[Row]:
    """Those of tests/exports, which the quick tests compare and the whole run."""
    return [Row(*of) for of in PAIRS.values()]


def default_rows() -> list[Row]:
    """TorchScript's default opset: the targets that no kept pair has. Dynamo's is in the kept pairs.

    In the whole run every architecture shrinks and grows: in the kept pair, or in a row where both dims change; and
    once depth or width changes alone, in turn.
    """
    found = []
    for i, name in enumerate(ARCHITECTURES):
        kept = {label for paired, exporter, label in PAIRS.values() if (paired, exporter) == (name, "torchscript")}
        alone = LABELS[i % 2]
        wanted = {alone} if kept else {alone, LABELS[2 + i // 2 % 2]}
        found += [Row(name, "torchscript", label, more=label not in wanted) for label in LABELS if label not in kept]
    return found


def opset_rows() -> list[Row]:
    """A pairwise cover: each opset with three architectures or more, each architecture with three opsets or more.

    The whole run has half of TorchScript's, each architecture once and each opset twice, and one of dynamo's at its
    oldest opset and at its newest.
    """
    others = [opset for opset in OPSETS["torchscript"] if opset != DEFAULT_OPSET]
    newer = [opset for opset in OPSETS["dynamo"] if opset != DEFAULT_OPSET]
    found = []
    for i, name in enumerate(BY_OPSET):
        for turn in range(2):
            opset = others[(i + turn * (3 + i // len(others))) % len(others)]
            if (name, "torchscript", opset) in UNSUPPORTED:
                opset += 1
            label, dynamic = LABELS[(i + turn) % 4], (i // 2 + turn) % 2 == 0
            found.append(Row(name, "torchscript", label, opset, dynamic, more=turn > 0))
        if i < 3 * len(newer):
            opset = newer[i % len(newer)]
            if (name, "dynamo", opset) in UNSUPPORTED:
                opset = newer[0]
            later = opset not in (newer[0], newer[-1]) or any((r.exporter, r.opset) == ("dynamo", opset) for r in found)
            found.append(Row(name, "dynamo", LABELS[(i + 2) % 4], opset, (i // 4) % 2 == 0, more=later))
    return found
