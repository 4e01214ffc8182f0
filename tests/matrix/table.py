"""The matrix as a page: docs/support.md."""

import re
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["write_table"]

_PACKAGES = "onnx onnxruntime torch transformers timm keras tensorflow-cpu tf2onnx jax flax equinox jax2onnx".split()
_PAINT = re.compile(r"\x1b\[[0-9;]*m")  # colours of messages meant for a terminal
_MARKS = {"right": "right", "refused": "refused", "wrong": "**wrong**", "no export": "-"}


def write_table(results: list[dict], path: Path) -> None:
    """Write the outcome of every row, sorted by exporter and name."""
    results = sorted(results, key=lambda r: (r["exporter"], r["name"]))
    counts = Counter(r["outcome"] for r in results)
    missing = [r for r in results if r["outcome"] == "no export"]
    results = [r for r in results if r["outcome"] != "no export"]
    share = 100 * counts["right"] / max(1, len(results))
    lines = [
        "# What is supported",
        "",
        "Written by `make matrix`: every architecture is exported at a source size, resized each way, and compared",
        "with its own native export at the target size: all shapes, constants, attributes and declarations are equal,",
        "and the native graph with the resized weights gives the resized graph's outputs within 1e-4. *Identity*: no",
        "size asked for, weights byte-equal.",
        "",
        f"{len(results)} pairs of architecture and exporter: {counts['right']} right ({share:.1f} %), "
        f"{counts['refused']} refused with a reason, {counts['wrong']} wrong. {len(missing)} more pairs have no native",
        "export at some size, or an invalid one; they stand at the end and are not counted.",
        "",
        "Versions: " + ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))) + ".",
        "",
        "| architecture | kind | exporter | outcome | targets |",
        "|---|---|---|---|---|",
    ]
    for row in results:
        targets = ", ".join(
            label if outcome == "right" else f"{label} {_MARKS[outcome]}"
            for label, (outcome, *_) in row["targets"].items()
        )
        lines.append(f"| {row['name']} | {row['kind']} | {row['exporter']} | {_MARKS[row['outcome']]} | {targets} |")
    for title, rows in (("Reasons", results), ("What the exporters do not write", missing)):
        if reasons := list(_reasons(rows)):
            lines += ["", f"## {title}", "", *reasons]
    path.write_text("\n".join(lines) + "\n")


def _reasons(rows: list[dict]) -> Iterator[str]:
    for row in rows:
        why = {label: reason for label, (outcome, reason, *_) in row["targets"].items() if outcome != "right"}
        for reason in dict.fromkeys(why.values()):
            labels = ", ".join(label for label, other in why.items() if other == reason)
            yield f"- {row['name']} ({row['exporter']}), {labels}: {_PAINT.sub('', reason)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
