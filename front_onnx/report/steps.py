"""What to do next, with the user's own file names: the last lines of every command, of a card and of a page.

Three lines at most. This is the one place where they are made.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.api import Result
from front_onnx.comparison.run import Comparison
from front_onnx.comparison.teaching import WHY, refining_rate
from front_onnx.dims.structure import Structure
from front_onnx.into import Moved
from front_onnx.plan.plan import Plan

__all__ = [
    "after_compare",
    "after_extract",
    "after_init_into",
    "after_inspect",
    "after_refine",
    "after_resize",
    "after_validate",
]

_SAMPLES = "SAMPLES"


def after_resize(result: Result, data: str | None = None) -> list[str]:
    """After `resize`, or `init` of a learngene; `data` is what was said as --data."""
    plan = result.plan
    if result.output is None:
        return ["without --dry-run it is written"]
    grown = _pairs(result.grown) if result.grown is not None else []
    sizes = [*_pairs(plan), *grown]
    source, output = _name(plan.structure.graph.model.path), _name(result.output)
    samples = _name(data) if data not in (None, "synthetic") else _SAMPLES
    found = [] if result.validation is not None else [f"front-onnx validate {output} --like {source}"]
    runs = plan.structure.graph.model.runs
    kind = _kind(result)
    if sizes and kind == "carried" and runs:
        if all(before < after for before, after in sizes):
            found.append("--method lossless would keep what the model computes")
        elif plan.request.evidence is None:
            found.append(f"it keeps more if it is calibrated: the same with --data {samples}, or --method best without")
    if result.calibration is not None and data in (None, "synthetic"):
        found.append(f"inputs were made up, and figures are of these: with yours it keeps more, --data {samples}")
    if sizes:
        teacher = f" --teacher {source}" if runs and _as_the_source(result) else ""
        line = f"front-onnx refine {output}{teacher} --data {samples} --lr {_rate(kind)}"
        found.append(line + (f"  # a low rate: {WHY[kind]}" if kind != "carried" else ""))
    return [*found, _home(plan.structure, str(result.output))][:3]


def after_init_into(moved: Moved, source: str, target: str) -> list[str]:
    """After `init --into`."""
    if moved.output is None:
        return ["without --dry-run it is written; --map FILE says otherwise which weight goes where"]
    output = _name(moved.output)
    found = []
    if moved.calibration is None:
        found.append(f"front-onnx init {_name(source)} --into {_name(target)} --data {_SAMPLES}  # calibrates it")
    calibrated = moved.calibration is not None and moved.calibration.best.calibrated
    rate = _rate("calibrated" if calibrated else "carried")
    found.append(f"front-onnx refine {output} --data {_SAMPLES} --lr {rate}")
    return [*found, f'initialize(module, inputs, "{moved.output}") of front_onnx.adapters.torch, .keras or .flax'][:3]


def after_refine(about: Mapping[str, Any]) -> list[str]:
    """After `refine`; `about` is what it prints as JSON."""
    output = _name(about["output"])
    found = [f"front-onnx resize {output} --depth N --width N --method best"]
    if about.get("learngene"):
        found.insert(0, f"front-onnx init {_name(about['learngene'])} --depth N")
    else:
        found.append(f"front-onnx inspect {output} --spectrum  # did its low frequencies gain?")
    return found


def after_compare(found: Comparison, data: str | None = None, sizes: Sequence[str] = ()) -> list[str]:
    """After `compare`; `sizes` are the options that said the size."""
    model = _name(found.source.model or "MODEL")
    samples = _name(data) if data is not None else _SAMPLES
    best = found.best
    said = f" --data {samples}" if data is not None else ""
    if best is None:
        size = max(found.sizes, key=lambda each: each.best.final if each.best else 0.0)
        words = " ".join(_option(word) for word in size.label.split())
        return [f"front-onnx compare {model} {words}{said} -o best.onnx"]
    if found.output is None:
        how = {"calibrated": f"--data {samples}", "made-up": "--data synthetic"}
        method = how.get(best.method, f"--method {shlex.quote(best.method)}")
        return [f"front-onnx resize {model} {' '.join(sizes)} {method}".replace("  ", " ")]
    output, teacher = _name(found.output), "" if best.untrained else f" --teacher {model}"
    return [
        f"front-onnx refine {output}{teacher} --data {samples} --lr {_rate(best.kind)}",
        f"front-onnx inspect {output}  # where it comes from",
    ]


def after_inspect(structure: Structure) -> list[str]:
    """After `inspect` of a model."""
    model = _name(structure.graph.model.path or "MODEL")
    depths = [chain.depth for chain in structure.chains]
    widths = any(axis is not None for axis in (*structure.residuals, structure.loose))
    size = f"--depth {','.join(str(max(1, depth // 2)) for depth in depths)}" if depths else ""
    size = size or ("--width-mult 0.5" if widths else "")
    if not size:
        return []
    return [
        f"front-onnx compare {model} {size} --data {_SAMPLES}  # which method keeps most?",
        f"front-onnx resize {model} {size} --method best",
    ]


def after_extract(output: Path) -> list[str]:
    """After `extract`."""
    gene = _name(output)
    return [f"front-onnx init {gene} --depth N -o model.onnx", f"front-onnx inspect {gene}"]


def after_validate(model: str, passed: bool) -> list[str]:
    """After `validate`."""
    return [f"front-onnx inspect {_name(model)}  # what can be resized"] if passed else []


def _kind(result: Result) -> str:
    if result.calibration is not None:
        return "calibrated" if result.calibration.best.calibrated else "carried"
    exact = result.plan.methods.exact and result.plan.resizes
    if exact and result.agreement is not None and not result.agreement.worst <= result.agreement.rounding:
        return "carried"
    return "exact" if exact else "carried"


def _as_the_source(result: Result) -> bool:
    """True if the first output, which a teacher is asked for, has the size that it has in the source."""
    if result.decoder is None:
        return True
    first = str(result.plan.structure.graph.outputs[0])
    with np.load(result.decoder) as matrices:
        return not any(name.rpartition(".")[0] == first for name in matrices.files)


def _pairs(plan: Plan) -> list[tuple[int, int]]:
    sizes = [(var.size, size) for var, size in plan.sizes.items() if var not in plan.structure.depths]
    return [(before, after) for before, after in (*plan.depths, *sizes) if before != after]


def _rate(kind: str) -> str:
    """As one types it: 5e-05 is 5e-5."""
    return f"{refining_rate(kind):.0e}".replace("e-0", "e-")


def _home(structure: Structure, output: str) -> str:
    """Weights into the framework that the source came from."""
    producer = structure.graph.model.proto.producer_name.lower()
    names = {"pytorch": "torch", "tf2onnx": "keras", "keras": "keras", "jax2onnx": "flax", "jax": "flax"}
    framework = next((adapter for name, adapter in names.items() if name in producer), "torch")
    return f"initialize(module, inputs, {output!r}) of front_onnx.adapters.{framework} takes it into your own module"


def _name(path: object) -> str:
    return shlex.quote(str(path)) if path is not None else "SOURCE"


def _option(word: str) -> str:
    name, _, value = word.partition("=")
    known = ("depth", "width", "width-mult", "depth-mult", "heads", "head-dim", "params", "size")
    return f"--{name} {value}" if name in known else f"--set {word}"
