"""A folder with an ONNX file as one that `transformers` loads: safetensors, and the configuration of its sizes."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from front_onnx.adapters.torch import initialize
from front_onnx.adapters.transfer import Report

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.check.validate import trusted_session
from front_onnx.errors import FrontError, RequestError
from front_onnx.folders.folder import read_folder
from front_onnx.folders.staging import staged_folder
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import ModelFile
from front_onnx.types import PathLike

try:
    import torch
    import transformers
except ImportError:
    raise RequestError("this needs PyTorch and transformers", hint="pip install torch transformers") from None

__all__ = ["Loaded", "to_transformers"]

_CLOSE = 1e-4


@dataclass(frozen=True)
class Loaded:
    """What was written for `transformers`.

    Attributes:
        output: the folder.
        architecture: the class that loads it.
        report: which parameters were set.
        difference: between the outputs of the module and of the ONNX file on made-up inputs, over the largest value.
    """

    output: Path
    architecture: str
    report: Report
    difference: float


def to_transformers(folder: PathLike, output: PathLike) -> Loaded:
    """Write the weights of a folder's ONNX file for `from_pretrained`.

    The module is made by the configuration in the folder, its parameters are set by role from the file, and both are
    run on the same inputs: what is written computes what the file computes.

    Args:
        folder: with one ONNX file and a config.json that names the architecture.
        output: a new folder.

    Raises:
        RequestError: there is more than one file, or no architecture is named.
        FrontError: the module does not compute what the file computes.
    """
    held = read_folder(folder)
    config = held.configs.get(Path("config.json"))
    if config is None:
        raise RequestError(f"{held.path} has no config.json, which transformers needs")
    if len(held.models) > 1:
        names = ", ".join(map(str, held.models))
        raise RequestError("only folders of one ONNX file can become one of transformers", got=names)
    (model,) = held.models.values()
    module = _module(held.path, config)
    arrays = _inputs(model, module)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    (name,) = held.models
    report = initialize(module, tensors, held.path / name)
    difference = _difference(module, model, arrays)
    if not difference <= _CLOSE:
        said = f"{type(module).__name__} computes something else than {name}: outputs differ by {difference:.1e}"
        raise FrontError(said, hint=str(report).replace("\n", "; "))
    target = Path(output)
    with staged_folder(target) as staging:
        module.config.use_cache = bool(config.get("use_cache", True))
        transformers.logging.disable_progress_bar()
        module.save_pretrained(staging)
        for other in held.copied:
            if not (staging / other).exists():
                (staging / other).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(held.path / other, staging / other)
    return Loaded(target, type(module).__name__, report, difference)


def _module(folder: Path, config: Mapping[str, Any]) -> Any:
    names = config.get("architectures") or []
    try:
        known = getattr(transformers, names[0], None) if names else None
    except ImportError as error:  # transformers imports on demand, and a package that it needs may be broken
        raise FrontError(f"transformers cannot import {names[0]}: {error}") from None
    if known is None:
        raise RequestError("config.json names no architecture of transformers", got=", ".join(names) or "none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = known(transformers.AutoConfig.from_pretrained(folder)).eval()
    module.config.use_cache, module.config.return_dict = False, True
    return module


def _inputs(model: ModelFile, module: Any) -> dict[str, np.ndarray]:
    """Inputs that both take: those of the file that `forward` knows, without a cache."""
    graph = Graph(model)
    known = set(inspect.signature(module.forward).parameters)
    made = {name: np.array(a) for name, a in synthetic_inputs(graph, {}).items() if name in known}
    if "input_ids" in made:  # what goes with ids is as long as they are, as nothing is cached
        ids = made["input_ids"]
        places = np.ascontiguousarray(np.broadcast_to(np.arange(ids.shape[1], dtype=ids.dtype), ids.shape))
        beside = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids), "position_ids": places}
        made |= {name: array for name, array in beside.items() if name in made}
    if not made:
        wanted = ", ".join(info.name for info in graph.inputs)
        raise RequestError(f"{type(module).__name__} takes none of the file's inputs", wanted=wanted)
    return made


def _difference(module: Any, model: ModelFile, arrays: Mapping[str, np.ndarray]) -> float:
    """The largest relative difference over the outputs that both have."""
    with torch.no_grad():
        mine = module(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    batch = len(next(iter(arrays.values())))
    feed = dict(arrays)
    for info in model.proto.graph.input:
        if info.name not in feed:
            dims = [d.dim_value if d.HasField("dim_value") else 0 for d in info.type.tensor_type.shape.dim]
            feed[info.name] = np.zeros([batch, *dims[1:]], np.float32)  # an empty cache
    session = trusted_session(model.path or model.proto)
    try:
        theirs = session.run(feed)
    finally:
        session.close()
    compared = {name: mine[name].numpy() for name in theirs if isinstance(mine.get(name), torch.Tensor)}
    worst = [np.abs(a - theirs[n]).max() / max(float(np.abs(theirs[n]).max()), 1e-30) for n, a in compared.items()]
    return float(max(worst, default=np.inf))
