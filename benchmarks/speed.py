"""How fast and how lean: one table, in one run, on this machine.

    python benchmarks/speed.py            # the kernel rows and the whole-model row
    python benchmarks/speed.py --kernel   # the kernel rows only

Every time stands beside its floor: what it takes to read the input and write the output once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import scipy.fft
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from front_onnx.read.model_file import read_model  # noqa: E402
from front_onnx.transform.maps import Dct  # noqa: E402
from front_onnx.transform.stack import resize_stack  # noqa: E402
from front_onnx.write.model_writer import ModelWriter  # noqa: E402

SOURCE, TARGET = (12, 768, 3072), (6, 384, 1536)


def best(do: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs in seconds, after one to warm up: the least disturbed one."""
    do()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)


def kernel_rows(repeats: int) -> list[tuple[str, float, float]]:
    """One stack of weights, float32: (name, seconds, ratio to the floor)."""
    stack = np.random.default_rng(0).standard_normal(SOURCE, dtype=np.float32)
    result = np.empty(TARGET, np.float32)
    depth, *axes = [Dct(n, m, min(n, m)) for n, m in zip(SOURCE, TARGET, strict=True)]
    low = tuple(slice(size) for size in TARGET)

    def floor() -> None:
        for block in stack:
            block.sum()
        result.fill(1)

    def ours() -> np.ndarray:
        return resize_stack(list(stack), depth, axes)

    def plain() -> np.ndarray:
        return scipy.fft.idctn(scipy.fft.dctn(stack, norm="ortho")[low], norm="ortho")

    error = np.abs(ours() - plain()).max() / np.abs(plain()).max()
    assert error < 1e-5, error
    least = best(floor, repeats)
    rows = [("floor: read the input, write the output", least)]
    rows += [("front-onnx", best(ours, repeats)), ("scipy dctn, crop, idctn", best(plain, 3))]
    return [(name, seconds, seconds / least) for name, seconds in rows]


# The whole model: BERT-base, with random weights.

HIDDEN, HEADS, FFN, LAYERS, VOCABULARY, POSITIONS = 768, 12, 3072, 12, 30522, 512


class Bert:
    """The graph of BERT-base as an exporter writes it: `shapes` are the weights, by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def weight(self, name: str, *shape: int) -> str:
        self.shapes[name] = shape
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(onnx.numpy_helper.from_array(values, name))
        return name

    def linear(self, x: str, name: str, source: int, target: int) -> str:
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", source, target)], f"{name}/MatMul")
        return self.node("Add", [product, self.weight(f"{name}.bias", target)], f"{name}/Add")

    def norm(self, x: str, name: str) -> str:
        gain, bias = self.weight(f"{name}.weight", HIDDEN), self.weight(f"{name}.bias", HIDDEN)
        return self.node("LayerNormalization", [x, gain, bias], f"{name}/LayerNorm", axis=-1, epsilon=1e-12)

    def embeddings(self) -> str:
        words = self.node("Gather", [self.weight("word_embeddings.weight", VOCABULARY, HIDDEN), "input_ids"], "words")
        kinds = self.node("Gather", [self.weight("token_type.weight", 2, HIDDEN), "token_type_ids"], "types")
        shape = self.node("Shape", ["input_ids"], "shape")
        length = self.node(
            "Slice",
            [shape, self.constant("one", np.array([1])), self.constant("two", np.array([2]))],
            "length",
        )
        self.constant("zero", np.array([0]))
        places = self.node(
            "Slice",
            [self.weight("position_embeddings.weight", POSITIONS, HIDDEN), "zero", length, "zero"],
            "positions",
        )
        both = self.node("Add", [words, kinds], "embed/Add")
        return self.norm(self.node("Add", [both, places], "embed/Add_1"), "embeddings.norm")

    def mask(self) -> str:
        """[batch, 1, 1, length]: 0 where attended, -10000 elsewhere."""
        values = self.node("Cast", ["attention_mask"], "mask/Cast", to=TensorProto.FLOAT)
        rest = self.node("Sub", [self.constant("mask_one", np.array(1, np.float32)), values], "mask/Sub")
        far = self.node("Mul", [rest, self.constant("mask_far", np.array(-1e4, np.float32))], "mask/Mul")
        return self.node("Unsqueeze", [far, self.constant("mask_axes", np.array([1, 2]))], "mask/Unsqueeze")

    def heads(self, x: str, name: str, order: list[int]) -> str:
        split = self.node("Reshape", [x, "split_heads"], f"{name}/Reshape")
        return self.node("Transpose", [split], f"{name}/Transpose", perm=order)

    def attention(self, x: str, mask: str, name: str) -> str:
        query = self.heads(self.linear(x, f"{name}.query", HIDDEN, HIDDEN), f"{name}.q", [0, 2, 1, 3])
        key = self.heads(self.linear(x, f"{name}.key", HIDDEN, HIDDEN), f"{name}.k", [0, 2, 3, 1])
        value = self.heads(self.linear(x, f"{name}.value", HIDDEN, HIDDEN), f"{name}.v", [0, 2, 1, 3])
        scores = self.node("MatMul", [query, key], f"{name}/scores")
        scaled = self.node("Div", [scores, "sqrt_head_dim"], f"{name}/Div")
        weights = self.node("Softmax", [self.node("Add", [scaled, mask], f"{name}/Mask")], f"{name}/Softmax", axis=-1)
        mixed = self.node("MatMul", [weights, value], f"{name}/context")
        mixed = self.node("Transpose", [mixed], f"{name}/Transpose", perm=[0, 2, 1, 3])
        merged = self.node("Reshape", [mixed, "merge_heads"], f"{name}/Reshape")
        return self.linear(merged, f"{name}.output", HIDDEN, HIDDEN)

    def gelu(self, x: str, name: str) -> str:
        inner = self.node("Erf", [self.node("Div", [x, "sqrt_two"], f"{name}/Div")], f"{name}/Erf")
        gate = self.node("Add", [inner, "mask_one"], f"{name}/Add")
        return self.node("Mul", [self.node("Mul", [x, gate], f"{name}/Mul"), "half"], f"{name}/Mul_1")

    def layer(self, x: str, mask: str, name: str) -> str:
        mixed = self.attention(x, mask, f"{name}.attention")
        x = self.norm(self.node("Add", [mixed, x], f"{name}.attention/Residual"), f"{name}.attention.norm")
        inner = self.gelu(self.linear(x, f"{name}.fc1", HIDDEN, FFN), f"{name}.gelu")
        out = self.linear(inner, f"{name}.fc2", FFN, HIDDEN)
        return self.norm(self.node("Add", [out, x], f"{name}/Residual"), f"{name}.norm")

    def model(self) -> onnx.ModelProto:
        """The graph, post-LN with a pooler; weights have their shapes but no values yet."""
        x, mask = self.embeddings(), self.mask()
        self.constant("split_heads", np.array([0, -1, HEADS, HIDDEN // HEADS]))
        self.constant("merge_heads", np.array([0, -1, HIDDEN]))
        self.constant("sqrt_head_dim", np.array((HIDDEN // HEADS) ** 0.5, np.float32))
        self.constant("sqrt_two", np.array(2**0.5, np.float32))
        self.constant("half", np.array(0.5, np.float32))
        for index in range(LAYERS):
            x = self.layer(x, mask, f"encoder.layer.{index}")
        self.constant("first", np.array(0))
        first = self.node("Gather", [x, "first"], "pooler/Gather", axis=1)
        pooled = self.node("Tanh", [self.linear(first, "pooler.dense", HIDDEN, HIDDEN)], "pooler/Tanh")
        names = ["input_ids", "attention_mask", "token_type_ids"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in names]
        outputs = [
            helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "length", HIDDEN]),
            helper.make_tensor_value_info(pooled, TensorProto.FLOAT, ["batch", HIDDEN]),
        ]
        weights = [
            TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT) for name, shape in self.shapes.items()
        ]
        graph = helper.make_graph(self.nodes, "bert", inputs, outputs, [*weights, *self.constants])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_bert(path: Path) -> None:
    """BERT-base with random weights (gains of 1, biases of 0): 109 million parameters, 438 MB."""
    bert, rng = Bert(), np.random.default_rng(0)
    model = bert.model()
    with ModelWriter(model, path, external=False, pending=set(bert.shapes)) as writer:
        for name, shape in bert.shapes.items():
            if name.endswith("bias"):
                values = np.zeros(shape, np.float32)
            elif len(shape) == 1:
                values = np.ones(shape, np.float32)
            else:
                values = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            writer.put(name, values)


# What runs in a process of its own: its peak memory (VmHWM) above what it holds after the imports (VmRSS).
# Linux's getrusage would not do: a new process starts with the peak of the one that started it.
MEASURE = """
import json, sys, time
from pathlib import Path
import front_onnx
lines = lambda: dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
kilobytes = lambda key: int(lines()[key].split()[0])
before, start = kilobytes("VmRSS"), time.perf_counter()
front_onnx.resize(sys.argv[1], depth=6, width=384, output=sys.argv[2], validate=False)
print(json.dumps({"seconds": time.perf_counter() - start, "bytes": 1024 * (kilobytes("VmHWM") - before)}))
"""


def whole_model_rows(repeats: int) -> list[tuple[str, float, float, float | None]]:
    """BERT-base to 6 layers of 384: (name, seconds, ratio to the floor, MB of memory above the imports)."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "bert.onnx", Path(folder) / "out.onnx"
        write_bert(source)

        def floor() -> None:
            (Path(folder) / "copy.onnx").write_bytes(source.read_bytes())

        least = best(floor, repeats)
        (Path(folder) / "copy.onnx").unlink()
        runs = []
        for _ in range(repeats):
            command = [sys.executable, "-c", MEASURE, str(source), str(target)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            runs.append(json.loads(done.stdout))
        seconds, memory = (min(run[key] for run in runs) for key in ("seconds", "bytes"))
        read_model(target)
        size = source.stat().st_size / 1e6
    return [
        (f"floor: read and write the {size:.0f} MB file", least, 1.0, None),
        ("front-onnx, 12 x 768 to 6 x 384", seconds, seconds / least, memory / 1e6),
    ]


def show(title: str, rows: Iterable[tuple[str, float, float, float | None]]) -> None:
    print(f"\n{title}\n{'':44}{'time':>10}{'x floor':>10}{'memory':>10}")
    for name, seconds, ratio, memory in rows:
        used = "" if memory is None else f"{memory:7.0f} MB"
        print(f"{name:44}{seconds * 1e3:7.1f} ms{ratio:10.1f}{used:>10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", action="store_true", help="only the kernel rows")
    parser.add_argument("--repeats", type=int, default=9, help="runs per row; the shortest counts")
    options = parser.parse_args()
    show(f"float32 {list(SOURCE)} to {list(TARGET)}", [(*row, None) for row in kernel_rows(options.repeats)])
    if not options.kernel:
        show("whole model", whole_model_rows(min(3, options.repeats)))


if __name__ == "__main__":
    main()
