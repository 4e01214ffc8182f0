"""What the tests notice: lines of the source are changed one at a time, and the quick tests run on each change.

python tests/mutations.py [--only WORD ...] [--hinted] [--whole] [--table FILE]

Each mutation is made in a copy of the project, in a folder of its own. First the test files run that are named beside
it, for they stop soonest; if they pass, all quick tests (`--hinted`: no others); if these pass too, with `--whole`, all
tests. `--control` runs all quick tests on a copy without a mutation, which they have to pass.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = "not export and not slow and not more"


@dataclass(frozen=True)
class Mutation:
    """One line of a file before and after, and the test files that are tried first."""

    file: str
    before: str
    after: str
    first: str

    def __str__(self) -> str:
        return f"{self.file}: `{self.before.strip()}` becomes `{self.after.strip()}`"


MUTATIONS = [
    Mutation(*row)
    for row in (
        # read
        (
            "front_onnx/read/tensor_data.py",
            "is None else -(-count * bits // 8)",
            "is None else count * bits // 8",
            "test_model_file.py",
        ),
        (
            "front_onnx/read/tensor_data.py",
            "    if length != wanted:\n",
            "    if length < wanted:\n",
            "test_model_file.py",
        ),
        (
            "front_onnx/read/external_data.py",
            "if offset + length > len(data):",
            "if offset > len(data):",
            "test_model_file.py",
        ),
        (
            "front_onnx/read/external_data.py",
            "if not any(real.is_relative_to(folder) for folder in self._folders):",
            "if False:",
            "test_model_file.py",
        ),
        (
            "front_onnx/read/graph.py",
            "return self.alias.get(name, name)",
            "return name",
            "test_exports.py test_blocks.py",
        ),
        (
            "front_onnx/read/graph.py",
            'return scopes[-2] if len(scopes) > 1 else ""',
            'return ""',
            "test_kept.py",
        ),
        # understand
        (
            "front_onnx/constants/per_head.py",
            "np.arange(1, low + 1) / low",
            "np.arange(low) / low",
            "test_computed.py",
        ),
        ("front_onnx/constants/per_head.py", "2.0 ** (-5 - np", "2.0 ** (-4 - np", "test_computed.py"),
        (
            "front_onnx/operators/normalization.py",
            "ctx.broadcast(x[start:], ctx.axes(slot))",
            "ctx.broadcast(x[-1:], ctx.axes(slot)[-1:])",
            "test_rules.py",
        ),
        (
            "front_onnx/operators/linear.py",
            "m, k = a[::-1] if",
            "m, k = a if",
            "test_rules.py",
        ),
        (
            "front_onnx/operators/linear.py",
            "ctx.contract(1, max(len(b) - 2, 0))",
            "ctx.contract(1, max(len(b) - 1, 0))",
            "test_kept.py",
        ),
        (
            "front_onnx/constants/copies.py",
            "_SMALLEST = 16",
            "_SMALLEST = 1 << 60",
            "test_vision_traps.py test_exports.py",
        ),
        (
            "front_onnx/blocks/chosen.py",
            "if best is None or found.count > best.count:",
            "if best is None:",
            "test_chosen.py",
        ),
        (
            "front_onnx/blocks/chains.py",
            "if whole and weights == weights[:step] * layers:",
            "if whole:",
            "test_blocks.py test_exports.py",
        ),
        (
            "front_onnx/constants/scalars.py",
            "return bool(readers) and len(weights) == len(readers)",
            "return len(weights) == len(readers)",
            "test_scalars.py test_exports.py",
        ),
        # plan
        ("front_onnx/methods/scale.py", "math.sqrt(target / source)", "math.sqrt(source / target)", "test_method.py"),
        (
            "front_onnx/methods/scale.py",
            "return amp if writes and amp < 1 else 1 / amp",
            "return 1 / amp",
            "test_transform.py test_method.py",
        ),
        ("front_onnx/methods/scale.py", "return kept / amp if", "return kept if", "test_method.py"),
        ("front_onnx/plan/heads.py", "(ratio / head_dim, head_dim)", "(ratio, head_dim)", "test_api.py"),
        (
            "front_onnx/plan/rounding.py",
            "math.floor(size / step + Fraction(1, 2))",
            "math.floor(size / step)",
            "test_options.py",
        ),
        (
            "front_onnx/plan/sizing.py",
            "layers = wanted - entry\n",
            "layers = wanted\n",
            "test_blocks.py test_exports.py",
        ),
        (
            "front_onnx/plan/weights.py",
            "lowest = min(float(self.graph.array(name).min()) for name in names)",
            "lowest = None",
            "test_light.py",
        ),
        (
            "front_onnx/plan/weights.py",
            "names = names[:1]  # one tensor",
            "pass  # one tensor",
            "test_blocks.py",
        ),
        # transform
        ("front_onnx/transform/spectral.py", "np.sqrt(1 / source)", "np.sqrt(2 / source)", "test_spectral.py"),
        (
            "front_onnx/transform/spectral.py",
            "slice(min(axis_map.keep, source, target))",
            "slice(min(source, target))",
            "test_spectral.py",
        ),
        (
            "front_onnx/transform/stack.py",
            "between = out[:count] if out.dtype == work else",
            "between = out[:count] if True else",
            "test_transform.py",
        ),
        (
            "front_onnx/transform/stack.py",
            "late = order[len(early) :]",
            "late = order[len(early) + 1 :]",
            "test_transform.py",
        ),
        # write
        ("front_onnx/write/renumber.py", "* (counted[1] - counted[0])", "* 1", "test_kept.py"),
        (
            "front_onnx/write/renumber.py",
            "int(match[1]) > last:",
            "int(match[1]) >= 0:",
            "test_kept.py",
        ),
        ("front_onnx/write/rewrite.py", "tensor.metadata_props.extend(metadata)", "pass", "test_kept.py"),
        ("front_onnx/write/units.py", "entry.value = continued(", "_ = (", "test_kept.py"),
        (
            "front_onnx/write/unshare.py",
            "for edge in edges[1:]:",
            "for edge in edges[2:]:",
            "test_match.py",
        ),
        # check
        ("front_onnx/check/validate.py", "and not np.isfinite(array).all()", "and False", "test_cli.py test_api.py"),
        (
            "front_onnx/check/validate.py",
            "if name in initializers or mine.get(name) == theirs.get(name):",
            "if name in initializers or name in mine:",
            "test_cli.py test_api.py",
        ),
        ("front_onnx/check/synthetic.py", "top = limits.get(name, 2)", "top = 2**31", "test_exports.py"),
        # gene
        ("front_onnx/gene/basis.py", '"mid": (size - kept) // 2', '"mid": 0', "test_learngenes.py"),
        ("front_onnx/gene/expand.py", "if member.transposed else entry", "if False else entry", "test_learngenes.py"),
        ("front_onnx/gene/spectrum.py", "power[:kept].sum()", "power[kept:].sum()", "test_learngenes.py"),
        # match
        ("front_onnx/roles/piece.py", "turned.transpose(np.argsort(self.order))", "turned", "test_match.py"),
        (
            "front_onnx/match/matching.py",
            'if mine.size != yours.size and "fixed" in kinds:',
            "if False:",
            "test_match.py",
        ),
        ("front_onnx/match/matching.py", "(counts[size], -size)", "(-counts[size], -size)", "test_match.py"),
        # adapters
        ("adapters/executor/operators/contraction.py", "else beta * c)", "else c)", "test_executor.py"),
        ("adapters/executor/operators/normalization.py", "if step.version < 21:", "if False:", "test_executor.py"),
        (
            "adapters/executor/operators/normalization.py",
            "mean * keep + mean_now.detach() * (1 - keep)",
            "mean * (1 - keep) + mean_now.detach() * keep",
            "test_executor.py test_refine.py",
        ),
        ("adapters/executor/operators/elementwise.py", '"Sub": torch.sub', '"Sub": torch.add', "test_executor.py"),
        ("adapters/spectral/penalty.py", "/ size / gamma)", "/ gamma)", "test_regularizer.py"),
        ("adapters/spectral/penalty.py", "return total / max(1, counted)", "return total / 1", "test_regularizer.py"),
        ("adapters/spectral/stacks.py", "size == 1 or (table and place == 0)", "size == 1", "test_regularizer.py"),
    )
]


def main() -> int:
    """Try them all and write the table; the exit code says whether the quick tests caught every one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="mutations whose file or line holds one of these words")
    parser.add_argument("--hinted", action="store_true", help="run no quick tests but those named beside a mutation")
    parser.add_argument("--whole", action="store_true", help="run all tests on what the quick ones let through")
    parser.add_argument("--control", action="store_true", help="see that the quick tests pass without a mutation")
    parser.add_argument("--table", type=Path, help="where the outcome is written as Markdown, row by row")
    given = parser.parse_args()
    chosen = [m for m in MUTATIONS if not given.only or any(word in str(m) for word in given.only)]
    for mutation in MUTATIONS:
        count = (ROOT / mutation.file).read_text().count(mutation.before)
        if count != 1:
            parser.error(f"{mutation}: the line is there {count} times")
    if given.control:
        outcome = tried(Mutation(MUTATIONS[0].file, "", "", ""), hinted=False, whole=False)
        print(f"without a mutation: {outcome}")
        return int(outcome != "survived")
    survived = 0
    for mutation in chosen:
        started = time.perf_counter()
        outcome = tried(mutation, given.hinted, given.whole)
        survived += not outcome.startswith("quick")
        print(f"{outcome:40} {time.perf_counter() - started:4.0f} s  {mutation}", flush=True)
        if given.table:
            with given.table.open("a") as table:
                before, after = (
                    " ".join(text.split()).replace("|", "\\|") for text in (mutation.before, mutation.after)
                )
                table.write(f"| `{mutation.file}` | `{before}` | `{after}` | {outcome} |\n")
    print(f"{len(chosen) - survived} of {len(chosen)} caught by the quick tests")
    return int(bool(survived))


def tried(mutation: Mutation, hinted: bool, whole: bool) -> str:
    """What catches a mutation: the first test that fails, and in which run."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / "project"
        kept = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, copy, ignore=kept)
        path = copy / mutation.file
        if mutation.before:
            path.write_text(path.read_text().replace(mutation.before, mutation.after))
        (copy / "front_onnx" / "adapters").symlink_to(copy / "adapters")  # as the wheel has it
        first = [f"tests/{name}" for name in mutation.first.split()]
        runs = [("quick", [*first, "-m", QUICK])] * bool(first)
        runs += [("quick", ["-m", QUICK])] * (not hinted)
        runs += [("whole", ["-m", "(export or slow) and not more"])] * whole
        for name, arguments in runs:
            failed = first_failure(copy, arguments)
            if failed:
                return f"{name}: {failed}"
    return "survived"


def first_failure(copy: Path, arguments: list[str]) -> str | None:
    """The test that fails first; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", *arguments]
    # The copy stands before what is installed.
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return None
    told = [line.split()[1] for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return told[0].removeprefix("tests/").split("[")[0] if told else f"pytest ended with {run.returncode}"


if __name__ == "__main__":
    sys.exit(main())
