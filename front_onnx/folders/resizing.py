"""Resize a folder: all its ONNX files alike, its configurations with them; all else is copied."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from front_onnx.api import Result, resize
from front_onnx.axes.size import Axis, size_of
from front_onnx.dims.structure import Structure
from front_onnx.errors import FrontError, RequestError
from front_onnx.folders.configs import Changes, changed_config, resized_sizes
from front_onnx.folders.folder import Folder, read_folder
from front_onnx.folders.staging import refuse_existing, staged_folder
from front_onnx.plan.plan import Plan
from front_onnx.plan.request import sizes_by_name
from front_onnx.plan.unsupported import is_quantised
from front_onnx.read.model_file import ModelFile
from front_onnx.session import Session
from front_onnx.types import Names, PathLike, Progress, several, silent

__all__ = ["FolderResult", "resize_folder"]

# What one file of a model makes and another reads under another name, as exporters for `transformers` call it.
_FEEDS = {"encoder_hidden_states": ("last_hidden_state", "hidden_states", "encoder_last_hidden_state")}
_ALIKE = ("front", "lossless", "copy", "interpolate", "duplicate", "average", "zero", "dft", "dwt")


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder.

    Attributes:
        output: the new folder; None after a dry run.
        results: what `resize` did, by path.
        left: files that are not in the new folder, and why.
        configs: what changed in configurations, by path.
        copied: files that are as they were.
    """

    output: Path | None
    results: Mapping[Path, Result]
    left: Mapping[Path, str]
    configs: Mapping[Path, Changes]
    copied: tuple[Path, ...]


def resize_folder(
    folder: PathLike,
    *,
    output: PathLike | None = None,
    skip: Names | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    **request: Any,
) -> FolderResult:
    """Resize all ONNX files of a folder alike, and the configurations that go with them.

    Files that belong together stay fit for each other: what one makes and another reads has one size. Weights of
    frameworks and quantised files are left out, for they have the old sizes.

    Args:
        folder: a folder as Hugging Face, Optimum or sentence-transformers have it.
        output: the new folder; `FOLDER-resized` beside the old one if this is None.
        skip: patterns of paths in the folder (`*_fp16.onnx`): these ONNX files are left out.
        dry_run: plan only.
        progress: called with (stage, done, total).
        request: what `resize` takes.

    Raises:
        RequestError: no ONNX file is in it, the output exists, or a size is impossible.
        FrontError: as by `resize`; the message names the file.
    """
    held = read_folder(folder)
    target = Path(output) if output is not None else held.path.with_name(f"{held.path.resolve().name}-resized")
    if not dry_run:
        refuse_existing(target)
        if target.resolve().is_relative_to(held.path.resolve()):
            raise RequestError(f"the output {target} is in the folder that is resized", hint="-o a folder beside it")
    left: dict[Path, str] = {name: "weights of the old sizes, of a framework" for name in held.left}
    models = dict(held.models)
    for name in held.models:
        if any(fnmatch.fnmatch(str(name), pattern) for pattern in several(skip)):
            left[name] = "skipped"
        elif any(is_quantised(node) for node in models[name].proto.graph.node):
            left[name] = "quantised: quantise the resized file again"
        if name in left:
            del models[name]
    if not models:
        raise RequestError(f"no file of {held.path} can be resized", hint="export the model in float32 too")
    ordered = _in_order(models)
    _refuse_apart(models, request)
    with contextlib.nullcontext() if dry_run else staged_folder(target) as staging:
        results = _resized(held, ordered, staging, request, progress)
        sizes = resized_sizes({str(name): result.plan for name, result in results.items()})
        configs = {name: changed_config(config, sizes) for name, config in held.configs.items()}
        if staging is not None:
            _write(held, staging, configs)
    return FolderResult(None if dry_run else target, results, left, configs, held.copied)


def _refuse_apart(models: Mapping[Path, ModelFile], request: Mapping[str, Any]) -> None:
    """Refuse what would choose other units in one file than in another that belongs to it."""
    if len(models) == 1:
        return
    said = next((f"--{name}" for name in ("params", "size") if request.get(name) is not None), None)
    if said is not None:
        line = f"{said} is for one file, and this folder has {len(models)}"
        raise RequestError(line, hint="--depth-mult and --width-mult, or --skip what is no part of the model")
    names = [{tensor.name for tensor in model.proto.graph.initializer} for model in models.values()]
    linked = any(a & b for place, a in enumerate(names) for b in names[:place])
    linked = linked or any(_fed(a, b) for a in models.values() for b in models.values() if a is not b)
    methods = str(request.get("method", "front")).replace("depth=", "").replace("width=", "").split(",")
    if linked and (request.get("data") is not None or not {name.split(":")[0] for name in methods} <= set(_ALIKE)):
        line = "files that belong together would be given units of their own each, and not fit each other any more"
        raise RequestError(
            line, got=", ".join(map(str, models)), wanted=f"--method {', '.join(_ALIKE)}, without --data"
        )


def _fed(maker: ModelFile, reader: ModelFile) -> dict[str, str]:
    """The inputs of a file that outputs of another one are fed into: the output, by input."""
    made = {value.name for value in maker.proto.graph.output}
    found = {}
    for value in reader.proto.graph.input:
        for name in (value.name, *_FEEDS.get(value.name, ())):
            if name in made:
                found[value.name] = name
                break
    return found


def _in_order(models: Mapping[Path, ModelFile]) -> dict[Path, ModelFile]:
    """The files in an order in which what feeds another comes before it, where there is one."""
    waiting, found = dict(models), dict[Path, ModelFile]()
    while waiting:
        free = [n for n, m in waiting.items() if not any(_fed(o, m) for k, o in waiting.items() if k != n)]
        for name in free or list(waiting)[:1]:
            found[name] = waiting.pop(name)
    return found


def _resized(
    held: Folder,
    models: Mapping[Path, ModelFile],
    staging: Path | None,
    request: Mapping[str, Any],
    progress: Progress,
) -> dict[Path, Result]:
    results: dict[Path, Result] = {}
    depth, named = request.get("depth"), set[str]()
    by_name = sizes_by_name("--depth", depth) if depth is not None else None
    for place, (name, model) in enumerate(models.items()):
        path = None if staging is None else staging / name
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

        def tell(stage: str, done: int, total: int, name: Path = name, place: int = place) -> None:
            progress(f"{name} ({place + 1} of {len(models)}): {stage}", done, total)

        try:
            session, options = Session(model), dict(request)
            if by_name is not None:
                options["depth"], used = _depths(by_name, name, session)
                named |= used
            options["dims"] = {**dict(request.get("dims") or {}), **_given(session, model, models, results)}
            results[name] = resize(held.path / name, output=path, dry_run=path is None, progress=tell, **options)
        except FrontError as problem:
            raise problem.about(str(name), f"--skip {name} leaves the file out") from None
    if by_name is not None and by_name.keys() - named:
        missing = ", ".join(sorted(by_name.keys() - named))
        raise RequestError(f"no chain of any file is called {missing}", hint="front-onnx inspect FILE.onnx shows them")
    return results


def _depths(by_name: Mapping[str, int], name: Path, session: Session) -> tuple[Mapping[str, int] | None, set[str]]:
    """The depths that are asked of one file, by a part of its chains' names or of its own; and what of them it knew."""
    chains = [chain.name for chain in session.structure.chains]
    known = {key for key in by_name if any(key in chain for chain in chains)}
    if known:
        return {key: by_name[key] for key in known}, known
    words = re.split("[^a-z0-9]+", name.stem.lower())
    mine = [key for key in by_name if key in words] if len(chains) == 1 else []
    return {chains[0]: by_name[mine[0]]} if mine else None, set(mine)


def _given(
    session: Session, model: ModelFile, models: Mapping[Path, ModelFile], results: Mapping[Path, Result]
) -> dict[str, int]:
    """The sizes of dims of inputs that outputs of files before this one are fed into, by name."""
    structure, found = session.structure, dict[str, int]()
    algebra = structure.analysis.algebra
    for name, result in results.items():
        for mine, theirs in _fed(models[name], model).items():
            for axis, (before, after) in zip(_axes(structure, mine), _moved(result.plan, theirs), strict=False):
                variables = algebra.expand(axis)
                dim = structure.by_variable.get(variables[0]) if len(variables) == 1 else None
                if dim is not None and dim.kind == "fixed" and dim.size == before != after:
                    found[dim.name] = after
    return found


def _axes(structure: Structure, name: str) -> tuple[Axis, ...]:
    fact = structure.analysis.facts.get(name)
    return (fact.axes or ()) if fact is not None else ()


def _moved(plan: Plan, name: str) -> list[tuple[int, int]]:
    """(before, after) of every axis of a tensor."""
    algebra = plan.structure.analysis.algebra
    return [(size_of(algebra.expand(axis)), plan.size(axis)) for axis in _axes(plan.structure, name)]


def _write(held: Folder, staging: Path, configs: Mapping[Path, Changes]) -> None:
    for name, changes in configs.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(changes.config, indent=2, ensure_ascii=False) + "\n"
        (staging / name).write_text(text, encoding="utf-8")
    for name in held.copied:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(held.path / name, staging / name)
