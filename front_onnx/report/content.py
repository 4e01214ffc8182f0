"""What stands on a page: of a resizing, of weights moved into a model, of a refinement, of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.api import Result
from front_onnx.calibration.starts import Outcome
from front_onnx.check.validate import Validation
from front_onnx.comparison.curves import mean_curve, worth_curves
from front_onnx.comparison.row import Row
from front_onnx.comparison.run import Comparison
from front_onnx.errors import FrontError
from front_onnx.gene.spectrum import BINS
from front_onnx.into import Moved
from front_onnx.learngenes import spectrum
from front_onnx.plan.plan import Plan
from front_onnx.provenance import provenance, requested
from front_onnx.report.blocks import Block, Stack, stacks
from front_onnx.report.drawing import Html, curves, draw_blocks
from front_onnx.report.page import Page, Section, Table
from front_onnx.report.refined import refined_figures, which_epoch
from front_onnx.summary import describe_plan

__all__ = ["comparison_page", "moved_page", "refined_page", "resized_page"]

_WORST = 12  # layers that are listed
_SHOWN = 10  # curves in one picture


def resized_page(result: Result, steps: Sequence[str]) -> Page:
    """The page of `resize`, or of `init` of a learngene."""
    plan = result.plan
    source = plan.structure.graph.model
    about = describe_plan(plan, result.skeleton)
    before, after = about["parameters"]
    numbers = [(_count(after), f"parameters, of {_count(before)} ({after / max(before, 1):.0%})")]
    if result.output is not None:
        numbers.append((f"{_count(result.size)}B", f"file, of {_count(source.size)}B"))
    if result.agreement is not None:
        numbers.append((f"{result.agreement.worst:.1e}", "largest difference from the source's outputs, of their size"))
    if result.calibration is not None:
        best = result.calibration.best
        numbers.append((f"{max(0.0, 1 - best.error):.1%}", "of the source's outputs are kept on held-out samples"))
        tops = [each.top for each in best.likeness.values() if each.top is not None]
        numbers += [(f"{tops[0]:.1%}", "of largest entries are the source's")] if tops else []
    sections = [_asked(result), _sizes(about), *_blocks(plan, result.grown)]
    sections += _agreement(result)
    sections += _calibration(result.calibration)
    sections += _spectra([path for path in (source.path if source.runs else None, result.output) if path is not None])
    sections += _checks(result.validation)
    sections += _next(steps)
    return Page(_title(source.path, result.output), "resized by front-onnx", numbers, about["warnings"], sections)


def moved_page(moved: Moved, source: str, target: str, steps: Sequence[str]) -> Page:
    """The page of `init --into`."""
    made = [match for match in moved.matches if match.source is not None]
    numbers = [(f"{len(made)} of {len(moved.matches)}", "kinds of weights got the source's")]
    numbers.append((str(len(moved.unused)), "of the source's go nowhere"))
    asked = Section("What was asked", table=Table(("", ""), [("weights of", source), ("go into", target)]))
    rows = [
        (str(match.target.where), str(match.target.role), match.target.tensors[0], _from(match.source, match.reason))
        for match in moved.matches
    ]
    matches = Section("Which weight went where", table=Table(("place", "role", "target", "source"), rows))
    unused = [f"{piece.where}, {piece.role}: {piece.tensors[0]}" for piece in moved.unused]
    left = [Section("What was not used", lines=unused)] if unused else []
    paths = [Path(source)] if source.endswith(".onnx") else []
    paths += [moved.output] if moved.output is not None else []
    sections = [asked, matches, *left, *_calibration(moved.calibration), *_spectra(paths)]
    sections += [*_checks(moved.validation), *_next(steps)]
    return Page(_title(source, moved.output or target), "weights moved by front-onnx", numbers, (), sections)


def refined_page(about: Mapping[str, Any], model: str, steps: Sequence[str]) -> Page:
    """The page of `refine`; `about` is what it prints as JSON."""
    history = about["history"]
    last = history[-1]
    numbers = [(str(about["trained"]), "weights trained"), (str(last["epoch"]), "epochs")]
    figures = refined_figures(about)
    numbers += [(after, f"{name}, from {before}") for name, before, after in figures]
    settings = [(name.replace("_", " "), _words(value)) for name, value in about["run"]["settings"].items()]
    rows = [("model", model), ("teacher", about["teacher"] or ""), ("data", _words(about["run"]["data"])), *settings]
    sections = [Section("What was asked", table=Table(("", ""), [row for row in rows if row[1]]))]
    sections.append(Section("Before and after", f"{which_epoch(about)}.", Table(("", "before", "after"), figures)))
    pictures = []
    for title, keys, logarithmic in (
        ("loss and metric", ("task", "validation_loss", "metric", "validation_metric"), False),
        ("norms of the gradients", ("task_gradient", "reg_gradient"), True),
        ("part of the energy", ("low_energy", "high_energy"), False),
    ):
        lines = {
            key.replace("_", " "): [(r["epoch"], r[key]) for r in history if r.get(key) is not None] for key in keys
        }
        pictures.append(curves(lines, across="epoch", up=title, logarithmic=logarithmic))
    sections.append(Section("The training", pictures=[picture for picture in pictures if picture]))
    if about["kept"]:
        kept = [f"{name}: {why}" for name, why in [*about["kept"].items()][:_WORST]]
        more = len(about["kept"]) - len(kept)
        sections.append(Section("Left as it is", lines=[*kept, *([f"and {more} more"] if more > 0 else [])]))
    sections += [*_spectra([Path(model), Path(about["output"])]), *_next(steps)]
    return Page(_title(model, about["output"]), "refined by front-onnx", numbers, (), sections)


def comparison_page(found: Comparison, steps: Sequence[str]) -> Page:
    """The page of `compare`."""
    source = found.source
    labelled = source.accuracy is not None
    numbers = [(_count(source.parameters), "parameters of the source")]
    if source.accuracy is not None:
        numbers.append((f"{source.accuracy:.1%}", "accuracy of the source"))
    if found.best is not None:
        said = "its accuracy" if labelled else "of the source is kept"
        after = ", trained" if found.best.trained else ""
        numbers.append((f"{found.best.final:.1%}", f"{said} by the best start{after}: {found.best.method}"))
    made_up = ", made up" if source.made_up else ""
    samples = f"{source.samples} to fit on, {source.held_out} to compare on{made_up}"
    rows = [("model", source.model or "in memory"), ("samples", samples)]
    rows += [("size", size.label) for size in found.sizes]
    sections = [Section("What was asked", table=Table(("", ""), rows))]
    if len(found.sizes) > 1:
        lines = {name: points for name, points in [*worth_curves(found).items()][:_SHOWN]}
        level = ("source", source.accuracy) if source.accuracy is not None else None
        up = "accuracy" if labelled else "kept of the source"
        table = Table(
            ("size", "parameters", "best method", up),
            [
                (size.label, _count(size.parameters), size.best.method, f"{size.best.final:.1%}")
                for size in found.sizes
                if size.best is not None
            ],
        )
        picture = curves(lines, across="parameters", up=up, level=level)
        sections.append(Section("What each size keeps", table=table, pictures=[picture]))
    for size in found.sizes:
        changes = ", ".join(f"{name} {before} to {after}" for name, (before, after) in size.sizes.items())
        pictures = []
        trained = {row.method: row.trained for row in size.rows if row.trained is not None}
        if trained:
            lines = {name: mean_curve(each) for name, each in [*trained.items()][:_SHOWN]}
            metric = next(iter(trained.values())).metric
            pictures.append(curves(lines, across="step", up=metric, logarithmic=metric != "accuracy"))
        table = _starts(size.rows, labelled, size.equals[1:])
        left = [size.chance] if size.chance else []
        left += [f"not {row.method}: {row.why}" for row in size.left_out]
        title = f"{changes}: {_count(size.parameters)} parameters"
        sections.append(Section(title, table=table, pictures=pictures, lines=left))
    sections += [*_spectra([Path(source.model)] if source.model else []), *_next(steps)]
    title = f"Starts of {Path(source.model).name if source.model else 'a model'}"
    return Page(title, "compared by front-onnx", numbers, source.warnings, sections)


# -- parts ---------------------------------------------------------------------------------------------------------


def _asked(result: Result) -> Section:
    plan = result.plan
    told = provenance(result.skeleton)
    rows = [(name, _words(value)) for name, value in (told.get("request") or requested(plan.request)).items()]
    rows.append(("method", str(told.get("method", plan.request.method))))
    source = plan.structure.graph.model
    rows += [("source", str(source.path or "in memory")), ("fingerprint of the source", source.fingerprint()[:32])]
    rows += [("written", str(result.output))] if result.output is not None else []
    return Section("What was asked", table=Table(("", ""), rows))


def _sizes(about: Mapping[str, Any]) -> Section:
    rounded = about["rounded"]
    rows = [(f"depth {name}", str(a), str(b), "") for name, (a, b) in about["depth"].items()]
    rows += [
        (name, str(a), str(b), f"rounded from {rounded[name]:g}" if name in rounded else "")
        for name, (a, b) in about["dims"].items()
    ]
    rows += [(name, str(size), str(size), "kept") for name, size in about["kept"].items()]
    for name, said in (("parameters", _count), ("nodes", str)):
        first, last = about[name]
        rows.append((name, said(first), said(last), ""))
    text = (
        f"{about['weights_resized']} weights resized, {about['weights_copied']} copied; {about['constants_rewritten']} "
        f"shape constants and {about['attributes_rewritten']} attributes rewritten."
    )
    return Section("Before and after", text, Table(("", "before", "after", ""), rows))


def _blocks(plan: Plan, grown: Plan | None) -> list[Section]:
    pictures: list[Any] = []
    for step in [plan] if grown is None else [grown, plan]:
        for stack in stacks(step):
            pictures.append(Html(f"<p><b>{escape(stack.name)}</b>{_width(stack)}</p>"))
            most = max(stack.width or 1, stack.target or 1)
            parts = (stack.width or 1) / most, (stack.target or 1) / most
            pictures.append(draw_blocks(_drawn(stack.before), _drawn(stack.after), parts))
    if not pictures:
        return []
    keys = ("kept", "of one block"), ("mixed", "of several"), ("added", "a copy"), ("dropped", "not in the result")
    legend = "".join(f'<span class="key {kind}">{kind}: {said}</span>' for kind, said in keys)
    text = "Numbers are those of the source's blocks; the height of a row is the width of its blocks."
    return [Section("The blocks", text, pictures=[*pictures, Html(f"<figcaption>{legend}</figcaption>")])]


def _width(stack: Stack) -> str:
    depth = f", {len(stack.before)} to {len(stack.after)} blocks"
    return depth + (f", width {stack.width} to {stack.target}" if stack.width else "")


def _drawn(blocks: Sequence[Block]) -> list[tuple[str, str]]:
    return [(block.kind, str(block.of) if block.of is not None else "~") for block in blocks]


def _agreement(result: Result) -> list[Section]:
    if result.agreement is None:
        return []
    rows = [(name, f"{value:.2e}") for name, value in result.agreement.differences.items()]
    text = "The largest difference from the source, over the largest value of its output, on made-up inputs."
    return [Section("Agreement with the source", text, Table(("output", "difference"), rows))]


def _calibration(outcome: Outcome | None) -> list[Section]:
    if outcome is None:
        return []
    count, made_up = outcome.samples
    rows: list[tuple[str, ...]] = []
    best = 0
    for candidate in outcome.candidates:
        best = len(rows) if candidate is outcome.best else best
        if candidate.why:
            rows.append((candidate.name, candidate.why, "", "", "", ""))
        for name, each in candidate.likeness.items():
            top = "" if each.top is None else f"{each.top:.1%}"
            apart = "" if each.divergence is None else f"{each.divergence:.3f}"
            rows.append((candidate.name, name, f"{each.error:.3f}", f"{each.cosine:.3f}", top, apart))
    header = ("start", "output", "error", "cosine", "same top", "KL")
    fitted_on = f"{count}{' made-up' if made_up else ''} samples to calibrate on"
    text = f"Compared on held-out samples; {fitted_on}. The best was written."
    found = [Section("Starts that were compared", text, Table(header, rows, best))]
    fitted = [each for each in outcome.best.report if math.isfinite(each.after)]
    if fitted:
        lines: dict[str, Sequence[tuple[float, float]]] = {
            "before": [(place, each.before) for place, each in enumerate(fitted)],
            "fitted": [(place, each.after) for place, each in enumerate(fitted)],
        }
        picture = curves(lines, across="layer, in the order of data", up="error")
        worst = sorted(fitted, key=lambda each: -each.after)[:_WORST]
        table = Table(
            ("layer", "before", "fitted", "samples", "inputs"),
            [(e.node, _number(e.before), _number(e.after), str(e.rows), str(e.columns)) for e in worst],
        )
        text = "What each layer misses of what it is to make, as a part of it; the table has those that miss most."
        found.append(Section("Layer by layer", text, table, [picture]))
    kept = [f"{each.node}: {each.why}" for each in outcome.best.report if each.level == "kept"]
    return [*found, *([Section("Left as it was", lines=kept[:_WORST])] if kept else [])]


def _spectra(paths: Sequence[Path]) -> list[Section]:
    """Energy per frequency of the weights, before and after (the paper's Figure 8)."""
    pictures = []
    found: dict[str, Any] = {}
    for path in paths:
        try:
            found[path.name] = spectrum(path)
        except (FrontError, OSError):  # no stacks, or no such file any more: there is nothing to show
            continue
    grid = (np.arange(BINS) + 0.5) / BINS
    for along, is_depth in (("depth", True), ("width", False)):
        lines = {}
        for name, stack in found.items():
            densities = [axis.density for each in stack for axis in each.axes if (axis.axis == "depth") is is_depth]
            if densities:
                places = [(np.arange(len(density)) + 0.5) / len(density) for density in densities]
                mean = np.mean([np.interp(grid, *pair) for pair in zip(places, densities, strict=True)], axis=0)
                lines[name] = [(float(x), float(y)) for x, y in zip(grid, mean, strict=True)]
        across = f"frequency / n along the {along}"
        picture = curves(lines, across=across, up="energy", logarithmic=True, level=("white noise", 1.0))
        pictures += [picture] if picture else []
    if not pictures:
        return []
    text = "Energy per frequency of the weights, the mean over all stacks: what is above the dashed line is structure."
    return [Section("Frequencies", text, pictures=pictures)]


def _checks(validation: Validation | None) -> list[Section]:
    if validation is None:
        return []
    lines = [f"{'ok' if check.passed else 'FAILED'}: {check.name}: {check.detail}" for check in validation.checks]
    return [Section("Checks", lines=lines)]


def _next(steps: Sequence[str]) -> list[Section]:
    return [Section("What to do next", code=list(steps))] if steps else []


def _starts(rows: Sequence[Row], labelled: bool, equals: Sequence[str]) -> Table:
    trained = any(row.trained or row.untrained for row in rows)
    header = ["method", "error", "cosine", "same top", "KL", *(["accuracy"] if labelled else [])]
    header += [*(["trained", "rate"] if trained else []), "seconds"]
    table = []
    for row in rows:
        assert row.worth is not None
        first = next(iter(row.worth.outputs.values()))
        name = f"{row.method} (as good as the best)" if row.method in equals else row.method
        cells = [name, f"{row.worth.error:.3f}", f"{first.cosine:.3f}", _percent(first.top)]
        cells += ["" if first.divergence is None else f"{first.divergence:.3f}"]
        cells += [_percent(row.worth.accuracy)] if labelled else []
        if trained:
            spread = "" if row.trained is None or row.trained.spread is None else f" ± {100 * row.trained.spread:.1f}"
            cells += [_percent(row.trained.kept) + spread if row.trained else row.untrained]
            cells += [f"{row.trained.lr:.2g}" if row.trained else ""]
        table.append([*cells, f"{row.seconds:.2f}"])
    return Table(header, table, 0)


def _from(piece: Any, reason: str | None) -> str:
    return f"keeps its own: {reason}" if piece is None else str(piece.tensors[0])


def _title(source: object, output: object) -> str:
    names = [Path(str(path)).name if path is not None else None for path in (source, output)]
    return " to ".join(name or "a model in memory" for name in names)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else ""


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _count(number: int) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return str(number)
