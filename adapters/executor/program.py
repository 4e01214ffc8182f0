"""From a graph to steps in the order they run: operators looked up, attributes read, names freed when last read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from front_onnx.adapters.executor import operators  # noqa: F401 - fills the table
from front_onnx.adapters.executor.table import OPERATORS, Operator, Step, attributes_of

from front_onnx.errors import FrontError, UntrainableError
from front_onnx.read.graph import Graph, label
from front_onnx.read.subgraphs import Subgraph

_LARGE = 64  # elements: shorter tensors are numbers, which stay on the processor

__all__ = ["Program", "compile_graph", "missing_operators", "run_program"]


@dataclass(eq=False)
class Program:
    """Steps of one graph or body.

    Attributes:
        inputs, outputs: names, in order.
        steps: with the operator of each, and the names that nothing reads after it.
    """

    inputs: list[str]
    outputs: list[str]
    steps: list[tuple[Step, Operator, tuple[str, ...]]]


def _domain(name: str) -> str:
    return name or "ai.onnx"


def missing_operators(graph: Graph) -> dict[str, list[str]]:
    """Operators that have no entry in the table, with the nodes that use them."""
    found: dict[str, list[str]] = {}
    for index, node in enumerate(graph.nodes):
        domain = _domain(node.domain)
        if (domain, node.op_type) not in OPERATORS:
            name = node.op_type if domain == "ai.onnx" else f"{domain}.{node.op_type}"
            found.setdefault(name, []).append(label(node, index))
    return found


def compile_graph(graph: Graph, held: Iterable[str]) -> Program:
    """Steps for all nodes but those that only hold a constant in `held`.

    Raises:
        UntrainableError: an operator has no entry in the table; all of them are named, before anything is run.
    """
    missing = missing_operators(graph)
    if missing:
        listed = ", ".join(f"{name} ({len(nodes)})" for name, nodes in sorted(missing.items()))
        first = next(iter(missing.values()))[0]
        quantised = any("Quantize" in name or name.startswith("QLinear") for name in missing)
        hint = "train the float model and quantise again" if quantised else None
        raise UntrainableError(f"operators that cannot be trained through: {listed}", node=first, hint=hint)
    known = set(held)

    def body(found: Subgraph, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
        read = Counter(outputs)
        steps = []
        inner = {index: _names_read(graph, index) for index in found.nodes}
        for index in found.nodes:
            read.update(inner[index])
        made = set(inputs)
        for index in found.nodes:
            node = graph.nodes[index]
            if node.output and all(name in known or not name for name in node.output):
                read.subtract(inner[index])
                continue
            domain = _domain(node.domain)
            entry = OPERATORS[domain, node.op_type]
            bodies = {
                key: body(part, part.inputs, part.outputs) for key, part in graph.order.subgraphs.get(index, {}).items()
            }
            step = Step(
                label(node, index),
                node.op_type,
                domain,
                graph.opset.get(domain, 1),
                tuple(node.input),
                tuple(node.output),
                attributes_of(node),
                bodies,
            )
            made.update(node.output)
            freed = []
            for name in inner[index]:
                read[name] -= 1
                if read[name] == 0 and name in made:
                    freed.append(name)
            freed += [name for name in node.output if name and not read[name]]
            steps.append((step, entry, tuple(freed)))
        return Program(list(inputs), list(outputs), steps)

    main = graph.order.main
    return body(main, [v.name for v in graph.inputs], graph.outputs)


def _names_read(graph: Graph, index: int) -> set[str]:
    """What a node reads, its bodies included."""
    names = {name for name in graph.nodes[index].input if name}
    for part in graph.order.subgraphs.get(index, {}).values():
        names.update(part.outputs)
        for inner in part.nodes:
            names |= _names_read(graph, inner)
    return names


def run_program(
    program: Program,
    values: dict[str, Any],
    training: bool,
    update: Callable[[str, Any], None],
    watch: Callable[[Step, Sequence[Any]], None] | None = None,
) -> list[Any]:
    """Run the steps on named tensors (inputs and constants, changed in place) and return the outputs.

    Args:
        program: the steps.
        values: tensors by name.
        training: if dropout and batch norms do what the graph says of training.
        update: told (name of a constant, its new value) where training changes statistics.
        watch: told what every step makes.

    Raises:
        FrontError: a step cannot be computed; the message names its node.
    """

    def walk(body: Program, given: Sequence[Any]) -> list[Any]:
        inner = dict(values)
        inner.update(zip(body.inputs, given, strict=False))
        return run_program(body, inner, training, update, watch)

    for step, entry, freed in program.steps:
        step.training, step.walk = training, walk if step.subgraphs else None
        given = [values[name] if name else None for name in step.inputs]
        moved = _together(given, entry.host)
        for name, before, after in zip(step.inputs, given, moved, strict=True):
            if after is not before and after.numel() > _LARGE:
                values[name] = after  # the next reader need not move it again
        try:
            made = entry.run(step, *moved)
        except FrontError:
            raise
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            shapes = ", ".join(str(list(x.shape)) if isinstance(x, torch.Tensor) else "none" for x in given)
            line = " ".join(str(error).split())[:200]
            if isinstance(error, MemoryError) or "out of memory" in line or "allocate memory" in line:
                raise MemoryError(line) from None
            raise FrontError(f"{step.op_type} fails: {line}", node=step.label, got=f"inputs {shapes}") from error
        finally:
            step.walk = None  # it holds all tensors of this run
        results = made if isinstance(made, tuple | list) else (made,)
        if watch is not None:
            watch(step, results)
        for name, result in zip(step.outputs, results, strict=False):
            if name:
                values[name] = result
        if training:
            for slot, place in entry.updates.items():
                if len(results) > place and results[place] is not given[slot]:
                    update(step.inputs[slot], results[place])
        for name in freed:
            values.pop(name, None)
    return [values[name] for name in program.outputs]


def _together(given: list[Any], host: frozenset[int]) -> list[Any]:
    """Tensors on one device: numbers made of shapes lie on the processor until they meet data."""
    devices = {x.device for x in given if isinstance(x, torch.Tensor)}
    if len(devices) < 2:
        return given
    device = next(d for d in devices if d.type != "cpu")
    return [
        x.to(device) if isinstance(x, torch.Tensor) and place not in host and x.dim() else x
        for place, x in enumerate(given)
    ]
