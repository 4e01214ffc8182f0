"""What the whole run compares with native exports: every architecture by both exporters, and a cover of opsets."""

from dataclasses import dataclass

from .architectures import ARCHITECTURES
from .opsets import EXPORTERS, OPSETS, UNSUPPORTED
from .write_golden import PAIRS

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

    def __str__(self) -> str:
        form = "dynamic" if self.dynamic else "static"
        return f"{self.name}-{self.exporter}-{self.opset or 'default'}-{form}-{self.label}"


def default_rows() -> list[Row]:
    """Both exporters' default opsets: all targets of TorchScript; of dynamo, which takes longest, one of the two where
    both dims change."""
    return [
        Row(name, exporter, label)
        for i, name in enumerate(ARCHITECTURES)
        for exporter in EXPORTERS
        for label in (LABELS if exporter == "torchscript" else [dynamo_label(name, i)])
    ]


def dynamo_label(name: str, place: int) -> str:
    """The target that the golden pair has, whose exports are made anyway; else one of the two in turn."""
    labels = [golden for paired, exporter, golden in PAIRS.values() if (paired, exporter) == (name, "dynamo")]
    return labels[0] if labels else ("grow", "mixed")[place % 2]


def opset_rows() -> list[Row]:
    """A pairwise cover: each opset with three architectures or more, each architecture with three opsets or more."""
    others = [opset for opset in OPSETS["torchscript"] if opset != DEFAULT_OPSET]
    newer = [opset for opset in OPSETS["dynamo"] if opset != DEFAULT_OPSET]
    rows = []
    for i, name in enumerate(BY_OPSET):
        for turn in range(2):
            opset = others[(i + turn * (3 + i // len(others))) % len(others)]
            if (name, "torchscript", opset) in UNSUPPORTED:
                opset += 1
            rows.append(Row(name, "torchscript", LABELS[(i + turn) % 4], opset, (i // 2 + turn) % 2 == 0))
        if i < 3 * len(newer):
            opset = newer[i % len(newer)]
            if (name, "dynamo", opset) in UNSUPPORTED:
                opset = newer[0]
            rows.append(Row(name, "dynamo", LABELS[(i + 2) % 4], opset, (i // 4) % 2 == 0))
    return rows
