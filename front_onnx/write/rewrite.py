"""Rewriting: a plan becomes a graph of the new size, and a list of the weights that are still to be computed.

Whatever the plan does not name stays as it is: names, metadata, doc strings, opset imports, functions, bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from front_onnx.axes.size import size_of
from front_onnx.constants.formulas import recomputed
from front_onnx.plan.plan import Plan
from front_onnx.read.graph import Edge
from front_onnx.read.merged import branch_of
from front_onnx.read.names import continued, renumbered
from front_onnx.read.subgraphs import all_graphs
from front_onnx.transform.contents import (
    Computed,
    Content,
    Counted,
    Drawn,
    Eye,
    Filled,
    Numbers,
    Original,
    Pending,
    Repeated,
    Resampled,
)
from front_onnx.write.draft import Draft
from front_onnx.write.interface import BlockPort
from front_onnx.write.renumber import moved_names
from front_onnx.write.units import resize_chain

__all__ = ["Rewritten", "rewrite"]


_Small = Numbers | Counted | Computed
_Reading = tuple[NodeProto, int, str, tuple[int, int] | None]  # node, slot, tensor, (chain, unit) where one is added


@dataclass(frozen=True)
class Rewritten:
    """A graph of the new size without its large weights.

    Attributes:
        proto: final names, shapes and small constants.
        pending: what each initializer that has no data yet is to hold, by name.
        like: tensors that were added, and the source's tensors they are like.
        blocks: inputs and outputs that blocks of chains which grew have for themselves.
        moved: other inputs and outputs whose names counted on, and what the source calls them.
    """

    proto: onnx.ModelProto
    pending: dict[str, Pending]
    like: dict[str, str]
    blocks: dict[str, BlockPort] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)


def rewrite(plan: Plan) -> Rewritten:
    """Carry out a plan, all but the arithmetic on weights.

    Raises:
        UnsupportedError: if a depth cannot change because something outside reads a block.
    """
    draft = Draft(plan.structure.graph)
    for number in range(len(plan.structure.chains)):
        resize_chain(draft, plan, number)
    draft.settle()
    constants = _Constants(draft, plan)
    constants.place()
    constants.rename(moved_names(plan))
    _set_attributes(draft, plan)
    draft.finish()
    constants.sweep()
    _set_shapes(draft, plan)
    inputs, outputs = draft.interface.inputs, draft.interface.outputs
    blocks, moved = inputs.blocks | outputs.blocks, inputs.like | outputs.like
    moved = {name: old for name, old in moved.items() if name not in blocks}
    return Rewritten(draft.proto, constants.pending, draft.copies, blocks, moved)


class _Constants:
    """Gives every node input that reads a constant a tensor with the content planned for it."""

    def __init__(self, draft: Draft, plan: Plan) -> None:
        self.draft, self.plan = draft, plan
        self.graph = plan.structure.graph
        self.proto = draft.proto.graph
        self.subgraphs = [body.proto for body in draft.layout.all_subgraphs()]
        self.tensors = {tensor.name: tensor for graph in (*self.subgraphs, self.proto) for tensor in graph.initializer}
        self.makers = {node.output[0]: node for node in draft.nodes.values() if node.op_type == "Constant"}
        self.homes: dict[str, int | str | None] = {name: branch_of(name) for name in _constants(self.proto)}
        self.homes |= {name: home for home, body in enumerate(self.subgraphs) for name in _constants(body)}
        self.wanted: dict[str, str] = {}  # names that added tensors would have, were they not taken
        self.pending: dict[str, Pending] = {name: Original(name) for name in self.graph.model.missing()}

    def place(self) -> None:
        """Decide which tensor holds which content, and let the nodes read it."""
        readers: dict[tuple[Content, int | str | None], list[_Reading]] = defaultdict(list)
        kept = {*self.graph.outputs, *(v.name for body in self.subgraphs for v in body.output)}
        for node, slot, edge, unit in self.draft.reading():
            name = node.input[slot]
            if name not in self.graph.constants or node.output[0] in self.graph.alias:
                continue  # an Identity passes on whatever its constant becomes
            base = self.graph.constant_name(name)
            content = self._content(edge, unit, base)
            if content == Original(base):
                kept.add(base)
            else:
                home = self.homes.get(base) if isinstance(content, _Small) else None  # what only its body can read
                readers[content, home].append((node, slot, base, unit))
        taken = set(kept)
        for (content, _), places in readers.items():
            if isinstance(content, Original):
                name = content.name
            else:
                name = self._holder(content, places, taken)
                taken.add(name)
                self._fill(name, content, places[0][2])
            for node, slot, base, _ in places:
                if name != base:
                    node.input[slot] = name

    def _content(self, edge: Edge, unit: tuple[int, int] | None, base: str) -> Content:
        if unit is not None:
            planned = self.plan.clones.get(unit, {}).get(edge)
            if planned is not None:
                return planned
        return self.plan.contents.get(edge, Original(base))

    def _holder(self, content: Content, places: list[_Reading], taken: set[str]) -> str:
        """The tensor that is to hold a content: the source's, if nothing else needs it, or a new one."""
        for _, _, base, unit in places:
            if unit is None and base not in taken:
                return str(base)
        base, unit = places[0][2], places[0][3]
        name = base
        if unit is not None and isinstance(content, Resampled | Drawn | Filled | Eye):
            chain = self.plan.structure.chains[unit[0]]
            ahead = (unit[1] - len(chain.units) + 1) * chain.layers
            several = len(content.names) > 1
            name = continued(content.names, content.index) if several else renumbered(base, [], ahead)
        new = self.draft.new_tensor(name)
        if new != name:
            self.wanted[new] = name
        return new

    def _fill(self, name: str, content: Content, like: str) -> None:
        """Give a tensor its new type, shape and, where it is small, its values."""
        source = self.graph.constants[like]
        maker = self.makers.get(name)
        small = isinstance(content, _Small)
        if not small:
            self._take_out(name)
        if maker is not None and small:
            tensor = TensorProto()
        elif name in self.tensors:
            tensor = self.tensors[name]
        else:
            if maker is not None:
                self._remove(maker)
            tensor = self.proto.initializer.add()
            tensor.name = name
            self.tensors[name] = tensor
        self._reset(tensor, source.data_type, content)
        if maker is not None and small:
            del maker.attribute[:]
            maker.attribute.append(helper.make_attribute("value", tensor))
        elif not small:
            assert isinstance(content, Resampled | Filled | Eye | Repeated | Drawn)
            self.pending[name] = content
        else:
            self.pending.pop(name, None)
        if name in self.tensors:
            self._declare_input(name, tensor)

    def _take_out(self, name: str) -> None:
        """A weight of a body becomes one of the main graph, where weights are written one at a time."""
        for body in self.subgraphs:
            for tensor in body.initializer:
                if tensor.name == name:
                    body.initializer.remove(tensor)
                    del self.tensors[name]
                    return

    def _remove(self, maker: NodeProto) -> None:
        """A Constant node gives way to an initializer of its name."""
        self.draft.nodes = {i: node for i, node in self.draft.nodes.items() if node is not maker}

    def _reset(self, tensor: TensorProto, data_type: int, content: Content) -> None:
        doc = tensor.doc_string
        name = tensor.name
        metadata = list(tensor.metadata_props)
        tensor.Clear()
        tensor.name, tensor.data_type = name, data_type
        if doc:
            tensor.doc_string = doc
        tensor.metadata_props.extend(metadata)
        assert not isinstance(content, Original)
        tensor.dims.extend(content.dims)
        if isinstance(content, _Small):
            dtype = helper.tensor_dtype_to_np_dtype(data_type)
            array = np.asarray(self._values(content)).astype(dtype).reshape(content.dims)
            tensor.raw_data = numpy_helper.from_array(array).raw_data

    def _values(self, content: Numbers | Counted | Computed) -> object:
        """The elements of a small constant, in double precision or as integers."""
        if isinstance(content, Numbers):
            return content.values
        if isinstance(content, Computed):
            return recomputed(self.graph.array(content.name), content.dims)
        return np.arange(int(np.prod(content.dims)))

    def _declare_input(self, name: str, tensor: TensorProto) -> None:
        """Before IR version 4 every initializer is a graph input as well."""
        declared = {v.name: v for v in self.proto.input}
        if name in declared:
            _set_dims(declared[name], list(tensor.dims))
        elif self.draft.proto.ir_version < 4:
            self.proto.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))

    def rename(self, names: dict[str, str]) -> None:
        """Give initializers other names, all at once, unless one of them is taken; added ones get what becomes free."""
        free = set(names) - set(names.values())
        for new, name in self.wanted.items():
            if name in free:  # the first that wants it; another chain may want the same
                free.discard(name)
                names = {**names, new: name}
        taken = (self.draft.tensors - set(names)) & set(names.values())
        gone = taken & self._unread()  # of blocks that are no more
        if taken != gone or len(set(names.values())) < len(names):
            return
        if gone:
            _drop_initializers(self.proto, gone)
            self.pending = {name: content for name, content in self.pending.items() if name not in gone}
        self.draft.rename(names, self.draft.all_nodes())
        for named in (*self.proto.initializer, *self.proto.value_info, *self.proto.input):
            named.name = names.get(named.name, named.name)
        self.pending = {names.get(name, name): content for name, content in self.pending.items()}

    def _unread(self) -> set[str]:
        """The model's own initializers that no node reads any more and no output is."""
        read = {name for node in self.draft.all_nodes() for name in node.input}
        ends = {v.name for graph in (self.proto, *self.subgraphs) for v in graph.output}
        return {tensor.name for tensor in self.proto.initializer} - read - ends

    def sweep(self) -> None:
        """Drop the tensors that were needed and no longer are, and those that nothing ever read.

        Exporters leave folded shapes behind: numbers of the source's sizes that mean nothing at other sizes.
        """
        needed = set(self.graph.outputs)
        before = set(self.graph.outputs)
        graphs = [*all_graphs(self.proto)]
        for found, into in ((graphs, needed), (self.graph.order.graphs, before)):
            for graph in found:
                into.update(v.name for v in graph.output)
                for node in graph.node:
                    into.update(node.input)
        held = {tensor.name for graph in graphs for tensor in graph.initializer}
        stale = self.plan.resizes
        gone = {name for name in held if name not in needed and (stale or name in before)}
        for graph in graphs if gone else ():
            _drop_initializers(graph, gone)
        self.pending = {n: c for n, c in self.pending.items() if n not in gone}


def _constants(graph: onnx.GraphProto) -> Iterable[str]:
    """The names of what a graph itself holds as constants."""
    yield from (tensor.name for tensor in graph.initializer)
    yield from (node.output[0] for node in graph.node if node.op_type == "Constant")


def _drop_initializers(graph: onnx.GraphProto, gone: set[str]) -> None:
    copies = []
    for tensor in graph.initializer:
        if tensor.name not in gone:
            copies.append(TensorProto())
            copies[-1].CopyFrom(tensor)
    del graph.initializer[:]
    graph.initializer.extend(copies)
    inputs = [v for v in graph.input if v.name not in gone]
    del graph.input[:]
    graph.input.extend(inputs)


def _set_attributes(draft: Draft, plan: Plan) -> None:
    copies: dict[int, list[NodeProto]] = defaultdict(list)
    for _, template, node, _ in draft.added:
        copies[template].append(node)
    for index, name, element, size in plan.attributes:
        for node in [*([draft.nodes[index]] if index in draft.nodes else []), *copies[index]]:
            attr = next((a for a in node.attribute if a.name == name), None)
            if attr is None:
                node.attribute.append(helper.make_attribute(name, size))
                continue
            if element is not None:
                attr.ints[element] = int(size)
            elif attr.type == onnx.AttributeProto.FLOAT:
                attr.f = size
            else:
                attr.i = int(size)


def _set_shapes(draft: Draft, plan: Plan) -> None:
    """Declared sizes of inputs, outputs and inner tensors; names of symbolic dims stay."""
    graph = draft.proto.graph
    facts = plan.structure.analysis.facts
    outputs = {v.name for v in graph.output}
    graphs = [*all_graphs(graph)]
    made = {name for found in graphs for node in found.node for name in node.output}
    infos = {v.name: v for v in graph.value_info}
    for name, like in draft.copies.items():
        if like in infos and name in made and name not in infos and name not in outputs:
            copy = graph.value_info.add()
            copy.CopyFrom(infos[like])
            copy.name = name
    for found in graphs:
        _drop_infos(found)
    constants = {tensor.name: tensor for found in graphs for tensor in found.initializer}
    made_here = [node for found in graphs for node in found.node if node.op_type == "Constant"]
    constants |= {node.output[0]: a.t for node in made_here for a in node.attribute if a.name == "value"}
    for info in (info for found in graphs for info in _all_infos(found)):
        constant = constants.get(plan.structure.graph.constant_name(info.name))
        if constant is not None:
            _set_dims(info, list(constant.dims))
            continue
        fact = facts.get(draft.copies.get(info.name, info.name))
        held = () if fact is None else (fact,) if fact.members is None else fact.members
        shapes = [member.axes for member in held]
        declared = _declared(info.type)
        for dim in declared:
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.Clear()  # some converters write -1 or 0 for what they do not know
        if not declared or not shapes or any(axes is None or len(axes) != len(declared) for axes in shapes):
            continue
        for dim, *axes in zip(declared, *(axes for axes in shapes if axes is not None), strict=True):
            if not dim.HasField("dim_value"):
                continue
            before, after = {size_of(axis) for axis in axes}, {plan.size(axis) for axis in axes}
            if before == {dim.dim_value} and len(after) == 1:
                (dim.dim_value,) = after
            elif before != after:
                dim.Clear()  # part of it is known at run time only, and what was declared is no longer true


def _declared(kind: onnx.TypeProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    """The declared sizes of a tensor, or of every member of a sequence or an optional one."""
    if kind.HasField("sequence_type"):
        return _declared(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _declared(kind.optional_type.elem_type)
    dims: Sequence[onnx.TensorShapeProto.Dimension] = kind.tensor_type.shape.dim
    return dims


def _drop_infos(graph: onnx.GraphProto) -> None:
    """Declared shapes of tensors that are gone."""
    held = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    kept = [v for v in graph.value_info if v.name in held]
    if len(kept) != len(graph.value_info):
        copies = []
        for info in kept:
            copies.append(onnx.ValueInfoProto())
            copies[-1].CopyFrom(info)
        del graph.value_info[:]
        graph.value_info.extend(copies)


def _all_infos(graph: onnx.GraphProto) -> Iterable[onnx.ValueInfoProto]:
    yield from graph.input
    yield from graph.output
    yield from graph.value_info


def _set_dims(info: onnx.ValueInfoProto, dims: list[int]) -> None:
    del info.type.tensor_type.shape.dim[:]
    for size in dims:
        info.type.tensor_type.shape.dim.add().dim_value = size
