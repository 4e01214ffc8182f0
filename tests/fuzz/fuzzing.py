"""Feed mutants of small models and learngenes to the commands, and count what ends in anything but one clear line.

python tests/fuzz/run.py --minutes 5 --seed 1       # keeps what fails in --keep FOLDER
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from click.testing import CliRunner
from small import DIGITS, mlp

import front_onnx
from front_onnx.commands import main
from fuzz.mutants import mutated, mutated_gene

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
SLOW = 20.0


@dataclass
class Outcome:
    """What became of the mutants."""

    counts: Counter = field(default_factory=Counter)
    failures: list[tuple[str, bytes, str]] = field(default_factory=list)
    slowest: float = 0.0


def sources(folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Small models of many operators, and learngenes."""
    digits = onnx.load(DIGITS)
    models = [mlp(depth=2).SerializeToString(), digits.SerializeToString()]
    wanted = ("test_lstm_*", "test_loop*", "test_if*", "test_scan*", "test_conv*", "test_einsum*", "test_resize*")
    for pattern in wanted:
        models += [path.read_bytes() for path in sorted(LIGHT.glob(f"{pattern}/model.onnx"))[:6]]
    genes = []
    for name, model in (("a", mlp(depth=3)), ("b", mlp(depth=2, width=8))):
        made = front_onnx.extract(model, output=folder / f"{name}.safetensors", ratio=0.5)
        genes.append(made.output.read_bytes())
    return models, genes


def commands(path: Path, out: Path) -> Iterator[list[str]]:
    """What is asked of a mutant."""
    if path.suffix == ".onnx":
        yield ["inspect", str(path)]
        yield ["resize", str(path), "--width-mult", "2", "--round-to", "1", "-o", str(out)]
    else:
        yield ["inspect", str(path)]
        yield ["init", str(path), "--depth", "4", "--no-validate", "-o", str(out)]


def fuzz(seed: int, seconds: float, most: int = sys.maxsize, slow: float = SLOW) -> Outcome:
    """Try mutants, the same ones for the same seed, until the time is up or there were so many."""
    found, rng, ends = Outcome(), random.Random(seed), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models, genes = sources(folder)
        while time.monotonic() < ends and found.counts["models"] + found.counts["learngenes"] < most:
            is_gene = rng.random() < 0.15
            raw = mutated_gene(rng.choice(genes), rng) if is_gene else mutated(rng.choice(models), rng)
            found.counts["learngenes" if is_gene else "models"] += 1
            path = folder / ("mutant.safetensors" if is_gene else "mutant.onnx")
            path.write_bytes(raw)
            for command in commands(path, folder / "out.onnx"):
                _try(command, raw, found, slow)
    return found


def _try(command: list[str], raw: bytes, found: Outcome, slow: float) -> None:
    started = time.monotonic()
    result = CliRunner().invoke(main, command)
    took = time.monotonic() - started
    found.slowest = max(found.slowest, took)
    error = result.exception
    lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    if not isinstance(error, SystemExit | None) or "is a bug" in result.output or result.exit_code not in (0, 1, 2):
        found.counts["tracebacks"] += 1
        found.failures.append((command[0], raw, (lines or [repr(error)])[-1]))
    elif took > slow:
        found.counts["slow"] += 1
        found.failures.append((command[0], raw, f"{took:.1f} s"))
    else:
        found.counts["answered" if result.exit_code == 0 else "refused"] += 1


def command_line() -> None:
    """What `run.py` does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=SLOW, help="seconds from which an answer counts as slow")
    parser.add_argument("--keep", type=Path, help="a folder for what fails")
    given = parser.parse_args()
    found = fuzz(given.seed, 60 * given.minutes, slow=given.slow)
    for number, (command, raw, line) in enumerate(found.failures):
        print(f"{command}: {line[:300]}")
        if given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{given.seed}-{number}-{command}.bin").write_bytes(raw)
    print(dict(found.counts), f"slowest {found.slowest:.1f} s")
    sys.exit(bool(found.failures))
