"""Two models in one file: an If whose branches make all outputs, and read weights of each other.

Decoders are merged so: one branch reads a cache, the other does not. While such a model is worked on, its branches lie
side by side in one graph, with an output for each of them: chains, dims, inputs and outputs of blocks are found as in
any other graph. What a branch makes has the branch's name behind an `@` there, and is put back by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from front_onnx.errors import FrontError
from front_onnx.read.model_file import ModelFile
from front_onnx.read.names import texts, unused
from front_onnx.read.subgraphs import graphs_of
from front_onnx.read.tensor_data import is_float, numpy_type

__all__ = ["branch_of", "joined", "joined_name", "side_by_side"]

_MARK = re.compile(r"@(then_branch|else_branch)((?:_\d+)?)$")  # a number where the name was taken
_Entry = TypeVar("_Entry", ValueInfoProto, TensorProto)
_KEY = "branches side by side"  # among the metadata of the model


@dataclass(frozen=True)
class _Empty:
    """A constant without elements that one branch gives back where the other makes something.

    Attributes:
        output: the output of the node.
        data_type: its element type.
        dims: its sizes.
        declared: the sizes that the other branch declares there, by axis; -1 where none is.
    """

    output: str
    data_type: int
    dims: list[int]
    declared: list[int]


@dataclass(frozen=True)
class _Merging:
    """How branches become one model again: the node's name, what it reads, and its bodies in order.

    Attributes:
        name: of the node.
        condition: what it reads.
        bodies: the names of the bodies, by branch.
        empty: what a branch gives back without making it.
    """

    name: str
    condition: str
    bodies: dict[str, str]
    empty: list[_Empty]


def branch_of(name: str) -> str | None:
    """The branch that makes a tensor of branches side by side; None for what both read."""
    found = _MARK.search(name)
    return found[1] if found is not None else None


def joined_name(name: str) -> str:
    """What a tensor is called in its branch."""
    return _MARK.sub(r"\2", name)


def side_by_side(model: ModelFile) -> ModelFile:
    """The branches of a merged model as one graph; any other model as it is."""
    node = _merging_node(model.proto.graph)
    empty = None if node is None else _empties(node)
    if node is None or empty is None:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph, missing = proto.graph, {entry.output for entry in empty}
    held = {*_made(graph)} | {info.name for info in graph.input}
    declared = {info.name: info for info in graph.output}
    nodes = [_copied(other) for other in graph.node if other.op_type != "If" or other.name != node.name]
    outputs, bodies = list[ValueInfoProto](), dict[str, str]()
    for branch, body in graphs_of(node):
        bodies[branch] = body.name
        names = {name: f"{name}@{branch}" for name in _made(body)}
        names |= {tensor.name: tensor.name for tensor in body.initializer if tensor.name not in held}
        given = {info.name: f"{out}@{branch}" for out, info in zip(node.output, body.output, strict=True)}
        names |= given
        dropped = {info.name for out, info in zip(node.output, body.output, strict=True) if out in missing}
        dropped = {name for other in body.node if _is_empty(other) for name in other.output if name in dropped}
        for other in body.node:
            if dropped.isdisjoint(other.output):
                nodes.append(_copied(other))
                if other.name:
                    nodes[-1].name = f"{other.name}@{branch}"
                _rename(nodes[-1], names)
        graph.initializer.extend(_named(tensor, names[tensor.name]) for tensor in body.initializer)
        graph.value_info.extend(_named(info, names[info.name]) for info in body.value_info if info.name in names)
        for out, info in zip(node.output, body.output, strict=True):
            if info.name not in dropped:
                known = info if info.type.tensor_type.HasField("shape") else declared[out]
                outputs.append(_named(known, given[info.name]))
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)
    entry = proto.metadata_props.add()
    entry.key, entry.value = _KEY, json.dumps(asdict(_Merging(node.name, node.input[0], bodies, empty)))
    return model.edited(proto)


def _merging_node(graph: GraphProto) -> NodeProto | None:
    """The If that makes every output of a graph, and whose branches share weights; None if there is none."""
    ifs = [node for node in graph.node if node.op_type == "If"]
    if len(ifs) != 1 or [*ifs[0].output] != [info.name for info in graph.output]:
        return None
    (node,) = ifs
    bodies = [body for _, body in graphs_of(node)]
    weights = {t.name for t in graph.initializer if len(t.dims) > 1 and is_float(numpy_type(t))}
    read = [{name for inner in body.node for name in inner.input} & weights for body in bodies]
    for body in bodies:
        outputs = [info.name for info in body.output]
        made = {name for inner in body.node for name in inner.output}
        if len({*outputs}) < len(outputs) or not made.issuperset(outputs) or body.sparse_initializer:
            return None
        others = {*_made(body)} - {*outputs}
        if others & {*node.output} or any(branch_of(name) for name in _made(body)):
            return None
    return node if len(read) == 2 and read[0] & read[1] else None


def _empties(node: NodeProto) -> list[_Empty] | None:
    """What branches give back as a constant without elements; None where nothing says which sizes it follows."""
    bodies, found = [body for _, body in graphs_of(node)], list[_Empty]()
    for place, out in enumerate(node.output):
        empty = [_empty(body, body.output[place].name) for body in bodies]
        for tensor, other in zip(empty, reversed(bodies), strict=True):
            if tensor is None:
                continue
            declared = [dim.dim_value or -1 for dim in other.output[place].type.tensor_type.shape.dim]
            if all(empty) or len(declared) != len(tensor.dims):
                return None
            found.append(_Empty(out, tensor.data_type, [*tensor.dims], declared))
    return found


def _empty(body: GraphProto, name: str) -> TensorProto | None:
    """The constant without elements that a body gives back by a name."""
    return next((_tensor(node) for node in body.node if name in node.output and _is_empty(node)), None)


def _is_empty(node: NodeProto) -> bool:
    tensor = _tensor(node) if node.op_type == "Constant" else None
    return tensor is not None and 0 in tensor.dims


def _tensor(node: NodeProto) -> TensorProto | None:
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)


def joined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose branches lie side by side, merged again; any other model as it is.

    Raises:
        FrontError: the branches would give back outputs of different sizes.
    """
    said = next((entry.value for entry in proto.metadata_props if entry.key == _KEY), None)
    if said is None:
        return proto
    held = json.loads(said)
    merging = _Merging(**{**held, "empty": [_Empty(**entry) for entry in held["empty"]]})
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    graph = out.graph
    homes = _homes(graph.node)
    inner = {branch: GraphProto(name=name) for branch, name in merging.bodies.items()}
    names = _names(graph, homes)
    for node in proto.graph.node:
        home = inner.get(homes.get(node.output[0], ""))
        if home is not None:
            home.node.append(_copied(node))
            if node.name:
                home.node[-1].name = joined_name(node.name)
            _rename(home.node[-1], names)
    for info in proto.graph.value_info:
        home = inner.get(homes.get(info.name, ""))
        if home is not None:
            home.value_info.append(_named(info, names[info.name]))
    given = {branch: {joined_name(v.name): v for v in graph.output if branch_of(v.name) == branch} for branch in inner}
    order = [*dict.fromkeys(name for infos in sorted(given.values(), key=len, reverse=True) for name in infos)]
    for name in order:
        for branch, body in inner.items():
            if name in given[branch]:
                body.output.append(_named(given[branch][name], names[given[branch][name].name]))
            else:
                other = next(infos[name] for infos in given.values() if name in infos)
                body.node.append(_constant(merging, name, other))
                body.output.append(_named(other, name))
    main = [_copied(node) for node in proto.graph.node if node.output[0] not in homes]
    node = helper.make_node("If", [merging.condition], order, name=merging.name, **inner)
    kept = [_named(info, info.name) for info in proto.graph.value_info if info.name not in homes]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*main, node])
    graph.value_info.extend(kept)
    bodies = [*inner.values()]
    for place, name in enumerate(order):
        graph.output.append(_declared(name, [body.output[place] for body in bodies]))
    del out.metadata_props[:]
    out.metadata_props.extend(entry for entry in proto.metadata_props if entry.key != _KEY)
    return out


def _homes(nodes: Iterable[NodeProto]) -> dict[str, str]:
    """The branch of each tensor that one makes."""
    made = (name for node in nodes for name in node.output if name)
    return {name: branch for name in made if (branch := branch_of(name)) is not None}


def _names(graph: GraphProto, homes: Mapping[str, str]) -> dict[str, str]:
    """What each tensor of a branch is called in it: as before, where no tensor around it is called so."""
    outputs = {info.name for info in graph.output}
    around = {name for name in _made(graph) if name not in homes} | {info.name for info in graph.input}
    taken = {branch: {*around, *(joined_name(name) for name in outputs)} for branch in {*homes.values()}}
    names = {name: joined_name(name) for name in outputs}
    for name, branch in homes.items():
        if name not in names:
            names[name] = unused(joined_name(name), taken[branch])
            taken[branch].add(names[name])
    return names


def _constant(merging: _Merging, name: str, other: ValueInfoProto) -> NodeProto:
    """The constant without elements for an output that one branch does not make, of the sizes that the other one has.

    Raises:
        FrontError: no output like it was given back so.
    """
    known = {entry.output: entry for entry in merging.empty}
    alike = known.get(name) or next((e for e in merging.empty if texts(e.output) == texts(name)), None)
    if alike is None:
        raise FrontError(f"output {name} would be made by one branch of {merging.name or 'an If'} alone")
    sizes = [dim.dim_value for dim in other.type.tensor_type.shape.dim]
    dims = [new if new and old == was else old for old, was, new in zip(alike.dims, alike.declared, sizes, strict=True)]
    tensor = helper.make_tensor(name, alike.data_type, dims, [])
    return helper.make_node("Constant", [], [name], value=tensor)


def _declared(name: str, infos: list[ValueInfoProto]) -> ValueInfoProto:
    """An output of the node: what both branches declare.

    Raises:
        FrontError: they declare different sizes.
    """
    out = _named(infos[0], name)
    for dims in zip(*(info.type.tensor_type.shape.dim for info in infos), strict=True):
        sizes = {dim.dim_value for dim in dims if dim.dim_value}
        if len(sizes) > 1:
            raise FrontError(f"output {name} would have sizes {' and '.join(map(str, sorted(sizes)))} in two branches")
    return out


def _made(graph: GraphProto) -> list[str]:
    """What a graph itself holds or makes."""
    held = [tensor.name for tensor in graph.initializer]
    return held + [name for node in graph.node for name in node.output if name]


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Give tensors that a node makes or reads, its bodies included, other names."""
    for slots in (node.input, node.output):
        for slot, name in enumerate(slots):
            slots[slot] = names.get(name, name)
    for _, body in graphs_of(node):
        own = {*_made(body)} | {info.name for info in body.input}
        inside = {name: new for name, new in names.items() if name not in own}
        for inner in body.node:
            _rename(inner, inside)
        for info in body.output:
            info.name = inside.get(info.name, info.name)


def _copied(node: NodeProto) -> NodeProto:
    out = NodeProto()
    out.CopyFrom(node)
    return out


def _named(thing: _Entry, name: str) -> _Entry:
    out = type(thing)()
    out.CopyFrom(thing)
    out.name = name
    return out
