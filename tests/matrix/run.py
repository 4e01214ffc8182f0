"""Run the support matrix and write its table.

python tests/matrix/run.py                       # everything, into docs/support.md
python tests/matrix/run.py --suite jax_models    # these rows of the page anew; the others stay
python tests/matrix/run.py --suite jax_models --only 'vit*' --no-table
python tests/matrix/run.py --plans plans.json.xz # only what is understood and planned, no native exports
"""

import argparse
import dataclasses
import fnmatch
import functools
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import onnx

import front_onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the zoo lies beside this folder, in no package

from zoo.oracle import compare
from zoo.sizes import Size

from matrix.entry import Entry
from matrix.plans import record, write_record
from matrix.table import write_table

SUITES = (
    "torch_text",
    "torch_text_more",
    "torch_cache",
    "torch_vision",
    "torch_vision_more",
    "keras_models",
    "jax_models",
    "optimised",
    "forms",
    "jax_scan_models",
    "torch_bodies",
)


_TRIES = 8  # exports of one target by an exporter that does not write the same graph twice

# Rows of dynamo, which takes longest, for architectures whose like is there already: `--all` runs them too.
_ALIKE = (
    "BERT masked, XLM-RoBERTa, CamemBERT, ELECTRA factorised, MPNet, GPT-J, Mistral, Gemma, StableLM, OLMo, Granite, "
    "Cohere, StarCoder2, Marian, Pegasus, MPT, Phi, ViT pooled, BEiT shared bias, DINOv2 swiglu, I-JEPA, ViT-MSN, "
    "OLMo 2, Gemma 2, Phi-3, M2M100, OPT, CodeGen, DistilBERT, GPT-Neo, MobileNetV2, MobileNetV3, BART, "
    "SwinV2 timm, PVTv2 linear, Swin2SR, SAM encoder, SigLIP, RegNet, SE-ResNet, EfficientNetV2, ResNet-D basic, "
    "ConvFormer, PoolFormer v2, DeiT distilled timm, InceptionNeXt"
).split(", ")


def names(suite: str) -> list[str]:
    """The rows of a suite, as `name exporter`."""
    return [f"{e.name} {e.exporter}" for e in importlib.import_module(f"matrix.{suite}").ENTRIES]


def _entry(suite: str, row: str) -> Entry:
    entries: list[Entry] = importlib.import_module(f"matrix.{suite}").ENTRIES
    return next(e for e in entries if f"{e.name} {e.exporter}" == row)


def targets(suite: str, row: str) -> list[str]:
    """The labels of a row's targets."""
    return list(_entry(suite, row).targets)


def run(
    suite: str, row: str, keep: str | None = None, alone: bool = False, labels: Collection[str] | None = None
) -> dict:
    """Resize one row every way; what came out, as plain data. With `alone`, each export has a process of its own;
    with `labels`, only these targets are tried."""
    warnings.simplefilter("ignore")
    entry = _entry(suite, row)
    if alone:
        entry = dataclasses.replace(entry, export=functools.partial(_in_a_process, suite, row), tries=_TRIES)
    started = time.perf_counter()
    found = {"suite": suite, "name": entry.name, "kind": entry.kind, "exporter": entry.exporter, "targets": {}}
    found["alone"] = entry.alone
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(keep or temporary) / row.replace(" ", "-").replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "source.onnx"
        try:
            _export(entry, entry.source, source)
        except Exception as error:
            found["outcome"] = "no export"
            found["targets"]["source"] = ["no export", _line(error)]
            found["trace"] = traceback.format_exc()
            return found
        found["targets"]["identity"] = _guarded(lambda: _identity(source, folder))
        if found["targets"]["identity"][0] == "no export":
            found["outcome"] = "no export"
            return found
        for label in entry.targets if labels is None else labels:
            found["targets"][label] = _guarded(lambda label=label: _target(entry, label, source, folder))
    outcomes = {outcome for outcome, *_ in found["targets"].values()}
    found["outcome"] = next(o for o in ("wrong", "no export", "refused", "right") if o in outcomes)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def plans(suite: str, row: str, keep: str | None = None) -> dict:
    """What is understood and planned of one row's source."""
    warnings.simplefilter("ignore")
    entry = _entry(suite, row)
    found = {"suite": suite, "name": entry.name, "exporter": entry.exporter, "targets": {}, "outcome": "recorded"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(keep or temporary) / row.replace(" ", "-").replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _export(entry, entry.source, folder / "source.onnx")
        except Exception as error:
            found["outcome"] = "no export"
            found["plans"] = {"no export": type(error).__name__}
        else:
            requests = {label: entry.request(label) for label in entry.targets}
            found["plans"] = record(folder / "source.onnx", requests)
    return found


def _export(entry: Entry, size: Size, path: Path) -> None:
    """Export a native model, unless a kept folder holds it."""
    if not path.exists():
        entry.export(size, path)


def _run(arguments: tuple[str, str, str | None]) -> dict:
    return run(*arguments)


def _plans(arguments: tuple[str, str, str | None]) -> dict:
    return plans(*arguments)


def _in_a_process(suite: str, row: str, size: Size, path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as fresh:
        fresh.apply(_write, (suite, row, size, path))


def _write(suite: str, row: str, size: Size, path: Path) -> None:
    _entry(suite, row).export(size, path)


def _decided(results: Iterable[dict], keep: str | None) -> Iterator[dict]:
    """Rows whose exporter does not write the same graph twice are right or wrong by exports in fresh processes."""
    for found in results:
        if found["outcome"] == "wrong" and found["alone"]:
            found = run(found["suite"], f"{found['name']} {found['exporter']}", keep, alone=True)
        yield found


def _guarded(work) -> list[str]:
    try:
        return work()
    except front_onnx.FrontError as error:
        return ["refused", str(error)]
    except Exception as error:
        return ["wrong", f"{type(error).__name__}: {_line(error)}", traceback.format_exc()]


def _identity(source: Path, folder: Path) -> list[str]:
    """No size asked for: every weight byte for byte, the same outputs."""
    result = front_onnx.resize(source, output=folder / "identity.onnx")
    if not result.validation.passed:
        return ["no export", f"the exporter's graph is not valid: {result.validation.failure}"]
    before, after = onnx.load(source), onnx.load(folder / "identity.onnx")
    if not before.functions:
        weights = {t.name: t.raw_data for t in before.graph.initializer}
        changed = [t.name for t in after.graph.initializer if weights.get(t.name) != t.raw_data]
        if changed:
            return ["wrong", f"identity: weights changed: {changed[:3]}"]
    different = compare(after, before)
    return ["wrong", f"identity: {different[0]}"] if different else ["right", ""]


def _target(entry: Entry, label: str, source: Path, folder: Path) -> list[str]:
    size, stem = entry.targets[label], label.replace(" ", "-")
    output, native = folder / f"{stem}.onnx", folder / f"{stem}-native.onnx"
    try:
        _export(entry, size, native)
    except Exception as error:
        return ["no export", _line(error)]
    result = front_onnx.resize(source, **entry.request(label), output=output)
    if not result.validation.passed and front_onnx.validate(native).passed:
        return ["wrong", f"not valid: {result.validation.failure}"]
    tables = entry.tables(size) if entry.tables else ()
    twin = folder / f"{stem}-twin.onnx"
    twin_or_none = twin if entry.twin and entry.twin(size, native, twin) else None
    different = compare(output, native, tied=entry.tied, tables=tables, twin=twin_or_none)
    for _ in range(entry.tries - 1):
        if different:
            entry.export(size, native)
            different = compare(output, native, tied=entry.tied, tables=tables, twin=twin_or_none)
    return ["wrong", *different[:5]] if different else ["right", ""]


def _line(error: Exception) -> str:
    return " ".join(str(error).partition("Next steps")[0].split())[:300]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", action="append", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--only", action="append", help="rows whose 'name exporter' matches this pattern")
    parser.add_argument("--all", action="store_true", help="also rows of dynamo that are much like others")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the results here as well")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, and use exports that are there")
    parser.add_argument("--plans", type=Path, help="write what is planned here, and compare with no native export")
    parser.add_argument("--no-table", action="store_true", help="leave docs/support.md as it is")
    options = parser.parse_args()
    keep = str(options.keep) if options.keep else None
    results = []
    os.environ["OMP_NUM_THREADS"] = "1"  # a process for each core is enough
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
        suites = options.suite or SUITES
        rows = [(s, row, keep) for s, listed in zip(suites, pool.map(names, suites), strict=True) for row in listed]
        rows = [r for r in rows if any(fnmatch.fnmatch(r[1], only) for only in options.only or ["*"])]
        if not (options.all or options.only):
            rows = [r for r in rows if r[1] not in {f"{name} dynamo" for name in _ALIKE}]
        work = _plans if options.plans else _run
        for done, found in enumerate(_decided(pool.imap_unordered(work, rows), keep), 1):
            results.append(found)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
            print(f"[{done}/{len(rows)}] {found['outcome']:9} {found['name']} {found['exporter']}", flush=True)
            for label, (outcome, *why) in found["targets"].items():
                if outcome != "right":
                    print(f"      {label}: {outcome}: {why[0] if why else ''}"[:400], flush=True)
    print(dict(Counter(found["outcome"] for found in results)))
    if options.plans:
        write_record({f"{r['suite']} / {r['name']} {r['exporter']}": r["plans"] for r in results}, options.plans)
    elif not options.no_table:
        whole = not (options.suite or options.only)
        write_table(results, Path(__file__).parents[2] / "docs" / "support.md", whole=whole)


if __name__ == "__main__":
    main()
