"""Small random ONNX graphs: building them, running them with every inner tensor, and checking what is said of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def
from written_out import WRITTEN_OUT, is_written_out

from front_onnx.axes.numbers import value_of
from front_onnx.axes.size import AxisRole, size_of
from front_onnx.operators import AbstractTensor
from front_onnx.operators.analysis import Analysis
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model
from front_onnx.understand import follow_axes

__all__ = ["Net", "analyse", "assert_as_planned", "assert_refused_by_plan", "assert_understood", "feeds_for", "run_all"]

_IR = {9: 4, 10: 5, 13: 7, 17: 8}


class Net:
    """A graph under construction; everything random comes from `rng`. Names begin with `prefix`."""

    def __init__(self, rng: random.Random, opset: int = 20, prefix: str = "") -> None:
        self.rng, self.opset, self.prefix = rng, opset, prefix
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.weights: list[TensorProto] = []

    def size(self, *choices: int) -> int:
        """A small size, of the given ones or any."""
        return self.rng.choice(choices or (2, 3, 4, 5, 6))

    def shape(self, low: int = 1, high: int = 4) -> list[int]:
        """A shape of random rank."""
        return [self.size() for _ in range(self.rng.randint(low, high))]

    def maybe(self) -> bool:
        return self.rng.random() < 0.5

    def input(self, shape: Iterable[int | str] | None, dtype: type = np.float32, name: str | None = None) -> str:
        name = name or f"{self.prefix}x{len(self.inputs)}"
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, None if shape is None else list(shape)))
        return name

    def const(self, array: object, dtype: type | None = None, name: str | None = None) -> str:
        name = name or f"{self.prefix}w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape: int, name: str | None = None) -> str:
        return self.const(self.numbers.uniform(-1, 1, shape).astype(np.float32), name=name)

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def data(self, shape: Iterable[int], dtype: type = np.float32) -> str:
        """An activation all of whose axes a weight has as well, so that each can be resized; or a plain input."""
        shape = list(shape)
        x = self.input(shape, dtype)
        if np.dtype(dtype) == np.float32 and self.rng.random() < 0.8:
            return self.add("Add", x, self.weight(*shape))
        return x

    def whole(self, shape: Iterable[int], dtype: type = np.int32) -> str:
        """Whole numbers from 0 on, or truths, made of an activation whose axes can be resized; or a plain input."""
        shape = list(shape)
        if self.maybe():
            return self.input(shape, dtype)
        x = self.add("Add", self.input(shape), self.weight(*shape))
        if np.dtype(dtype) == bool:
            return self.add("Greater", x, self.const(0, np.float32))
        size = self.add("Mul", self.add("Abs", x), self.const(2, np.float32))
        return self.add("Cast", size, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: object) -> str | list[str]:
        number = len(self.nodes)
        names = [f"{self.prefix}{op.lower()}{number}.{i}" for i in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, inputs, names, name=f"{op}{number}", domain=domain, **given))
        return names if outputs > 1 else names[0]

    def inner(self, prefix: str) -> Net:
        """A graph for an attribute of one of this graph's nodes."""
        return Net(self.rng, self.opset, f"{self.prefix}{prefix}.")

    def body(self, *outputs: str) -> onnx.GraphProto:
        """This graph as an attribute of a node."""
        infos = [onnx.ValueInfoProto(name=name) for name in outputs]
        return helper.make_graph(self.nodes, self.prefix, self.inputs, infos, self.weights)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The graph; with no outputs named, whatever nothing reads is one."""
        read = {name for node in self.nodes for name in node.input}
        names = outputs or [n for node in self.nodes for n in node.output if n and n not in read]
        infos = [onnx.ValueInfoProto(name=name) for name in names]
        graph = helper.make_graph(self.nodes, "small", self.inputs, infos, self.weights)
        others = sorted({node.domain for node in self.nodes if node.domain})
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in others)]
        proto = helper.make_model(graph, opset_imports=imports)
        proto.ir_version = _IR.get(self.opset, 10)
        return _typed(proto)


@cache
def newest_opset() -> int:
    """The newest opset that onnxruntime reads."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", [x], [onnx.ValueInfoProto(name="y")])
    for version in range(onnx.defs.onnx_opset_version(), 0, -1):
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
        try:
            _session(proto)
        except Exception:
            continue
        return version
    raise AssertionError("onnxruntime reads no opset")


@cache
def _kernels() -> frozenset[tuple[str, str]]:
    own = (kernel for kernel in get_all_opkernel_def() if kernel.provider == "CPUExecutionProvider")
    return frozenset((kernel.domain, kernel.op_name) for kernel in own)


def is_runnable(domain: str, op_type: str, opset: int) -> bool:
    """True if the installed versions of onnx and onnxruntime specify and compute an operator."""
    written = any((operator.op_domain, operator.__name__) == (domain, op_type) for operator in WRITTEN_OUT)
    if domain == "com.microsoft":
        return written or (domain, op_type) in _kernels()
    return opset <= onnx.defs.onnx_opset_version()


def _is_beyond(proto: onnx.ModelProto) -> bool:
    """True for a graph that onnxruntime cannot run, so that onnx's reference evaluator does."""
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    return opset > newest_opset() or any(_is_unknown(node, opset) for node in proto.graph.node)


def _is_unknown(node: onnx.NodeProto, opset: int) -> bool:
    """True for an operator that onnxruntime has neither a kernel for nor a function to put in its place."""
    if node.domain or not onnx.defs.has(node.op_type, opset):
        return is_written_out(node)
    schema = onnx.defs.get_schema(node.op_type, opset)
    made_of_others = schema.has_function or schema.has_context_dependent_function
    return not made_of_others and ("", node.op_type) not in _kernels()


def _typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Declare the outputs as onnxruntime infers them."""
    if _is_beyond(proto):
        made = run_all(proto, feeds_for(proto))
        for info in proto.graph.output:
            kind = helper.np_dtype_to_tensor_dtype(made[info.name].dtype)
            info.CopyFrom(helper.make_tensor_value_info(info.name, kind, None))
        return proto
    session = _session(proto)
    kinds = {"tensor(bool)": TensorProto.BOOL, "tensor(float)": TensorProto.FLOAT, "tensor(double)": TensorProto.DOUBLE}
    for info, found in zip(proto.graph.output, session.get_outputs(), strict=True):
        plain = found.type.removeprefix("tensor(").removesuffix(")")
        kind = kinds.get(found.type) or helper.np_dtype_to_tensor_dtype(np.dtype(plain.replace("float16", "half")))
        info.CopyFrom(helper.make_tensor_value_info(info.name, kind, None))
    return proto


def _session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds_for(proto: onnx.ModelProto, symbols: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs; whole numbers are 0 or 1, so that they are fit to index with."""
    numbers = np.random.default_rng(seed)
    made = {}
    weights = {tensor.name for tensor in proto.graph.initializer}
    for info in proto.graph.input:
        if info.name in weights:
            continue
        dims = info.type.tensor_type.shape.dim
        shape = [d.dim_value if d.HasField("dim_value") else (symbols or {})[d.dim_param] for d in dims]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        whole = np.dtype(dtype).kind in "iub"
        made[info.name] = (numbers.integers(0, 2, shape) if whole else numbers.normal(size=shape)).astype(dtype)
    return made


def run_all(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor that a node makes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    names = [name for node in proto.graph.node for name in node.output if name]
    if _is_beyond(proto):
        return _run_by_reference(proto, feeds, names)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return dict(zip(names, _session(copy).run(names, dict(feeds)), strict=True))


def _run_by_reference(
    proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], names: list[str]
) -> dict[str, np.ndarray]:
    evaluator = ReferenceEvaluator(proto, new_ops=WRITTEN_OUT)
    with np.errstate(all="ignore"):
        made = evaluator.run(None, dict(feeds), intermediate=True)
    return {name: np.asarray(made[name]) for name in names}


def analyse(proto: onnx.ModelProto) -> Analysis:
    """The axes of every tensor."""
    return follow_axes(Graph(read_model(proto)))[0]


def _assert_shapes(analysis: Analysis, made: Mapping[str, np.ndarray], size: Callable) -> None:
    for name, array in made.items():
        fact = analysis.facts.get(name)
        if fact is None or array is None:  # a constant, or a tensor that resizing added; or an optional
            continue
        if isinstance(array, list):
            assert len(fact.members or ()) == len(array), f"members of {name}"
            for place, (member, each) in enumerate(zip(fact.members or (), array, strict=True)):
                _assert_shape(analysis, f"member {place} of {name}", member, each, size)
            continue
        _assert_shape(analysis, name, fact, array, size)


def _assert_shape(analysis: Analysis, name: str, fact: AbstractTensor, array: np.ndarray, size: Callable) -> None:
    assert fact.axes is not None, f"nothing is known of {name}"
    assert len(fact.axes) == array.ndim, f"rank of {name}"
    for place, axis in enumerate(fact.axes):
        if not any(AxisRole.UNKNOWN in var.roles for var in analysis.algebra.free_variables(axis)):
            assert size(axis) == array.shape[place], f"axis {place} of {name}"


def assert_understood(analysis: Analysis, made: Mapping[str, np.ndarray]) -> None:
    """Axes have the shapes that onnxruntime made, followed contents its values."""
    _assert_shapes(analysis, made, size_of)
    for name, array in made.items():
        value = analysis.facts[name].value if name in analysis.facts else None
        if value is not None:
            plain = np.array([value_of(n) for n in value.flat]).reshape(value.shape)
            np.testing.assert_allclose(plain, array, rtol=1e-5, err_msg=f"contents of {name}")


def assert_refused_by_plan(error: Exception) -> None:
    """A refusal is right where the plan finds a size impossible, not where its own outcome surprises it."""
    assert "hold together" not in str(error), error


def assert_as_planned(plan: Plan, made: Mapping[str, np.ndarray]) -> None:
    """Every tensor of the resized model has the shape that the plan foresees."""
    _assert_shapes(plan.structure.analysis, made, plan.size)
