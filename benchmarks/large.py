"""A model over 2 GB with its weights in a data file: how much memory a resize takes, and how long.

    python benchmarks/large.py [--folder FOLDER]    # needs 6 GB there

BERT with 20 layers of 1600 and random weights, 2.7 GB, streamed to disk. Memory is to stay under one and a half times
the largest stack of resized weights (all layers of one matrix) and 500 MB. The checks run the result: they hold it all.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bert import VOCABULARY, Bert, measured_resize, write_bert

SOURCE = Bert(hidden=1600, heads=20, ffn=6400, layers=20)
REQUESTS = {"half the depth": {"depth": 10}, "half the width": {"width": 800}, "deeper": {"depth": 24}}


def largest_stack(depth: int = SOURCE.layers, width: int = SOURCE.hidden) -> int:
    """Bytes of the feed-forward matrices of all layers, or of the vocabulary."""
    return 4 * max(depth * width * width * SOURCE.ffn // SOURCE.hidden, VOCABULARY * width)


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write the models; deleted at the end")
    parser.add_argument("--checks", action="store_true", help="with the checks of the result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, target = Path(folder) / "large.onnx", Path(folder) / "out.onnx"
        write_bert(source, SOURCE, external=True)
        print(f"{size_of(source) / 1e9:.2f} GB, {SOURCE.layers} layers of {SOURCE.hidden}")
        print(f"{'':18}{'output':>10}{'largest stack':>16}{'aim':>10}{'peak':>10}{'time':>9}")
        for name, request in REQUESTS.items():
            seconds, peak = measured_resize(source, target, **request, validate=options.checks)
            stack = largest_stack(**request)
            sizes = (size_of(target), stack, 1.5 * stack + 500e6, peak)
            shown = "".join(f"{size / 1e6:{width}.0f} MB" for size, width in zip(sizes, (7, 13, 7, 7), strict=True))
            print(f"{name:18}{shown}{seconds:7.1f} s", flush=True)


if __name__ == "__main__":
    main()
