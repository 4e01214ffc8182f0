"""Weights into a PyTorch module of any size: `initialize` from a model or learngene, `load_weights` from a file."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import onnx
from front_onnx.adapters.transfer import Neutral, Report, Source, has_statistics, transfer

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FrontError, RequestError
from front_onnx.gene.file import is_gene
from front_onnx.read.graph import Graph
from front_onnx.session import read_any
from front_onnx.types import MatchOptions

try:
    import torch
    from torch import nn
except ImportError:
    raise RequestError("this adapter needs PyTorch", hint="pip install torch") from None

__all__ = ["Report", "initialize", "load_weights"]

Inputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def initialize(
    module: nn.Module,
    example_inputs: Inputs,
    source: Source,
    *,
    exporter: str = "torchscript",
    **options: Unpack[MatchOptions],
) -> Report:
    """Set the parameters of a module, at whatever size it was built, from a trained model or a learngene.

    The module is exported with a value of its own for every element, so that each weight is found again whatever the
    exporter did to it; weights are matched by role, and what has no counterpart keeps its values.

    Args:
        module: the model to initialise, in place.
        example_inputs: what `forward` takes: a tensor, positional arguments, or arguments by name.
        source: an ONNX file or a learngene (.safetensors).
        exporter: "torchscript" or "dynamo".
        options: `scale`, `mapping`, as for `front_onnx.init_into`.

    Returns:
        What was set and what was not, by parameter name.

    Raises:
        FrontError: the module cannot be exported, nothing matches, or the source cannot have the module's sizes.
    """
    if exporter not in ("torchscript", "dynamo"):
        raise RequestError("no such exporter", got=exporter, wanted="torchscript or dynamo")
    held = _held(module)
    folded = not has_statistics(source)

    def export(values: Mapping[str, np.ndarray], path: Path) -> None:
        with _holding(module, held, values):
            _export(module, example_inputs, path, exporter, folded)

    originals = {name: tensor.detach().cpu().numpy() for name, tensor in held.items()}
    neutral = _neutral(module, example_inputs) if folded else {}
    found, report = transfer(source, originals, export, neutral, **options)
    with torch.no_grad():
        for name, array in found.items():
            held[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return report


def load_weights(
    module: nn.Module,
    path: Source,
    example_inputs: Inputs | None = None,
    *,
    exporter: str = "torchscript",
    **options: Unpack[MatchOptions],
) -> Report:
    """Set the parameters of a module from an ONNX model of its size, as `front-onnx resize` writes it.

    Args:
        module: the model, built at the size of the file.
        path: the ONNX file.
        example_inputs: as for `initialize`; made up from the file's inputs if this is None.
        exporter: as for `initialize`.
        options: as for `initialize`.

    Raises:
        RequestError: the file has other sizes than the module, which is as it was then.
        FrontError: as `initialize`; or the module does not take the file's inputs.
    """
    if example_inputs is None:
        example_inputs = _made_up(module, path)
    held = _held(module)
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    report = initialize(module, example_inputs, path, exporter=exporter, **options)
    if report.resized:
        with torch.no_grad():
            for name, tensor in before.items():
                held[name].copy_(tensor)
        raise RequestError(
            "the file has other sizes than the module",
            got=f"{report.resized[0]} and {len(report.resized) - 1} more",
            hint="front-onnx resize makes one of the module's sizes; initialize takes any, and resizes on the way",
        )
    left = [*report.kept, *report.partly]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        line = f"{left[0]}{more} not set from the file: print what load_weights returns to see why"
        warnings.warn(line, stacklevel=2)
    return report


def _made_up(module: nn.Module, path: Source) -> Inputs:
    """Inputs for `forward`: by name where its arguments have the names of the file's inputs, else in their order."""
    if is_gene(path):
        raise RequestError("a learngene says nothing of inputs", hint="use initialize")
    arrays = synthetic_inputs(Graph(read_any(path)), {})
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    known = set(inspect.signature(module.forward).parameters)
    return tensors if known.issuperset(tensors) else list(tensors.values())


def _held(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and statistics by name, those that are shared once."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    statistics = {
        f"{name}.{kind}" if name else kind
        for name, part in module.named_modules()
        for kind in ("running_mean", "running_var")
        if isinstance(part, _NORMS)
    }
    buffers = ((name, tensor) for name, tensor in module.named_buffers() if name in statistics)
    for name, tensor in (*module.named_parameters(), *buffers):
        if tensor.is_floating_point() and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def _neutral(module: nn.Module, inputs: Inputs) -> dict[str, Neutral]:
    """Values with which a batch norm adds its bias and does nothing else: the source has folded its own."""
    out: dict[str, Neutral] = {}
    norms = {name: part for name, part in module.named_modules() if isinstance(part, _NORMS)}
    for name, part in norms.items():
        if part.affine and part.running_mean is not None:
            ones = np.ones(part.num_features, np.float32)
            stem = f"{name}." if name else ""
            values = {"weight": ones, "running_mean": 0 * ones, "running_var": ones - np.float32(part.eps)}
            out |= {stem + kind: Neutral(value, f"{stem}bias") for kind, value in values.items()}
    for before, norm in _before_norms(module, inputs) if norms else ():
        bias = f"{before}.bias"
        if f"{norm}.weight" in out:  # both biases are one after folding: that of the norm
            out[bias] = Neutral(np.zeros(module.get_parameter(bias).shape, np.float32), f"{norm}.bias")
    return out


def _before_norms(module: nn.Module, inputs: Inputs) -> list[tuple[str, str]]:
    """(layer with a bias, batch norm) where the norm reads what the layer makes, found by running the module once."""
    made: dict[int, tuple[str, torch.Tensor]] = {}
    found: list[tuple[str, str]] = []

    def after(name: str) -> Any:
        return lambda part, args, result: made.update({id(result): (name, result)})  # held, so that ids stay its own

    def before(name: str) -> Any:
        return lambda part, args: found.append((made[id(args[0])][0], name)) if id(args[0]) in made else None

    handles = []
    for name, part in module.named_modules():
        if isinstance(part, _NORMS):
            handles.append(part.register_forward_pre_hook(before(name)))
        elif isinstance(getattr(part, "bias", None), nn.Parameter) and isinstance(
            getattr(part, "weight", None), nn.Parameter
        ):
            handles.append(part.register_forward_hook(after(name)))
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad():
            args, kwargs = _arguments(inputs)
            module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        for part, mode in modes.items():
            part.training = mode
    return found


def _arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    return ((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {})


class _ByName(nn.Module):
    """A module that takes in order what another one takes by name: exporters mix names up."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, list(names)

    def forward(self, *args: Any) -> Any:
        """What the module makes of its arguments."""
        return self.module(**dict(zip(self.names, args, strict=True)))


@contextlib.contextmanager
def _holding(module: nn.Module, held: Mapping[str, torch.Tensor], values: Mapping[str, np.ndarray]) -> Iterator[None]:
    """The module in evaluation mode, float32, with other values; as it was afterwards."""
    kept = {name: tensor.detach().clone() for name, tensor in held.items()}
    types = {tensor.dtype for tensor in held.values()}
    training = {part: part.training for part in module.modules()}
    if types != {torch.float32}:
        raise RequestError("the module's parameters are not float32", got=types, hint="module.float() first")
    try:
        module.eval()
        with torch.no_grad():
            for name, array in values.items():
                held[name].copy_(torch.from_numpy(np.array(array)))
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                held[name].copy_(tensor)
        for part, mode in training.items():
            part.training = mode


def _export(module: nn.Module, inputs: Inputs, path: Path, exporter: str, folded: bool) -> None:
    args, kwargs = _arguments(inputs)
    if kwargs:
        module, args = _ByName(module, list(kwargs)).train(module.training), tuple(kwargs.values())
    arguments: dict[str, Any] = {"args": args}
    if exporter == "torchscript" and not folded:
        arguments["training"] = torch.onnx.TrainingMode.PRESERVE
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            torch.onnx.export(module, f=str(path), dynamo=exporter == "dynamo", **arguments)
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        raise FrontError(f"the module cannot be exported: {line}", hint="try the other exporter") from None
    onnx.checker.check_model(str(path))
