"""Every row of the support matrix as a torch module: outputs beside onnxruntime's, gradients beside differences.

python tests/matrix/train.py --keep FOLDER              # a table of what is not right
python tests/matrix/train.py --suite torch_text --only 'BERT*'
"""

import argparse
import fnmatch
import json
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matrix.run import SUITES, _entry, _export, _line, names

HALF = ("float16",)  # as near as half precision comes


def run(arguments: tuple[str, str, str | None]) -> tuple[str, str, str, str]:
    """(suite, row, outcome, why)."""
    import torch
    from executing import compared, wrong_gradients

    suite, row, keep = arguments
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(keep or temporary) / suite
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{row.replace(' ', '-').replace('/', '_')}.onnx"
        entry = _entry(suite, row)
        try:
            _export(entry, entry.source, path)
        except Exception as error:
            return suite, row, "no export", _line(error)
        try:
            difference, ungraded = compared(path)
            wrong = [] if any(kind in row for kind in HALF) else wrong_gradients(path)
        except Exception as error:
            return suite, row, "refused", f"{type(error).__name__}: {_line(error)}"
    if difference >= (5e-3 if any(kind in row for kind in HALF) else 1e-4):
        return suite, row, "wrong", f"outputs differ by {difference:.1e}"
    if wrong:
        return suite, row, "wrong", f"gradients of {', '.join(wrong[:4])}"
    return suite, row, "no gradient" if ungraded else "right", ", ".join(ungraded[:6])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="append", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--only", action="append", help="rows whose 'name exporter' matches this pattern")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="keep the exports in this folder, and use those that are there")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    keep = str(options.keep) if options.keep else None
    results = []
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=20) as pool:
        suites = options.suite or SUITES
        rows = [(s, row, keep) for s, listed in zip(suites, pool.map(names, suites), strict=True) for row in listed]
        rows = [r for r in rows if any(fnmatch.fnmatch(r[1], only) for only in options.only or ["*"])]
        for suite, row, outcome, why in pool.imap_unordered(run, rows):
            results.append((suite, row, outcome, why))
            if outcome != "right":
                print(f"{outcome}: {row}: {why}"[:300], flush=True)
    counts: dict[str, Counter] = {}
    for suite, _, outcome, _ in results:
        counts.setdefault(suite, Counter())[outcome] += 1
    for suite, found in counts.items():
        print(suite, dict(found))
    print("all", dict(Counter(outcome for *_, outcome, _ in results)))
    if options.json:
        options.json.write_text(json.dumps(sorted(results), indent=1))


if __name__ == "__main__":
    main()
