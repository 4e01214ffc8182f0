"""FRONT+ and FRONT++: refine a model so that its learngene is worth more (Eq. 5 to 7).

from front_onnx.adapters.refine import refine

refine("model.onnx", "train.npz", output="refined.onnx", epochs=20)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.refine.checkpoint import epochs_done
from front_onnx.adapters.refine.data import LABELS, load_data
from front_onnx.adapters.refine.history import plot_history
from front_onnx.adapters.refine.losses import LOSSES, Task
from front_onnx.adapters.refine.processes import Processes, joined
from front_onnx.adapters.refine.scratch import forget
from front_onnx.adapters.refine.settings import Settings
from front_onnx.adapters.refine.teacher import Teacher, inputs_of
from front_onnx.adapters.refine.train import Loop, Tell
from front_onnx.adapters.spectral.regularizer import SpectralRegularizer
from front_onnx.adapters.spectral.stacks import stacks_of_plan
from onnx import TensorProto

from front_onnx.check.synthetic import index_limits
from front_onnx.check.validate import check_result
from front_onnx.comparison.teaching import WHY, refining_rate
from front_onnx.errors import RequestError
from front_onnx.learngenes import Extracted, extract
from front_onnx.pictures import check_picture
from front_onnx.plan.request import Request
from front_onnx.provenance import origin, provenance, start_of
from front_onnx.samples.callables import imported, name_of
from front_onnx.session import Session, read_any
from front_onnx.store.atomic import atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.types import several

__all__ = ["LOSSES", "Refined", "Settings", "Task", "refine"]

_WHOLE = frozenset((TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.UINT8, TensorProto.INT8))
AUTO = "auto"
_ANY_RATIO = 0.5  # below 1, so that a plan says which axes have frequencies


@dataclass(frozen=True, eq=False)
class Refined:
    """What `refine` did.

    Attributes:
        output: the refined model.
        history: one record for each epoch; epoch 0 is the start.
        log, checkpoint: the files of the run.
        gene: the learngene, if a ratio was given.
        about: settings, source and data.
        learned: names of the weights that were trained.
        kept: other float constants, with the reason.
        single: those of them that are one number.
        unsaid: those of them that go without saying: running statistics, and what no gradient reaches.
        inlined: local functions of the source; the result has none.
        rate: the learning rate in words, and what it was taken for.
        epoch: whose weights were written; 0 is the start.
        teacher: the file that was imitated, or None.
        labelled: True if there was a loss on data beside it.
    """

    output: Path
    history: list[dict[str, Any]]
    log: Path
    checkpoint: Path
    gene: Extracted | None
    about: dict[str, Any]
    learned: list[str]
    kept: dict[str, str]
    single: frozenset[str]
    unsaid: frozenset[str]
    inlined: list[str]
    rate: str
    epoch: int
    teacher: Path | None
    labelled: bool


def refine(
    model: str | os.PathLike[str],
    data: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    validation: Any = None,
    teacher: str | os.PathLike[str] | None = None,
    ratio: float | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    restart: bool = False,
    plot: str | os.PathLike[str] | None = None,
    tell: Tell | None = None,
    lr: float | str = AUTO,
    last: bool = False,
    **settings: Any,
) -> Refined:
    """Train a model on (1 - lambda) L_task + lambda L_reg and write it with its new weights (FRONT++).

    Args:
        model: the ONNX file.
        data: an .npz file with arrays named as the graph's inputs, and `labels`; such arrays by name; a callable that
            yields batches; or the import path of one, "package.module:function".
        output: where to write; MODEL-refined.onnx beside the model if this is None.
        validation: data to measure on after each epoch.
        teacher: an ONNX file whose outputs are imitated (distillation): on logits where there are labels, on the output
            itself where there are none.
        ratio: cut a learngene of this ratio out of the result as well.
        run_dir: where checkpoint and log go; OUTPUT's name without .onnx, with -run, beside it, if this is None.
        resume: go on from the checkpoint in `run_dir`.
        restart: begin anew although `run_dir` holds a run that did not end.
        plot: a picture of the log.
        tell: told of every step and epoch as plain data.
        lr: of AdamW, after the warm-up; "auto" takes what suits the start, by where its file says that it comes from.
        last: write the weights of the last epoch, whatever the validation data say; the best ones otherwise.
        settings: see `Settings`.

    Raises:
        FrontError: the model, the data or the request cannot be used, or the training failed: see `Loop.run`.
    """
    source = Path(model)
    rate, why = _rate(source, lr, bool(settings.get("from_scratch")))
    chosen, function = _chosen({**settings, "lr": rate})
    target = (
        named_file(output)
        if output is not None
        else source.with_name(f"{source.stem}-refined{source.suffix or '.onnx'}")
    )
    folder = Path(run_dir) if run_dir is not None else target.with_name(f"{target.stem}-run")
    with joined(chosen.device) as processes:
        module = OnnxModule(source, train=chosen.train, freeze=chosen.freeze)
        refuse_overwriting(module.source, target)
        files = [path for path in (data, validation, teacher) if isinstance(path, str | os.PathLike)]
        _refuse_early(target, [source, *map(Path, files)], ratio, plot)
        loop = _prepared(module, data, validation, teacher, chosen, function, processes, folder, tell)
        if not (resume or restart):
            _refuse_to_lose(loop.checkpoint)
        processes.wait()
        if processes.leads:
            _make(folder, target)
        processes.wait()
        loop.keeps_best = not last
        try:
            history = loop.run(resume)
        except KeyboardInterrupt:
            raise _interrupted(loop) from None
        gene = None
        if processes.leads:
            with atomic_write(target, read=module.source.files) as staged:
                told = {**chosen.told(), **({} if loop.teacher is None else {"teacher": loop.teacher.fingerprint})}
                module.write(staged, origin(module.source, method="refine", request=told))
                check_result(module.source, staged.path, chosen.seed)
            gene = extract(target, ratio=ratio) if ratio is not None else None
            if plot is not None:
                plot_history(history, Path(plot))
        processes.wait()
    kept = dict(sorted(module.learned.others.items()))
    return Refined(
        target,
        history,
        loop.log,
        loop.checkpoint,
        gene,
        loop.about,
        sorted(module.weights()),
        kept,
        module.learned.single,
        module.learned.statistics | module.learned.unreached,
        [*module.source.inlined],
        why,
        loop.written,
        None if teacher is None else Path(teacher),
        loop.task is not None,
    )


def _prepared(
    module: OnnxModule,
    data: Any,
    validation: Any,
    teacher: str | os.PathLike[str] | None,
    settings: Settings,
    function: Callable[..., Any] | None,
    processes: Processes,
    folder: Path,
    tell: Tell | None,
) -> Loop:
    """All parts of the loop, with whatever is wrong told before the first step."""
    if not module.weights():
        raise RequestError("no weights to train were found", hint="--train PATTERN names them")
    read = {"batch_size": settings.batch_size, "seed": settings.seed}
    extra = frozenset(inputs_of(Path(teacher))) if teacher is not None else frozenset()
    samples = load_data(data, module.graph, extra=extra, **read)
    measured = None if validation is None else load_data(validation, module.graph, train=False, extra=extra, **read)
    first = samples.first()
    output = settings.output_name or module.output_names[0]
    if output not in module.output_names:
        wanted = ", ".join(module.output_names)
        raise RequestError("the graph has no such output", got=output, wanted=wanted)
    task = _task(module, settings, output, LABELS in first, teacher is not None, function)
    taught = None
    if teacher is not None:
        taught = Teacher(Path(teacher), first.keys() - {LABELS}, output, processes.device)
    if settings.from_scratch:
        forget(module, settings.seed)
    regularizer = _regularizer(module, settings)
    module.to(processes.device)
    if regularizer is not None:
        regularizer.to(processes.device)
    about = {
        "settings": settings.as_data(),
        "source": module.source.digest(),
        "data": samples.about,
        "validation": None if measured is None else measured.about,
        "teacher": None if taught is None else taught.digest,
        "processes": processes.size,
    }
    say = tell or (lambda event: None)
    checkpoint, log = folder / "checkpoint.pt", folder / "log.jsonl"
    return Loop(
        module, samples, measured, settings, task, output, taught, regularizer, processes, about, checkpoint, log, say
    )


def _rate(source: Path, asked: float | str, from_scratch: bool) -> tuple[float, str]:
    """The learning rate, and a sentence on it.

    Raises:
        RequestError: it is neither a rate nor "auto".
    """
    if asked != AUTO:
        try:
            return float(asked), f"learning rate {float(asked):.2g}"
        except (TypeError, ValueError):
            raise RequestError("--lr takes auto or a rate", got=asked) from None
    kind = None if from_scratch else start_of(provenance(read_any(source).proto))
    rate = refining_rate(kind or "carried")
    why = WHY[kind] if kind is not None else "random weights" if from_scratch else "the usual one"
    return rate, f"learning rate {rate:.2g} (auto: {why})"


def _chosen(given: dict[str, Any]) -> tuple[Settings, Callable[..., Any] | None]:
    """Settings, and the loss if it was given as a function.

    Raises:
        RequestError: there is no such setting, or it is out of its range.
    """
    for name in ("train", "freeze"):
        if name in given:
            given = {**given, name: several(given[name])}
    function = given.get("loss") if callable(given.get("loss")) else None
    given = {**given, "device": str(given.get("device", "auto"))}
    if function is not None:
        given["loss"] = name_of(function)
    try:
        chosen = Settings(**given)
    except TypeError as error:
        raise RequestError(f"no such setting: {error}") from None
    chosen.check()
    return chosen, function


def _refuse_early(target: Path, read: list[Path], ratio: float | None, plot: str | os.PathLike[str] | None) -> None:
    """Whatever would fail after the last epoch fails before the first.

    Raises:
        RequestError: the output is a folder or a file of the run, the ratio is out of range, a picture
            cannot be written.
    """
    if target.is_dir():
        raise RequestError(f"the output {target} is a folder")
    if target.resolve() in {path.resolve() for path in read}:
        raise RequestError("the output is a file that the run reads", got=str(target))
    if ratio is not None:
        Request(ratio=ratio)
    if plot is not None:
        check_picture(Path(plot))


def _task(
    module: OnnxModule,
    settings: Settings,
    output: str,
    labelled: bool,
    taught: bool,
    function: Callable[..., Any] | None,
) -> Task | None:
    """The loss on the data, or None if a teacher says all there is to say.

    Raises:
        RequestError: the loss needs what is not there.
    """
    kind = settings.loss if settings.loss in LOSSES and function is None else "callable"
    info = module.graph.value_info.get(output)
    if info is not None and info.type.tensor_type.elem_type in _WHOLE:
        raise RequestError("an output of whole numbers has no gradient", got=output, hint="--output-name")
    if kind in ("cross-entropy", "mse") and not labelled:
        if taught:
            return None
        raise RequestError(
            "the data has no labels",
            got=settings.loss,
            wanted="an array called labels",
            hint="--teacher SOURCE.onnx learns from what the source makes of them",
        )
    ids = None
    if kind in ("next-token", "masked-token"):
        tables = sorted(index_limits(module.graph), key=lambda name: (name != "input_ids", name))
        if not tables:
            raise RequestError(f"{kind} needs an input of tokens, and no input indexes a table")
        ids = tables[0]
    if kind == "masked-token" and not labelled and settings.mask_token is None:
        hint = "--mask-token ID, or labels in the data (-100 where nothing is asked)"
        raise RequestError("masked-token needs the id of the mask", hint=hint)
    if (
        kind == "masked-token"
        and ids is not None
        and not 0 <= (settings.mask_token or 0) < index_limits(module.graph)[ids]
    ):
        limit = index_limits(module.graph)[ids] - 1
        raise RequestError("the mask is no token", got=settings.mask_token, wanted=f"0 to {limit}")
    if kind == "callable" and function is None:
        function = imported(settings.loss)
    share = settings.mask_share
    return Task(kind, output, ids, settings.label_smoothing, function, settings.loss, settings.mask_token, share)


def _regularizer(module: OnnxModule, settings: Settings) -> SpectralRegularizer | None:
    """L_reg on the stacks that `extract` would cut; None where there are none and none are asked for."""
    plan = Session(module.graph).plan(Request(ratio=_ANY_RATIO))
    stacks = stacks_of_plan(plan, module.weights())
    if not stacks:
        if settings.lam == 0:
            return None
        hint = "--lambda 0 trains without L_reg"
        raise RequestError("a learngene would cut none of the weights that are trained", hint=hint)
    return SpectralRegularizer(
        module,
        lam=settings.lam,
        gamma=settings.gamma,
        gamma_depth=settings.gamma_depth,
        reduction=settings.reduction,
        stacks=stacks,
        every=settings.every,
    )


def _refuse_to_lose(checkpoint: Path) -> None:
    """A run that did not end is not begun again by accident."""
    done = epochs_done(checkpoint)
    if done is not None and done[0] < done[1]:
        raise RequestError(
            f"{checkpoint} holds a run that did not end",
            got=f"epoch {done[0]} of {done[1]}",
            hint="--resume goes on, --restart begins anew",
        )


def _make(folder: Path, target: Path) -> None:
    if not target.parent.is_dir():
        raise RequestError(f"the output folder {target.parent} does not exist")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RequestError(f"the folder {folder} cannot be made: {error.strerror}") from None


def _interrupted(loop: Loop) -> KeyboardInterrupt:
    where = (
        f"{loop.checkpoint} holds the last epoch; --resume goes on"
        if loop.checkpoint.exists()
        else "no epoch was finished"
    )
    return KeyboardInterrupt(where)
