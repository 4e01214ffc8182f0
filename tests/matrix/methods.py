"""Run every method on sources of the support matrix: a valid model of the planned shapes, or one line why not.

python tests/matrix/run.py --keep FOLDER                 # leaves a source for each row
python tests/matrix/methods.py FOLDER [--only 'BERT*'] [--every 8] [--dry]

A method is run on half the width and a layer less in each chain, those that only grow on twice the width and a layer
more. Its result has to have the shapes that `front` gives the same request, to load and to run in onnxruntime.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from front_onnx.check.validate import check_result
from front_onnx.errors import FrontError
from front_onnx.plan.request import Request
from front_onnx.session import Session
from front_onnx.store.model_writer import ProtoWriter
from front_onnx.transform.weights import fill

SMALLER = (
    "dft dwt:haar dwt:db4 pca svd select select:first select:norm fold interpolate copy:even copy:first copy:last "
    "copy:interleave copy:stack random mimetic align order"
).split()
LARGER = "lossless duplicate average zero interpolate random".split()
SECONDS = 300  # for one source


@dataclass(frozen=True)
class Found:
    """One method on one source: "right", "refused", "wrong" or "failed", and why."""

    source: str
    way: str
    method: str
    outcome: str
    said: str = ""


def asked(session: Session, way: str) -> Request:
    """The request for a smaller or a larger model of a source, without a method."""
    step = -1 if way == "smaller" else 1
    layers = [chain.depth + step * chain.layers for chain in session.structure.chains]
    depth = ",".join(str(max(each, 1)) for each in layers)
    return Request(depth=depth or None, width_mult="0.5" if way == "smaller" else "2")


def with_method(request: Request, method: str) -> Request:
    """The same request by a method; `align` and `order` are options of `front`."""
    return replace(request, **{method: True}) if method in ("align", "order") else replace(request, method=method)


def shapes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """The dims of all initializers, by name."""
    return {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer if len(tensor.dims)}


def run(session: Session, request: Request, wanted: dict[str, list[int]] | None, dry: bool) -> tuple[str, str, dict]:
    """The outcome of one request: what, why, and the shapes of the result."""
    try:
        plan = session.plan(request)
        rewritten = session.rewrite(plan)
    except FrontError as error:
        return "refused", str(error).splitlines()[0], {}
    found = shapes(rewritten.proto)
    if wanted is not None:
        odd = [name for name, dims in found.items() if wanted.get(name, dims) != dims or dims not in wanted.values()]
        if odd:
            return "wrong", f"{odd[0]} has not the shape that front gives: {found[odd[0]]}", found
    if dry:
        return "right", "", found
    writer = ProtoWriter(rewritten.proto, set(rewritten.pending))
    fill(plan.structure.graph, rewritten.pending, writer.put)
    try:
        checked = check_result(session.source, writer.result(), 0)
    except FrontError as error:
        return "wrong", str(error).splitlines()[0], found
    return ("right", "", found) if checked.passed else ("wrong", str(checked)[:200], found)


def methods(source: Path, dry: bool) -> Iterator[Found]:
    """Every method on one source."""
    started = time.monotonic()
    session = Session(source)
    for way, chosen in (("smaller", SMALLER), ("larger", LARGER)):
        wanted = None
        for method in ("front", *chosen):
            if time.monotonic() - started > SECONDS:
                return
            try:
                request = asked(session, way)
                outcome, said, got = run(session, with_method(request, method), wanted, dry)
            except Exception:
                outcome, said, got = "failed", traceback.format_exc()[-400:], {}
            yield Found(source.parent.name, way, method, outcome, said)
            if method == "front" and not got:
                break  # no size that this model can have
            wanted = wanted or got


def main() -> None:
    """Run, print what is not right, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="a pattern of rows")
    parser.add_argument("--every", type=int, default=1, help="every how manieth row")
    parser.add_argument("--dry", action="store_true", help="plan and rewrite, compute and run nothing")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sources = [path for path in sorted(options.folder.glob("*/source.onnx"))]
    sources = [path for path in sources if fnmatch.fnmatch(path.parent.name, options.only)][:: options.every]
    counts: Counter[str] = Counter()
    for source in sources:
        before = counts.copy()
        for found in methods(source, options.dry):
            counts[found.outcome] += 1
            if found.outcome != "right":
                print(f"{found.outcome}: {found.source} {found.way} {found.method}: {found.said}", flush=True)
        here = counts - before
        print(f"{source.parent.name}: {', '.join(f'{count} {outcome}' for outcome, count in here.items())}", flush=True)
    print(f"{len(sources)} sources:", ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    sys.exit(1 if counts["wrong"] + counts["failed"] else 0)


if __name__ == "__main__":
    main()
