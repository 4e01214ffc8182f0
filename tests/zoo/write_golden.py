"""Write the zoo's golden pairs into tests/exports, so that tests need no exporter.

python tests/zoo/write_golden.py [NAME ...]

The architectures of `pairs.py` as torch's exporters write them at their own size and at another one, and in a .json
file what is typed to get from one to the other. `tests/zoo/test_golden.py` (make test-more) compares them with today's
exports: where torch writes something else, they are written anew and looked through.
"""

import json
import lzma
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the zoo is a package beside the tests
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "zoo"

import onnx

from zoo.architectures import ARCHITECTURES
from zoo.cache import FOLDER as CACHE
from zoo.export import export
from zoo.pairs import FOLDER, PAIRS

_READ = {"pkg.torch.onnx.name_scopes"}  # notes of the dynamo exporter that are kept; others hold paths of this machine


def write_pair(pair: str, folder: Path = FOLDER) -> None:
    """Export a source and its target, and note the request and what the oracle has to know."""
    name, exporter, label = PAIRS[pair]
    architecture = ARCHITECTURES[name]
    size = architecture.targets[label]
    for word, wanted in (("source", architecture.source), (label, size)):
        exported = export(architecture, wanted, exporter, cache_dir=CACHE, anew=True)
        held = without_notes(exported).SerializeToString(deterministic=True)
        (folder / f"{pair}-{word}.onnx.xz").write_bytes(lzma.compress(held, preset=9 | lzma.PRESET_EXTREME))
    about = {
        "model": name,
        "exporter": f"torch {exporter}",
        "target": label,
        "request": architecture.request(size),
        "oracle": {
            "tied": not architecture.fresh,
            "names": True,
            "tables": [table.tolist() for table in architecture.tables(size)],
        },
    }
    (folder / f"{pair}.json").write_text(json.dumps(about, indent=1) + "\n")


def without_notes(path: Path) -> onnx.ModelProto:
    """An exported model without what dynamo notes about this machine."""
    model = onnx.load(path)
    for held in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        kept = [entry for entry in held.metadata_props if entry.key in _READ]
        del held.metadata_props[:]
        held.metadata_props.extend(kept)
        held.doc_string = ""
    return model


if __name__ == "__main__":
    for chosen in [pair for pair in PAIRS if not sys.argv[1:] or PAIRS[pair][0] in sys.argv[1:]]:
        write_pair(chosen)
        print(chosen, flush=True)
