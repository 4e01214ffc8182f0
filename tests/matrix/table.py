"""The matrix as a page: docs/support.md."""

from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["write_table"]

_PACKAGES = "onnx onnxruntime torch transformers timm keras tensorflow-cpu tf2onnx jax flax equinox jax2onnx".split()
_MARKS = {"right": "right", "refused": "refused", "wrong": "**wrong**", "no export": "-"}


def write_table(results: list[dict], path: Path) -> None:
    """Write the outcome of every row, sorted by exporter and name."""
    results = [r for r in results if r["outcome"] != "no export" or len(r["targets"]) > 1]
    counts = Counter(r["outcome"] for r in results)
    total = sum(counts.values())
    lines = [
        "# What is supported",
        "",
        "Written by `make matrix`: every architecture is exported at a source size, resized each way, and compared",
        "with its own native export at the target size: all shapes, constants, attributes and declarations are equal,",
        "and the native graph with the resized weights gives the resized graph's outputs within 1e-4. *Identity*: no",
        "size asked for, weights byte-equal.",
        "",
        f"{total} pairs of architecture and exporter: {counts['right']} right, "
        f"{counts['refused']} refused with a reason, {counts['wrong']} wrong.",
        "",
        "Versions: " + ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))) + ".",
        "",
        "| architecture | kind | exporter | outcome | targets |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(results, key=lambda r: (r["exporter"], r["name"])):
        targets = ", ".join(
            label if outcome == "right" else f"{label} {_MARKS[outcome]}"
            for label, (outcome, *_) in row["targets"].items()
        )
        lines.append(f"| {row['name']} | {row['kind']} | {row['exporter']} | {_MARKS[row['outcome']]} | {targets} |")
    reasons = [
        f"- {row['name']} ({row['exporter']}), {label}: {why[0] if why else ''}"
        for row in sorted(results, key=lambda r: (r["exporter"], r["name"]))
        for label, (outcome, *why) in row["targets"].items()
        if outcome != "right"
    ]
    if reasons:
        lines += ["", "## Reasons", "", *reasons]
    path.write_text("\n".join(lines) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
