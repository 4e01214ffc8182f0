"""What is understood and planned for a model, as text that is compared before and after a change of the core.

python tests/matrix/run.py --plans now.json.xz           # write the record of every row
python tests/matrix/plans.py before.json.xz now.json.xz  # say where two records differ
"""

import argparse
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import front_onnx
from front_onnx.errors import FrontError
from front_onnx.read.subgraphs import all_graphs
from front_onnx.read.tensor_data import has_data, inside_array
from front_onnx.session import Session
from front_onnx.summary import describe_plan, describe_structure

__all__ = ["read_record", "record", "write_record"]

_SHOWN = 8  # numbers of a constant that are written out; of others a hash
_PLACES = ("model", "bytes")  # of the machine, not of the model


def record(path: Path, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `inspect` says of a model, and what is planned for each request or the line that refuses it."""
    found = {"inspect": _told(lambda: _inspected(path))}
    return found | {label: _told(lambda given=given: _planned(path, given)) for label, given in requests.items()}


def _told(work: Callable[[], Any]) -> Any:
    """What comes out, or the line that is said instead: a failure of the core is a finding too."""
    try:
        return work()
    except FrontError as error:
        return f"refused: {error}"
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"


def _inspected(path: Path) -> dict[str, Any]:
    structure = describe_structure(front_onnx.inspect(path))
    return {key: value for key, value in structure.items() if key not in _PLACES}


def _planned(path: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(request)
    session = Session(path, block=given.pop("block", None), residual=given.pop("residual", None))
    plan = session.plan(front_onnx.Request(**given))
    rewritten = session.rewrite(plan)
    lines: Counter[str] = Counter()
    for part in all_graphs(rewritten.proto.graph):
        for tensor in part.initializer:
            lines[f"{_pattern(tensor.name)} {list(tensor.dims)} {_content(tensor, rewritten.pending)}"] += 1
        for node in part.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    lines[f"{_pattern(node.output[0])} {list(attribute.t.dims)} {_values(attribute.t)}"] += 1
    about = {key: value for key, value in describe_plan(plan, rewritten.proto).items() if key != "functions_inlined"}
    return about | {"constants": [f"{count} x {line}" for line, count in sorted(lines.items())]}


def _pattern(name: str) -> str:
    """A name without its numbers: the same in every block, and in every export."""
    return re.sub(r"\d+", "#", name)


def _content(tensor: onnx.TensorProto, pending: Mapping[str, Any]) -> str:
    return type(pending[tensor.name]).__name__.lower() if tensor.name in pending else _values(tensor)


def _values(tensor: onnx.TensorProto) -> str:
    if not has_data(tensor):
        return "empty"
    array = inside_array(tensor)
    if array.size <= _SHOWN:
        return str(array.reshape(-1).tolist())
    return f"{array.dtype} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:8]}"


def write_record(rows: Mapping[str, Any], path: Path) -> None:
    """Write the record of many rows, sorted; compressed where the name ends in .xz."""
    data = json.dumps(rows, indent=1, sort_keys=True).encode()
    path.write_bytes(lzma.compress(data, preset=9) if path.suffix == ".xz" else data)


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote."""
    data = path.read_bytes()
    rows: dict[str, Any] = json.loads(lzma.decompress(data) if path.suffix == ".xz" else data)
    return rows


def _different(before: Any, after: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            line for key in keys for line in _different(before.get(key), after.get(key), f"{where} / {key}".strip(" /"))
        ]
    if isinstance(before, list) and isinstance(after, list):
        old, new = Counter(map(str, before)), Counter(map(str, after))
        return [f"{where}: - {x}" for x in (old - new).elements()] + [f"{where}: + {x}" for x in (new - old).elements()]
    return [] if before == after else [f"{where}: {before} -> {after}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--lines", type=int, default=12, help="shown of each row")
    options = parser.parse_args()
    before, after = read_record(options.before), read_record(options.after)
    changed = 0
    for name in sorted(before.keys() | after.keys()):
        lines = _different(before.get(name), after.get(name))
        changed += bool(lines)
        for line in islice(lines, options.lines):
            print(f"{name}: {line}"[:400])
        if len(lines) > options.lines:
            print(f"{name}: ... and {len(lines) - options.lines} more")
    print(f"{len(before)} rows before, {len(after)} after, {changed} differ")


if __name__ == "__main__":
    main()
