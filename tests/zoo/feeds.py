"""Random inputs a graph accepts: ids below the vocabulary, masks of ones and zeros, any dynamic size."""

import numpy as np
import onnx

from .graphview import View

_PASSES_IDS = {"Cast", "Reshape", "Identity", "Squeeze", "Unsqueeze"}


def feeds(view: View, seed: int) -> list[dict[str, np.ndarray]]:
    """Two sets of inputs of different sizes where the axes allow it: no padding, and some padding."""
    return [_feed(view, seed, sizes=(3, 6), padded=False), _feed(view, seed + 1, sizes=(2, 9), padded=True)]


def _feed(view: View, seed: int, sizes: tuple[int, ...], padded: bool) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    named: dict[str, int] = {}
    feed = {}
    graph = view.main.graph
    for entry in graph.input:
        if view.main.defined[entry.name].kind != "input":
            continue
        shape = []
        for dim in entry.type.tensor_type.shape.dim:
            parts = dim.dim_param.split(" + ")  # a mask is as long as what is cached and what is new
            for name in parts if not dim.HasField("dim_value") else ():
                named.setdefault(name, sizes[min(len(named), len(sizes) - 1)])
            shape.append(dim.dim_value if dim.HasField("dim_value") else sum(named[name] for name in parts))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        if "mask" in entry.name:
            values = np.ones(shape)
            if padded and values.ndim > 1:
                values[-1, -2:] = 0
        elif np.issubdtype(dtype, np.integer):
            values = generator.integers(0, _rows(view, entry.name), shape)
        else:
            values = generator.standard_normal(shape)
        feed[entry.name] = values.astype(dtype)
    return feed


def _rows(view: View, name: str) -> int:
    """The rows of the smallest table this input looks up; 2 where it looks up none."""
    rows = []
    reached = {name}
    for node in view.main.graph.node:
        if node.op_type in _PASSES_IDS and node.input[0] in reached:
            reached.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in reached:
            table = view.look_up(view.main, node.input[0])
            if table.kind == "constant":
                rows.append(view.array(table).shape[0])
    return min(rows, default=2)
