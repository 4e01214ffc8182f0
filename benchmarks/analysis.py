"""How the time to understand and resize a graph grows with its nodes: one table, on this machine.

    python benchmarks/analysis.py                  # 1k, 5k, 10k, 20k and 40k nodes, all alike and all different
    python benchmarks/analysis.py --nodes 5000 --profile

The graphs are transformers as exporters write them, attention with shapes computed at run time in each block: either
one block many times, resized to half the depth, or as many blocks of as many feed-forward widths, resized to twice
the width. Weights are tiny, so that what is measured is the graph. Garbage is collected as seldom as the commands do.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from front_onnx import understand  # noqa: E402
from front_onnx.commands.run import COLLECTIONS  # noqa: E402
from front_onnx.dims.structure import Structure  # noqa: E402
from front_onnx.plan.planning import make_plan  # noqa: E402
from front_onnx.plan.request import Request  # noqa: E402
from front_onnx.read.graph import Graph  # noqa: E402
from front_onnx.read.model_file import read_model  # noqa: E402
from front_onnx.write.rewrite import rewrite  # noqa: E402
from front_onnx.write.verify import verify  # noqa: E402

NODES = (1000, 5000, 10_000, 20_000, 40_000)
STAGES = ("read", "understand", "chains", "dims", "plan", "rewrite", "verify")
HEADS, HEAD_DIM = 2, 4
WIDTH = HEADS * HEAD_DIM


class Builder:
    """A graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self.rng = np.random.default_rng(0)

    def add(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_output_0"], f"{name}/{op}", **attributes))
        return f"{name}_output_0"

    def weight(self, name: str, *shape: int) -> str:
        self.weights.append(numpy_helper.from_array(self.rng.standard_normal(shape).astype(np.float32), name))
        return name

    def ints(self, name: str, *values: int) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def linear(self, name: str, x: str, rows: int, columns: int) -> str:
        product = self.add(f"{name}/MatMul", "MatMul", x, self.weight(f"{name}.weight", rows, columns))
        return self.add(f"{name}/Add", "Add", product, self.weight(f"{name}.bias", columns))

    def norm(self, name: str, x: str) -> str:
        return self.add(
            name,
            "LayerNormalization",
            x,
            self.weight(f"{name}.weight", WIDTH),
            self.weight(f"{name}.bias", WIDTH),
            axis=-1,
        )

    def heads(self, name: str, x: str, perm: list[int]) -> str:
        """[batch, length, width] to [batch, heads, length, head_dim], batch and length taken at run time."""
        pieces = []
        for axis in (0, 1):
            sizes = self.add(f"{name}/Shape_{axis}", "Shape", x)
            size = self.add(f"{name}/Gather_{axis}", "Gather", sizes, self.ints(f"{name}/at_{axis}", axis), axis=0)
            pieces.append(size)
        counts = self.ints(f"{name}/heads", HEADS, HEAD_DIM)
        shape = self.add(f"{name}/Concat", "Concat", *pieces, counts, axis=0)
        return self.add(f"{name}/Transpose", "Transpose", self.add(f"{name}/Reshape", "Reshape", x, shape), perm=perm)

    def block(self, name: str, x: str, inner: int) -> str:
        y = self.norm(f"{name}/norm1", x)
        q, k, v = (
            self.heads(
                f"{name}/{part}",
                self.linear(f"{name}/{part}", y, WIDTH, WIDTH),
                [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3],
            )
            for part in "qkv"
        )
        scale = self.weight(f"{name}/scale")
        self.weights[-1].CopyFrom(numpy_helper.from_array(np.float32(HEAD_DIM**-0.5), scale))
        scores = self.add(f"{name}/Mul", "Mul", self.add(f"{name}/scores", "MatMul", q, k), scale)
        mixed = self.add(f"{name}/mixed", "MatMul", self.add(f"{name}/softmax", "Softmax", scores, axis=-1), v)
        mixed = self.add(f"{name}/back", "Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.add(f"{name}/flat", "Reshape", mixed, self.ints(f"{name}/flat_shape", 0, 0, WIDTH))
        x = self.add(f"{name}/add1", "Add", x, self.linear(f"{name}/out", mixed, WIDTH, WIDTH))
        y = self.linear(f"{name}/up", self.norm(f"{name}/norm2", x), WIDTH, inner)
        y = self.linear(f"{name}/down", self.add(f"{name}/relu", "Relu", y), inner, WIDTH)
        return self.add(f"{name}/add2", "Add", x, y)


def build(nodes: int, alike: bool) -> onnx.ModelProto:
    """A transformer of about that many nodes."""
    graph = Builder()
    x = graph.linear("embed", "x", 3, WIDTH)
    number = 0
    while len(graph.nodes) < nodes:
        x = graph.block(f"/layers.{number}", x, 16 if alike else 16 + number)
        number += 1
    x = graph.linear("head", x, WIDTH, 5)
    made = helper.make_graph(
        graph.nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length", 3])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "length", 5])],
        graph.weights,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(path: Path, request: Callable[[Structure], Request]) -> dict[str, float]:
    """Seconds of one core for each stage of `resize --dry-run`."""
    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return work(*args, **options)
            finally:
                spent[stage] = spent.get(stage, 0) + time.process_time() - start

        return run

    originals = understand.follow_axes, understand.find_chains
    understand.follow_axes = timed("understand", originals[0])
    understand.find_chains = timed("chains", originals[1])
    try:
        graph = timed("read", lambda: Graph(read_model(path)))()
        found = timed("dims", understand.understand)(graph)
    finally:
        understand.follow_axes, understand.find_chains = originals
    spent["dims"] -= spent["understand"] + spent["chains"]
    plan = timed("plan", make_plan)(found, request(found))
    rewritten = timed("rewrite", rewrite)(plan)
    timed("verify", verify)(plan, rewritten)
    return spent


def half_depth(found: Structure) -> Request:
    (chain,) = found.chains
    return Request(depth=chain.depth // 2)


def twice_the_width(found: Structure) -> Request:
    assert not found.chains
    return Request(width_mult=2)


def rows(counts: list[int], alike: bool) -> Iterator[tuple[int, dict[str, float]]]:
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            proto = build(count, alike)
            onnx.save(proto, str(Path(folder) / "large.onnx"))
            yield len(proto.graph.node), measure(Path(folder) / "large.onnx", half_depth if alike else twice_the_width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES, help="sizes of the graphs")
    parser.add_argument("--kind", choices=("alike", "different"), help="only blocks that are all alike, or none alike")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    gc.set_threshold(*COLLECTIONS)
    for kind in ("alike", "different") if options.kind is None else (options.kind,):
        print(f"\nblocks all {kind}: seconds of one core\n{'nodes':>8}" + "".join(f"{s:>11}" for s in STAGES), end="")
        print(f"{'inspect':>10}{'resize':>10}{'us/node':>10}")
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        for nodes, spent in rows(list(options.nodes), kind == "alike"):
            inspect, resize = sum(spent[stage] for stage in STAGES[:4]), sum(spent.values())
            shown = "".join(f"{spent[stage]:11.2f}" for stage in STAGES)
            print(f"{nodes:8}{shown}{inspect:10.1f}{resize:10.1f}{resize / nodes * 1e6:10.0f}", flush=True)
        if options.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
