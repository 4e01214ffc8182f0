"""What the benchmarks share: BERT of any size with random weights, and a resize measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from front_onnx.store.atomic import atomic_write  # noqa: E402
from front_onnx.store.model_writer import ModelWriter  # noqa: E402

__all__ = ["VOCABULARY", "Bert", "measured_resize", "write_bert"]

VOCABULARY, POSITIONS = 30522, 512


@dataclass
class Bert:
    """The graph of BERT as an exporter writes it, BERT-base by default: `shapes` are the weights, by name."""

    hidden: int = 768
    heads: int = 12
    ffn: int = 3072
    layers: int = 12

    def __post_init__(self) -> None:
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
        gain, bias = self.weight(f"{name}.weight", self.hidden), self.weight(f"{name}.bias", self.hidden)
        return self.node("LayerNormalization", [x, gain, bias], f"{name}/LayerNorm", axis=-1, epsilon=1e-12)

    def embeddings(self) -> str:
        words = self.node(
            "Gather", [self.weight("word_embeddings.weight", VOCABULARY, self.hidden), "input_ids"], "words"
        )
        kinds = self.node("Gather", [self.weight("token_type.weight", 2, self.hidden), "token_type_ids"], "types")
        shape = self.node("Shape", ["input_ids"], "shape")
        length = self.node(
            "Slice",
            [shape, self.constant("one", np.array([1])), self.constant("two", np.array([2]))],
            "length",
        )
        self.constant("zero", np.array([0]))
        places = self.node(
            "Slice",
            [self.weight("position_embeddings.weight", POSITIONS, self.hidden), "zero", length, "zero"],
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

    def split(self, x: str, name: str, order: list[int]) -> str:
        split = self.node("Reshape", [x, "split_heads"], f"{name}/Reshape")
        return self.node("Transpose", [split], f"{name}/Transpose", perm=order)

    def attention(self, x: str, mask: str, name: str) -> str:
        query = self.split(self.linear(x, f"{name}.query", self.hidden, self.hidden), f"{name}.q", [0, 2, 1, 3])
        key = self.split(self.linear(x, f"{name}.key", self.hidden, self.hidden), f"{name}.k", [0, 2, 3, 1])
        value = self.split(self.linear(x, f"{name}.value", self.hidden, self.hidden), f"{name}.v", [0, 2, 1, 3])
        scores = self.node("MatMul", [query, key], f"{name}/scores")
        scaled = self.node("Div", [scores, "sqrt_head_dim"], f"{name}/Div")
        weights = self.node("Softmax", [self.node("Add", [scaled, mask], f"{name}/Mask")], f"{name}/Softmax", axis=-1)
        mixed = self.node("MatMul", [weights, value], f"{name}/context")
        mixed = self.node("Transpose", [mixed], f"{name}/Transpose", perm=[0, 2, 1, 3])
        merged = self.node("Reshape", [mixed, "merge_heads"], f"{name}/Reshape")
        return self.linear(merged, f"{name}.output", self.hidden, self.hidden)

    def gelu(self, x: str, name: str) -> str:
        inner = self.node("Erf", [self.node("Div", [x, "sqrt_two"], f"{name}/Div")], f"{name}/Erf")
        gate = self.node("Add", [inner, "mask_one"], f"{name}/Add")
        return self.node("Mul", [self.node("Mul", [x, gate], f"{name}/Mul"), "half"], f"{name}/Mul_1")

    def layer(self, x: str, mask: str, name: str) -> str:
        mixed = self.attention(x, mask, f"{name}.attention")
        x = self.norm(self.node("Add", [mixed, x], f"{name}.attention/Residual"), f"{name}.attention.norm")
        inner = self.gelu(self.linear(x, f"{name}.fc1", self.hidden, self.ffn), f"{name}.gelu")
        out = self.linear(inner, f"{name}.fc2", self.ffn, self.hidden)
        return self.norm(self.node("Add", [out, x], f"{name}/Residual"), f"{name}.norm")

    def model(self) -> onnx.ModelProto:
        """The graph, post-LN with a pooler; weights have their shapes but no values yet."""
        x, mask = self.embeddings(), self.mask()
        self.constant("split_heads", np.array([0, -1, self.heads, self.hidden // self.heads]))
        self.constant("merge_heads", np.array([0, -1, self.hidden]))
        self.constant("sqrt_head_dim", np.array((self.hidden // self.heads) ** 0.5, np.float32))
        self.constant("sqrt_two", np.array(2**0.5, np.float32))
        self.constant("half", np.array(0.5, np.float32))
        for index in range(self.layers):
            x = self.layer(x, mask, f"encoder.layer.{index}")
        self.constant("first", np.array(0))
        first = self.node("Gather", [x, "first"], "pooler/Gather", axis=1)
        pooled = self.node("Tanh", [self.linear(first, "pooler.dense", self.hidden, self.hidden)], "pooler/Tanh")
        names = ["input_ids", "attention_mask", "token_type_ids"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in names]
        outputs = [
            helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "length", self.hidden]),
            helper.make_tensor_value_info(pooled, TensorProto.FLOAT, ["batch", self.hidden]),
        ]
        weights = [
            TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT) for name, shape in self.shapes.items()
        ]
        graph = helper.make_graph(self.nodes, "bert", inputs, outputs, [*weights, *self.constants])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_bert(path: Path, bert: Bert, *, external: bool = False) -> None:
    """Random weights, gains of 1, biases of 0, written one by one; BERT-base has 109 million, 438 MB."""
    rng = np.random.default_rng(0)
    model = bert.model()
    pending = set(bert.shapes)
    with atomic_write(path) as staged, ModelWriter(model, staged, external=external, pending=pending) as writer:
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
_MEASURE = """
import json, sys, time
from pathlib import Path
import front_onnx
lines = lambda: dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
kilobytes = lambda key: int(lines()[key].split()[0])
before, start = kilobytes("VmRSS"), time.perf_counter()
front_onnx.resize(sys.argv[1], output=sys.argv[2], **json.loads(sys.argv[3]))
print(json.dumps({"seconds": time.perf_counter() - start, "bytes": 1024 * (kilobytes("VmHWM") - before)}))
"""


def measured_resize(source: Path, target: Path, **request: object) -> tuple[float, int]:
    """Resize a file in a new process: (seconds, bytes of memory at the peak above the imports)."""
    command = [sys.executable, "-c", _MEASURE, str(source), str(target), json.dumps(request)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    return found["seconds"], found["bytes"]
