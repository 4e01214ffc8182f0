"""The matrix as a page: docs/support.md, which is read back where only some of its rows were run again."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["read_table", "write_table"]

_PACKAGES = "onnx onnxruntime torch transformers timm keras tensorflow-cpu tf2onnx jax flax equinox jax2onnx".split()
_PAINT = re.compile(r"\x1b\[[0-9;]*m")  # colours of messages meant for a terminal
_REASON = re.compile(r"- (?P<name>.+?) \((?P<exporter>[^()]+)\), (?P<labels>.+?): (?P<reason>.+)")
_MARKS = {"right": "right", "refused": "refused", "wrong": "**wrong**", "no export": "-"}


def read_table(path: Path) -> list[dict]:
    """The rows of a page that `write_table` has written, those that have no export too."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = {}
    for line in lines:
        if line.startswith("| ") and (cells := line.strip("| ").split(" | "))[0] != "architecture":
            name, kind, exporter, outcome, targets, measured = cells
            rows[name, exporter] = {
                "name": name,
                "kind": kind,
                "exporter": exporter,
                "outcome": outcome.strip("*") if outcome != "-" else "no export",
                "targets": dict(map(_target, targets.split(", "))),
                "measured": measured,
            }
    for found in filter(None, map(_REASON.fullmatch, lines)):
        row = rows[found["name"], found["exporter"]]
        for label in found["labels"].split(", "):
            row["targets"][label][1:] = [found["reason"]]
    return list(rows.values())


def _target(text: str) -> tuple[str, list[str]]:
    for outcome, mark in _MARKS.items():
        if outcome != "right" and text.endswith(f" {mark}"):
            return text.removesuffix(f" {mark}"), [outcome, ""]
    return text, ["right"]


def write_table(results: list[dict], path: Path, *, whole: bool = True) -> None:
    """Write the outcome of every row, sorted by exporter and name; unless these are the `whole`, others stay."""
    today = date.today().isoformat()
    rows = {} if whole else {(r["name"], r["exporter"]): r for r in read_table(path)}
    rows |= {(r["name"], r["exporter"]): {"measured": today, **r} for r in results}
    results = sorted(rows.values(), key=lambda r: (r["exporter"], r["name"]))
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
        "size asked for, weights byte-equal. *Measured*: when the row was run.",
        "",
        f"{len(results)} pairs of architecture and exporter: {counts['right']} right ({share:.1f} %), "
        f"{counts['refused']} refused with a reason, {counts['wrong']} wrong. {len(missing)} more pairs have no native",
        "export at some size, or an invalid one; they stand at the end (-) and are not counted.",
        "",
        "Versions: " + ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name))) + ".",
        "",
        "| architecture | kind | exporter | outcome | targets | measured |",
        "|---|---|---|---|---|---|",
    ]
    for row in (*results, *missing):
        targets = ", ".join(
            label if outcome == "right" else f"{label} {_MARKS[outcome]}"
            for label, (outcome, *_) in row["targets"].items()
        )
        cells = (row["name"], row["kind"], row["exporter"], _MARKS[row["outcome"]], targets, row["measured"])
        lines.append(f"| {' | '.join(cells)} |")
    for title, rows in (("Reasons", results), ("What the exporters do not write", missing)):
        if reasons := list(_reasons(rows)):
            lines += ["", f"## {title}", "", *reasons]
    path.write_text("\n".join(lines) + "\n")


def _reasons(rows: list[dict]) -> Iterator[str]:
    for row in rows:
        why = {label: reasons[0] for label, (outcome, *reasons) in row["targets"].items() if outcome != "right"}
        for reason in dict.fromkeys(why.values()):
            labels = ", ".join(label for label, other in why.items() if other == reason)
            yield f"- {row['name']} ({row['exporter']}), {labels}: {_PAINT.sub('', reason)}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
