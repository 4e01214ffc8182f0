"""Mutants of small models and learngenes: what a file may hold that nobody would write."""

import json
import random
import struct
from collections.abc import Callable, Iterator

import onnx
from onnx import AttributeProto, TensorProto, helper

NUMBERS = (0, 1, -1, 2, 3, 7, 64, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))
TEXTS = ("", "x", "\x00", "\x1b[31m", "a" * 5000, "../../etc", "?", "batch + 1", "0", "�")
OPERATORS = (
    "Add Concat Conv Einsum Expand Gather If Loop MatMul Mul Pow Range Reshape Scan Shape Slice Split Squeeze Tile "
    "Transpose Unsqueeze Where ConstantOfShape Cast LSTM Pad Resize ReduceMean TopK SequenceAt Identity Constant"
).split()


def mutated(model: bytes, rng: random.Random) -> bytes:
    """A model with one to four things wrong: in its structure, or, one time in four, in its bytes."""
    if rng.random() < 0.25:
        return _bytes(model, rng)
    proto = onnx.ModelProto.FromString(model)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        try:
            rng.choice(STRUCTURE)(proto, rng)
        except (IndexError, ValueError, TypeError):
            continue  # there is nothing of the kind here
    raw = proto.SerializeToString()
    return _bytes(raw, rng) if rng.random() < 0.05 else raw


def _bytes(raw: bytes, rng: random.Random) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        at = rng.randrange(len(out))
        way = rng.randrange(5)
        if way == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way == 2:
            del out[at : at + rng.randrange(1, 20)]
        elif way == 3:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
        else:
            del out[max(1, at) : len(out) if rng.random() < 0.2 else at + 1]
        if not out:
            return b"\x00"
    return bytes(out)


def _node(proto: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    return rng.choice(proto.graph.node)


def _attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    attr = rng.choice([attr for node in proto.graph.node for attr in node.attribute])
    way = rng.randrange(6)
    if way == 0:
        attr.i = rng.choice(NUMBERS)
    elif way == 1 and attr.ints:
        attr.ints[rng.randrange(len(attr.ints))] = rng.choice(NUMBERS)
    elif way == 2:
        attr.ints.extend(rng.choice(NUMBERS) for _ in range(rng.randrange(4)))
    elif way == 3:
        attr.type = rng.choice(AttributeProto.AttributeType.values())
    elif way == 4:
        attr.f = rng.choice((0.0, -1.0, float("inf"), float("nan"), 1e38))
    else:
        attr.s = rng.choice(TEXTS).encode()


def _drop_attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([node for node in proto.graph.node if node.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def _rewire(proto: onnx.ModelProto, rng: random.Random) -> None:
    names = [name for node in proto.graph.node for name in (*node.input, *node.output)]
    names += ["", *(tensor.name for tensor in proto.graph.initializer)]
    node = _node(proto, rng)
    slots = rng.choice((node.input, node.output, node.input))
    slots[rng.randrange(len(slots))] = rng.choice(names)


def _slots(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    slots = rng.choice((node.input, node.output))
    if rng.random() < 0.5:
        del slots[rng.randrange(len(slots))]
    else:
        slots.append(rng.choice([name for other in proto.graph.node for name in other.input]))


def _operator(proto: onnx.ModelProto, rng: random.Random) -> None:
    _node(proto, rng).op_type = rng.choice(OPERATORS)


def _repeat(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    way = rng.randrange(3)
    if way == 0:
        proto.graph.node.append(node)
    elif way == 1:
        node.input.extend(list(node.input) * rng.choice((1, 5, 200)))
    else:
        proto.graph.node.remove(node)


def _shuffle(proto: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(proto.graph.node)
    at, to = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    nodes.insert(to, nodes.pop(at))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _dims(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    if tensor.dims and rng.random() < 0.7:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    else:
        tensor.dims.append(rng.choice(NUMBERS))


def _reshaped(proto: onnx.ModelProto, rng: random.Random) -> None:
    """The same number of elements in another shape: what only the graph can refuse."""
    tensor = rng.choice([tensor for tensor in proto.graph.initializer if len(tensor.dims) > 1])
    dims = list(tensor.dims)
    rng.shuffle(dims)
    if rng.random() < 0.3:
        dims.append(1)
    del tensor.dims[:]
    tensor.dims.extend(dims)


def _kind(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    tensor.data_type = rng.choice(TensorProto.DataType.values())


def _numbers(proto: onnx.ModelProto, rng: random.Random) -> None:
    whole = [t for t in proto.graph.initializer if t.data_type == TensorProto.INT64 and t.raw_data]
    tensor = rng.choice(whole)
    raw = bytearray(tensor.raw_data)
    struct.pack_into("<q", raw, 8 * rng.randrange(len(raw) // 8), rng.choice(NUMBERS))
    tensor.raw_data = bytes(raw)


def _declared(proto: onnx.ModelProto, rng: random.Random) -> None:
    info = rng.choice([*proto.graph.input, *proto.graph.output, *proto.graph.value_info])
    way = rng.randrange(5)
    if way == 0:
        info.type.tensor_type.elem_type = rng.choice(NUMBERS[:7])
    elif way == 1:
        info.ClearField("type")
    elif way == 2:
        info.type.tensor_type.shape.dim.add().dim_value = rng.choice(NUMBERS)
    else:
        dim = rng.choice(info.type.tensor_type.shape.dim)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice(NUMBERS)
        else:
            dim.dim_param = rng.choice(TEXTS)


def _name(proto: onnx.ModelProto, rng: random.Random) -> None:
    node, text = _node(proto, rng), rng.choice(TEXTS)
    way = rng.randrange(4)
    if way == 0:
        node.name = text
    elif way == 1:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", text))
    elif way == 2:
        rng.choice(proto.graph.initializer).name = text
    else:
        rng.choice([*proto.graph.input, *proto.graph.output]).name = text


def _opset(proto: onnx.ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.2:
        del proto.opset_import[:]
    else:
        proto.opset_import[0].version = rng.choice((*NUMBERS, 1, 7, 9, 11, 13, 21))


def _body(proto: onnx.ModelProto, rng: random.Random) -> None:
    """A body made of the graph's own nodes."""
    node = _node(proto, rng)
    nodes = [other for other in proto.graph.node if other is not node][: rng.randrange(1, 5)]
    body = helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])
    node.op_type = rng.choice(("If", "Loop", "Scan"))
    names = ("then_branch", "else_branch") if node.op_type == "If" else ("body",)
    node.attribute.extend(helper.make_attribute(name, body) for name in names)


STRUCTURE: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    _attribute,
    _attribute,
    _body,
    _declared,
    _dims,
    _drop_attribute,
    _kind,
    _name,
    _numbers,
    _operator,
    _opset,
    _repeat,
    _reshaped,
    _rewire,
    _rewire,
    _shuffle,
    _slots,
]


def mutated_gene(gene: bytes, rng: random.Random) -> bytes:
    """A learngene whose header says something else, or whose bytes are others."""
    if rng.random() < 0.2:
        return _bytes(gene, rng)
    length = struct.unpack("<Q", gene[:8])[0]
    header = json.loads(gene[8 : 8 + length])
    about = json.loads(header["__metadata__"]["front_onnx"])
    for _ in range(rng.choice((1, 1, 2))):
        where = rng.choice([*_places(about if rng.random() < 0.85 else header)])
        parent, key = where
        if rng.random() < 0.15 and isinstance(parent, dict):
            del parent[key]
        else:
            others = (*NUMBERS, *TEXTS, None, True, [], {}, 0.5, 1e308, float("inf"), float("nan"), [1, 2, 3], [[]])
            parent[key] = rng.choice(others)
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["front_onnx"] = json.dumps(about)
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + gene[8 + length :]


def _places(data: object) -> Iterator[tuple[dict | list, object]]:
    keys = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in [*keys]:
        yield data, key  # type: ignore[misc]
        yield from _places(value)
