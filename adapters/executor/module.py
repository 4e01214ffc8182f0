"""A trained ONNX model as a torch module: every weight a parameter, and back into the file it came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
import torch
from front_onnx.adapters.executor.program import compile_graph, run_program
from front_onnx.adapters.executor.table import Step
from front_onnx.adapters.executor.types import from_numpy, to_numpy
from torch import Tensor, nn

from front_onnx.errors import RequestError
from front_onnx.read.graph import Graph
from front_onnx.read.tensor_data import numpy_type
from front_onnx.session import read_any
from front_onnx.store.atomic import Staged, atomic_write, named_file
from front_onnx.store.refusals import refuse_overwriting
from front_onnx.trainable import Learned, find_learned
from front_onnx.types import ModelLike
from front_onnx.write.replace import made_with, write_with
from front_onnx.write.unshare import unshared

__all__ = ["OnnxModule"]

_HOST = 64  # whole numbers: shorter tensors of them are shapes and axes, and stay on the processor


class _Branch(nn.Module):
    """A node of the tree of names: `blocks.0.weight` is the weight of 0 of blocks."""


class OnnxModule(nn.Module):
    """An ONNX graph that can be trained.

    Parameters have the names of the initializers. What is learned is a parameter; constants that are computed
    (rotary tables, masks, numbers) and running statistics are buffers. A weight that is stored once more as its
    transpose is one parameter; zeros and ones that a fresh model shares between readings are one for each. Weights of
    half precision are held in float32 and rounded where the graph reads them.

    Args:
        model: a path, an onnx.ModelProto or an onnx_graphsurgeon.Graph.
        train: patterns of names (`*.scale`) of float constants to train whatever they look like.
        freeze: patterns of names to leave as they are, whatever `train` says.
        only: the names of all weights, instead of what is found.

    Attributes:
        graph: the index of the graph.
        learned: which constants are learned, and why others are not.

    Raises:
        FrontError: the model cannot be read; an operator has no entry in the table (all are named); a pattern fits
            no name.
    """

    def __init__(
        self,
        model: ModelLike,
        *,
        train: Iterable[str] = (),
        freeze: Iterable[str] = (),
        only: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self.source = read_any(model)
        model, self._before = unshared(Graph(self.source))
        self.graph = Graph(model)
        self.learned = _chosen(find_learned(self.graph), tuple(train), tuple(freeze))
        if only is not None:
            self.learned = replace(self.learned, names=frozenset(only) & self.graph.constants.keys())
        held = {name for name, tensor in self.graph.constants.items() if tensor.data_type != onnx.TensorProto.STRING}
        self.program = compile_graph(self.graph, held)
        self._places: dict[str, tuple[nn.Module, str]] = {}
        self._types: dict[str, torch.dtype] = {}
        self._turned: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
        self._fixed: dict[str, Tensor] = {}
        self._same: dict[str, str] = {}
        for name in sorted(held):
            self._hold(name)

    def _hold(self, name: str) -> None:
        origin = self.graph.constant_name(name)
        if origin != name and origin in self.graph.constants:
            self._same[name] = origin
            return
        copied = self.learned.copies.get(name)
        if copied is not None and copied[0] in self.learned.names:
            self._turned[name] = copied
            return
        tensor = from_numpy(self.graph.array(name), name)
        if not tensor.is_floating_point():
            if tensor.numel() <= _HOST:
                self._fixed[name] = tensor
            else:
                self._register(name, tensor, None)
            return
        if tensor.numel() == 1 and name not in self.learned.names:
            self._fixed[name] = tensor  # a number: read on the processor, and small enough to be moved
            return
        if tensor.dtype in (torch.float16, torch.bfloat16):
            self._types[name] = tensor.dtype
            tensor = tensor.float()
        self._register(name, tensor, name in self.learned.names)

    def _register(self, name: str, tensor: Tensor, learned: bool | None) -> None:
        *path, leaf = name.split(".")
        owner: nn.Module = self
        try:
            for part in path:
                owner = _branch(owner, part)
            _add(owner, leaf, tensor, bool(learned))
        except (KeyError, AttributeError, TypeError):  # a name that a module cannot have
            owner, leaf = self, "/".join([*path, leaf]) + "/"
            _add(owner, leaf, tensor, bool(learned))
        self._places[name] = owner, leaf

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer that holds a constant.

        Raises:
            KeyError: there is none of the name.
        """
        owner, leaf = self._places[name]
        found = getattr(owner, leaf)
        assert isinstance(found, Tensor)
        return found

    def get_parameter(self, target: str) -> nn.Parameter:
        """A parameter by its name, or by that of its initializer where a module cannot have such a name."""
        if target in self._places:
            found = self.tensor(target)
            if isinstance(found, nn.Parameter):
                return found
        return super().get_parameter(target)

    def weights(self) -> dict[str, nn.Parameter]:
        """Parameters by the name of their initializer."""
        found = {name: self.tensor(name) for name in self._places}
        return {name: value for name, value in found.items() if isinstance(value, nn.Parameter)}

    def statistics(self) -> list[str]:
        """Names of the constants that training updates without a gradient."""
        return sorted(self.learned.statistics & self._places.keys())

    @property
    def input_names(self) -> list[str]:
        """Names of the graph's inputs."""
        return self.program.inputs

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs."""
        return self.program.outputs

    def forward(self, *args: Any, **inputs: Any) -> dict[str, Tensor]:
        """Run the graph.

        Args:
            args: tensors in the order of the graph's inputs; or one mapping of all by name.
            inputs: tensors by name.

        Returns:
            The graph's outputs by name.
        """
        if len(args) == 1 and isinstance(args[0], Mapping):
            inputs = {**args[0], **inputs}
        else:
            if len(args) > len(self.input_names):
                wanted = ", ".join(self.input_names)
                raise RequestError("more tensors than the graph has inputs", got=len(args), wanted=wanted)
            inputs = {**dict(zip(self.input_names, args, strict=False)), **inputs}
        needed = [i.name for i in self.graph.inputs if not i.type.HasField("optional_type")]
        if not inputs.keys() <= {*self.input_names} or not {*needed} <= inputs.keys():
            got, wanted = ", ".join(inputs) or "nothing", ", ".join(self.input_names)
            raise RequestError("these are not the graph's inputs", got=got, wanted=wanted)
        made = self.run({name: torch.as_tensor(value) for name, value in inputs.items()})
        return dict(zip(self.output_names, made, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        """A module with weights of its own; what never changes is shared."""
        for shared in (self.source, self.graph, self.program, self.learned):
            memo[id(shared)] = shared
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        other.__dict__.update({key: deepcopy(value, memo) for key, value in self.__dict__.items()})
        return other

    def __reduce__(self) -> Any:
        """Pickled as the model that it is now, with its choice of weights."""
        held = self.proto().SerializeToString()
        return _unpickled, (held, sorted(self.learned.names), self.training)

    def run(
        self, inputs: Mapping[str, Tensor], watch: Callable[[Step, Sequence[Any]], None] | None = None
    ) -> list[Tensor]:
        """The outputs in order; `watch` is told what every step makes."""
        values: dict[str, Any] = dict.fromkeys(self.input_names)
        values.update(inputs)
        for name, (owner, leaf) in self._places.items():
            value = getattr(owner, leaf)
            values[name] = value if name not in self._types else value.to(self._types[name])
        values.update(self._fixed)
        for name, (other, order, shape) in self._turned.items():
            values[name] = values[other].squeeze().permute(order).reshape(shape)
        for name, origin in self._same.items():
            values[name] = values[origin]
        return run_program(self.program, values, self.training, self._update, watch)

    def _update(self, name: str, value: Tensor) -> None:
        name = self._same.get(name, name)
        place = self._places.get(name)
        if place is not None and name in self.learned.statistics:
            with torch.no_grad():
                getattr(*place).copy_(value)

    def arrays(self) -> dict[str, np.ndarray]:
        """All constants that training changes, as the file holds them: by name, in its types."""
        changed = [*self.weights(), *self.statistics()]
        found = {name: to_numpy(self.tensor(name), numpy_type(self.graph.constants[name])) for name in changed}
        for name, (other, order, shape) in self._turned.items():
            found[name] = np.ascontiguousarray(found[other].squeeze().transpose(order).reshape(shape))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model with the weights as they are now; everything else is the source's.

        Raises:
            FrontError: the file cannot be written, or is the source.
        """
        target = named_file(path)
        refuse_overwriting(self.source, target)
        with atomic_write(target, read=self.source.files) as staged:
            self.write(staged)

    def write(self, output: Staged, origin: Mapping[str, str] | None = None) -> None:
        """Write the model into a staged output; `origin` says where it comes from, see `front_onnx/provenance.py`."""
        write_with(self.graph, self.arrays(), output, self._before, origin)

    def proto(self) -> onnx.ModelProto:
        """The model with the weights as they are now."""
        return made_with(self.graph, self.arrays(), self._before)


def _branch(owner: nn.Module, part: str) -> nn.Module:
    if part in owner._modules:
        found = owner._modules[part]
        assert found is not None
        return found
    child = _Branch()
    owner.add_module(part, child)
    return child


def _add(owner: nn.Module, leaf: str, tensor: Tensor, learned: bool) -> None:
    if learned:
        owner.register_parameter(leaf, nn.Parameter(tensor))
    else:
        owner.register_buffer(leaf, tensor)


def _unpickled(held: bytes, names: list[str], training: bool) -> OnnxModule:
    module = OnnxModule(onnx.ModelProto.FromString(held), only=names)
    return module.train(training)


def _chosen(learned: Learned, train: tuple[str, ...], freeze: tuple[str, ...]) -> Learned:
    """What is learned after the user had a say."""
    for pattern in (*train, *freeze):
        if not any(fnmatchcase(name, pattern) for name in (*learned.names, *learned.others)):
            raise RequestError("no float constant has a name like this", got=pattern)
    reachable = learned.others.keys() - learned.unreached
    names = {*learned.names, *(n for n in reachable if any(fnmatchcase(n, p) for p in train))}
    frozen = {n for n in (*names, *learned.statistics) if any(fnmatchcase(n, p) for p in freeze)}
    for name, (origin, *_) in learned.copies.items():
        if frozen & {name, origin}:  # one weight, whichever of its names was said
            frozen |= {name, origin}
    names -= frozen
    others = {n: why for n, why in learned.others.items() if n not in names}
    others |= {n: "frozen on request" for n in learned.names - names}
    copies = {n: copy for n, copy in learned.copies.items() if n in names and copy[0] in names}
    return replace(
        learned,
        names=frozenset(names),
        others=others,
        statistics=learned.statistics - frozen,
        single=learned.single - names,
        copies=copies,
    )
