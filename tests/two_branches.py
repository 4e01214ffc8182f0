"""A small decoder with a cache, as it is merged of two: an If whose branches read the cache, or none."""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import TensorProto, helper
from small_graphs import Net

__all__ = ["merged", "part"]

_HEAD, _VOCABULARY = 4, 11
_KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")


def part(depth: int, width: int, past: bool, seed: int = 0) -> onnx.ModelProto:
    """A decoder: self-attention, cross-attention and two linear layers a block; `past` reads keys and values."""
    net, heads = Net(random.Random(seed), opset=18), width // _HEAD
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> str:
        return net.const(rng.uniform(-1, 1, shape).astype(np.float32), name=name)

    def split(x: str, name: str) -> str:
        shaped = net.add("Reshape", x, net.const([0, -1, heads, _HEAD], np.int64, f"{name}.shape"))
        return net.add("Transpose", shaped, perm=[0, 2, 1, 3])

    def attend(q: str, k: str, v: str, name: str) -> str:
        scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = net.add("Mul", scores, net.const(_HEAD**-0.5, np.float32, f"{name}.scale"))
        mixed = net.add("Transpose", net.add("MatMul", net.add("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        flat = net.add("Reshape", mixed, net.const([0, -1, width], np.int64, f"{name}.flat"))
        return net.add("MatMul", flat, weight(f"{name}.o", width, width))

    ids = net.input(["batch", "length"], np.int64, "input_ids")
    given = net.input(["batch", "source", width], np.float32, "encoder_hidden_states")
    caches = {}
    for number in range(depth if past else 0):
        for kind in _KINDS:
            name = f"past.{number}.{kind}"
            length = "past" if "decoder" in kind else "source"
            caches[number, kind] = net.input(["batch", heads, length, _HEAD], np.float32, name)
    x = net.add("Gather", weight("embed", _VOCABULARY, width), ids)
    outputs: dict[str, str] = {}
    for number in range(depth):
        name = f"layers.{number}"
        own = {kind: weight(f"{name}.self.{kind}", width, width) for kind in "qkv"}
        cross = {kind: weight(f"{name}.cross.{kind}", width, width) for kind in "qkv"}
        up, down = weight(f"{name}.up", width, 2 * width), weight(f"{name}.down", 2 * width, width)
        q, k, v = (split(net.add("MatMul", x, own[kind]), f"{name}.self.{kind}") for kind in "qkv")
        if past:
            k = net.add("Concat", caches[number, "decoder.key"], k, axis=2)
            v = net.add("Concat", caches[number, "decoder.value"], v, axis=2)
        outputs |= {f"present.{number}.decoder.key": k, f"present.{number}.decoder.value": v}
        x = net.add("Add", x, attend(q, k, v, f"{name}.self"))
        q = split(net.add("MatMul", x, cross["q"]), f"{name}.cross.q")
        if past:
            k, v = caches[number, "encoder.key"], caches[number, "encoder.value"]
        else:
            k, v = (split(net.add("MatMul", given, cross[kind]), f"{name}.cross.{kind}") for kind in "kv")
            (shaped,) = (node.input[0] for node in net.nodes if k in node.output)
            kept = net.add("Transpose", shaped, perm=[0, 2, 1, 3])  # exporters turn the key once more for the product
            outputs |= {f"present.{number}.encoder.key": kept, f"present.{number}.encoder.value": v}
        x = net.add("Add", x, attend(q, k, v, f"{name}.cross"))
        x = net.add("Add", x, net.add("MatMul", net.add("Relu", net.add("MatMul", x, up)), down))
    outputs = {"logits": net.add("MatMul", x, weight("head", width, _VOCABULARY)), **outputs}
    for name, tensor in outputs.items():
        net.nodes.append(helper.make_node("Identity", [tensor], [name]))
    read = {name for node in net.nodes for name in node.input}
    net.weights = [tensor for tensor in net.weights if tensor.name in read]
    net.inputs = [info for info in net.inputs if info.name in read]
    model = net.model(*outputs)
    for info in model.graph.output:
        kind = "length" if info.name == "logits" else "cached" if "decoder" in info.name else "source"
        dims = ["batch", kind, _VOCABULARY] if info.name == "logits" else ["batch", heads, kind, _HEAD]
        info.CopyFrom(helper.make_tensor_value_info(info.name, TensorProto.FLOAT, dims))
    return model


def merged(depth: int, width: int, seed: int = 0) -> onnx.ModelProto:
    """Both parts in one file: what both have lies around them, and what one lacks it gives back without elements."""
    plain, cached = part(depth, width, False, seed), part(depth, width, True, seed)
    heads = width // _HEAD
    inputs = {info.name: info for model in (plain, cached) for info in model.graph.input}
    weights = {tensor.name: tensor for model in (plain, cached) for tensor in model.graph.initializer}
    outputs = [*plain.graph.output]
    bodies = []
    for name, model in (("no_past", plain), ("with_past", cached)):
        nodes = [*model.graph.node]
        for info in outputs:
            if info.name not in {made.name for made in model.graph.output}:
                empty = helper.make_tensor(info.name, TensorProto.FLOAT, [0, heads, 1, _HEAD], [])
                nodes.append(helper.make_node("Constant", [], [info.name], value=empty))
        bodies.append(helper.make_graph(nodes, name, [], outputs))
    condition = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    names = [info.name for info in outputs]
    node = helper.make_node("If", [condition.name], names, "merge", then_branch=bodies[1], else_branch=bodies[0])
    graph = helper.make_graph([node], "merged", [*inputs.values(), condition], outputs, [*weights.values()])
    return helper.make_model(graph, opset_imports=plain.opset_import, ir_version=plain.ir_version)
