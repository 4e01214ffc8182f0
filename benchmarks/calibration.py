"""What calibration costs on a file of BERT-base's size: time beside forwards of the source, and peak memory.

    python benchmarks/calibration.py                  # 20,000 tokens, 12 x 768 to 6 x 384, then twice the tokens
    python benchmarks/calibration.py --tokens 5000 --width 384

The weights are random, so nothing is said of what calibration is worth: that is in `benchmarks/methods/run.py --methods
calibrated`. Each run is a process of its own, whose largest resident set counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

LENGTH, BATCH, VOCABULARY = 64, 32, 30_522


def feeds(names: list[str], tokens: int) -> list[dict[str, np.ndarray]]:
    """Ids of so many tokens in batches."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(max(2, tokens // (LENGTH * BATCH))):
        ids = rng.integers(1, VOCABULARY, (BATCH, LENGTH))
        made.append({name: ids if name == names[0] else np.ones_like(ids) for name in names})
    return made


def forward(path: Path, tokens: int) -> float:
    """Seconds of one forward of the source over all tokens."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batches = feeds([entry.name for entry in session.get_inputs()], tokens)
    session.run(None, batches[0])
    start = time.perf_counter()
    for feed in batches:
        session.run(None, feed)
    return time.perf_counter() - start


def calibrate(path: Path, tokens: int, sizes: dict[str, int]) -> dict[str, float]:
    """Seconds and peak megabytes of a calibration."""
    import front_onnx

    names = [info.name for info in front_onnx.Graph(front_onnx.read_model(path)).inputs]
    batches = feeds(names, tokens)
    start = time.perf_counter()
    settings = front_onnx.CalibrationSettings(memory=256 << 20, hold_out=0.05)
    output = path.with_name("small.onnx")
    result = front_onnx.resize(path, data=batches, calibration=settings, output=output, validate=False, **sizes)
    assert result.calibration is not None
    return {
        "seconds": time.perf_counter() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "error": result.calibration.best.error,
        "tried": len([each for each in result.calibration.candidates if each.calibrated]),
    }


def apart(what: str, path: Path, tokens: int, sizes: dict[str, int]) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--worker", what, str(path), str(tokens), json.dumps(sizes)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--once", action="store_true", help="not with twice the tokens besides")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, path, tokens, sizes = options.worker
        if what == "forward":
            print(json.dumps({"seconds": forward(Path(path), int(tokens))}))
        else:
            print(json.dumps(calibrate(Path(path), int(tokens), json.loads(sizes))))
        return
    from bert import Bert, write_bert

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bert.onnx"
        write_bert(path, Bert())
        sizes = {"depth": options.depth, "width": options.width}
        for tokens in (options.tokens,) if options.once else (options.tokens, 2 * options.tokens):
            once = apart("forward", path, tokens, {})["seconds"]
            found = apart("calibrate", path, tokens, sizes)
            print(
                f"{tokens} tokens: a forward {once:.1f} s, calibrated in {found['seconds']:.1f} s "
                f"({found['seconds'] / once:.1f} forwards, {found['tried']:.0f} calibrations), "
                f"peak {found['peak']:.0f} MB, error {found['error']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
