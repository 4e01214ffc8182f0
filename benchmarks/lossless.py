"""How exact lossless growth is: the largest difference from the source, for every native export that the tests have.

    python benchmarks/lossless.py                    # all architectures, four ways to grow, one table
    python benchmarks/lossless.py --only 'torch-bert*' MODEL.onnx ...
    python benchmarks/lossless.py --exports FOLDER   # the small models of tests/zoo/rowless.py, exported there

Both models are run on the same made-up inputs; the difference is the largest one over the largest value of the source.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from golden import PAIRS, golden  # noqa: E402

import front_onnx  # noqa: E402
from front_onnx.check.agreement import EXACT  # noqa: E402

WAYS = ("x1.5", "x2", "deeper", "both")


@dataclass(frozen=True)
class Row:
    """One growth: which model, which way, the difference (None if refused), and what is said of it."""

    name: str
    way: str
    difference: float | None
    said: str


def grown(name: str, model: onnx.ModelProto) -> Iterator[Row]:
    """All ways to grow a model."""
    chains = front_onnx.inspect(model).chains
    deeper = ",".join(str(chain.depth + chain.layers) for chain in chains)
    for way in WAYS:
        asked: dict[str, Any] = {"x1.5": {"width_mult": "1.5"}, "x2": {"width_mult": "2"}}.get(way, {})
        if way in ("deeper", "both"):
            if not chains:
                continue
            asked = {"depth": deeper} | ({"width_mult": "1.5"} if way == "both" else {})
        try:
            result = front_onnx.resize(model, method="lossless", **asked)
        except front_onnx.FrontError as error:
            yield Row(name, way, None, str(error).splitlines()[0])
            continue
        assert result.agreement is not None
        inexact = [warning for warning in result.plan.warnings if "not exact" in warning]
        yield Row(name, way, result.agreement.worst, inexact[0] if inexact else "")


def main() -> None:
    """Grow, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--only", help="a pattern of names")
    parser.add_argument("--exports", type=Path, help="a folder for models of kinds that the zoo has no rows of")
    options = parser.parse_args()
    if options.exports is not None:
        from zoo.rowless import MODELS, export  # takes torch

        options.exports.mkdir(parents=True, exist_ok=True)
        options.models += [export(name, options.exports / f"{name}.onnx") for name in MODELS]
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    print("| model | x1.5 | x2 | deeper | both |\n|---|---|---|---|---|")
    pairs = [] if options.models and not options.only else PAIRS
    pairs = [pair for pair in pairs if fnmatch.fnmatch(pair, options.only or "*")]
    named = [*((path.stem, path) for path in options.models), *((pair, pair) for pair in pairs)]
    for name, source in named:
        model = onnx.load(source) if isinstance(source, Path) else golden(source)
        found = list(grown(name, model))
        rows += found
        by_way = {row.way: row for row in found}
        cells = [by_way.get(way) for way in WAYS]
        shown = ["" if c is None else "refused" if c.difference is None else f"{c.difference:.0e}" for c in cells]
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
    exact = [row for row in rows if row.difference is not None and row.difference <= EXACT]
    print(f"\n{len(exact)} of {len(rows)} within {EXACT:g}. The others:\n")
    for row in rows:
        if row not in exact:
            shown = "refused" if row.difference is None else f"{row.difference:.0e}"
            print(f"- {row.name} {row.way}: {shown}: {row.said or 'NOTHING SAID'}")


if __name__ == "__main__":
    main()
