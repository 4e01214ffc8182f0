"""Lossless growth computes what the source computes, seen by running both: no help of what the tool says of itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden import PAIRS, golden
from small import DIGIT_INPUTS, DIGITS, mlp, run
from tiers import few

import front_onnx
from front_onnx.check.agreement import _difference
from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.dims.structure import Structure
from front_onnx.plan.plan import Plan
from front_onnx.plan.ports import encoders
from front_onnx.read.graph import Graph
from front_onnx.session import Session, read_any
from front_onnx.streams.norms import find_norms
from front_onnx.streams.passing import find_passing

QUICK = ["torch-bert-torchscript", "torch-llama-dynamo", "torch-resnet-bottleneck-dynamo"]
# Depthwise filters and activations on the channels that a norm takes means over: nothing keeps those means.
UNEVEN = ("convnext", "mixer", "swin")


def deeper(structure: Structure) -> str:
    return ",".join(str(chain.depth + chain.layers) for chain in structure.chains)


def differences(source: onnx.ModelProto, result: onnx.ModelProto, plan: Plan | None = None) -> list[float]:
    """By output, the largest difference over the largest value; of what is wider, the first channels: whole copies.

    A plan says how inputs that are wider are filled.
    """
    feed = synthetic_inputs(Graph(read_any(source)), {})
    wide = dict(feed)
    for name, axes in encoders(plan).items() if plan is not None else ():
        for axis, matrix in axes.items():
            wide[name] = np.moveaxis(np.moveaxis(feed[name], axis, -1) @ matrix.T.astype(np.float32), -1, axis)
    found = []
    for before, after in zip(run(source, feed), run(result, wide), strict=True):
        if before.dtype.kind == "f" and before.size:
            same = after[tuple(slice(size) for size in before.shape)]
            found.append(float(np.abs(same - before).max() / np.abs(before).max()))
    return found


ONCE = [pair for pair in PAIRS if pair in QUICK or not pair.endswith("torchscript")]  # dynamo has them all


@pytest.mark.parametrize("pair", few(few(PAIRS, ONCE), QUICK, mark="slow"))
def test_growth_keeps_the_outputs(pair: str) -> None:
    source = golden(pair)
    layers = deeper(front_onnx.inspect(source))
    for asked in (
        {"depth": layers},
        {"width_mult": "2"},
        {"width_mult": "1.5"},
        {"depth": layers, "width_mult": "1.5"},
    ):
        result = front_onnx.resize(source, method="lossless", **asked)
        assert result.validation is not None and result.validation.passed
        assert isinstance(result.model, onnx.ModelProto)
        said = any("not exact" in warning for warning in result.plan.warnings)
        uneven = "1.5" in asked.values() and any(name in pair for name in UNEVEN)
        assert said == uneven
        assert said or max(differences(source, result.model, result.plan)) < 2e-5


def test_digits_are_told_as_well(tmp_path: Path) -> None:
    feed = dict(np.load(DIGIT_INPUTS))
    (before,) = run(DIGITS, feed)
    result = front_onnx.resize(DIGITS, depth=8, width=60, method="lossless", output=tmp_path / "grown.onnx")
    (after,) = run(tmp_path / "grown.onnx", feed)
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    assert result.agreement is not None and result.agreement.worst < 1e-5
    assert list(tmp_path.iterdir()) == [tmp_path / "grown.onnx"]  # logits have the source's size: no decoder


def test_a_decoder_takes_wider_outputs_back(tmp_path: Path) -> None:
    source = golden("torch-bert-torchscript")
    onnx.save(source, tmp_path / "bert.onnx")
    wide = tmp_path / "wide.onnx"
    result = front_onnx.resize(tmp_path / "bert.onnx", width_mult="2", method="lossless", output=wide)
    assert result.decoder == tmp_path / "wide.decode.npz"
    decoder = np.load(result.decoder)
    feed = synthetic_inputs(Graph(read_any(source)), {})
    names = [output.name for output in source.graph.output]
    for name, before, after in zip(names, run(source, feed), run(wide, feed), strict=True):
        back = decoder[f"{name}.{before.ndim - 1}"]
        assert back.shape == (before.shape[-1], after.shape[-1])
        assert np.abs(after @ back.T - before).max() < 1e-5 * np.abs(before).max()


@pytest.mark.parametrize("symmetry", [0.5])
def test_unequal_shares_are_exact_too(symmetry: float) -> None:
    grown = [
        front_onnx.resize(onnx.load(DIGITS), width=96, method="lossless", symmetry=s, seed=seed).model
        for s, seed in ((0, 0), (symmetry, 0), (symmetry, 0), (symmetry, 1))
    ]
    feed = dict(np.load(DIGIT_INPUTS))
    (before,) = run(DIGITS, feed)
    for model in grown:
        assert isinstance(model, onnx.ModelProto)
        assert np.abs(run(model, feed)[0] - before).max() < 1e-5 * np.abs(before).max()
    even, one, again, other = (model.SerializeToString() for model in grown)
    assert one == again and len({even, one, other}) == 3


@pytest.mark.slow
def test_tied_tables_stay_tied() -> None:
    source = golden("torch-gpt2-torchscript")
    for factor in ("1.5", "2"):
        result = front_onnx.resize(source, width_mult=factor, method="lossless").model
        assert isinstance(result, onnx.ModelProto)
        assert len(result.graph.initializer) == len(source.graph.initializer)


@pytest.mark.parametrize("method", ["lossless", "depth=zero,width=front"])
def test_new_blocks_are_named_as_by_any_other_method(method: str) -> None:
    """A new block's empty weight has the name that its place has in the next block, as a native export gives it."""
    source = golden("torch-bert-torchscript")
    named = []
    for way in ("front", method):
        model = front_onnx.resize(source, depth=deeper(front_onnx.inspect(source)), method=way).model
        assert isinstance(model, onnx.ModelProto)
        named.append({tensor.name for tensor in model.graph.initializer if len(tensor.dims)})
    assert named[0] == named[1]


def test_outputs_that_hold_no_numbers_hide_none() -> None:
    """The logarithm of what is negative is none in both, and everything else is compared."""
    source = mlp(depth=3, width=6)
    state = next(node for node in source.graph.node if node.name == "/head/MatMul").input[0]
    source.graph.node.append(onnx.helper.make_node("Log", [state], ["logs"], "log"))
    source.graph.output.append(onnx.helper.make_tensor_value_info("logs", onnx.TensorProto.FLOAT, [None, 6]))
    result = front_onnx.resize(source, width=12, method="lossless")
    assert result.agreement is not None and result.agreement.worst < 1e-5
    assert all(np.isfinite(value) for value in result.agreement.differences.values())
    made, wanted = np.array([1.0, np.nan, -np.inf]), np.array([1.0, 2.0, -np.inf])
    assert [_difference(made, made), _difference(made, wanted)] == [0.0, np.inf]


def test_what_depends_on_the_number_of_channels_is_named() -> None:
    """Shares of a sum are smaller when there are more of them."""
    source = mlp(depth=3, width=6)
    state = next(node for node in source.graph.node if node.name == "/head/MatMul").input[0]
    source.graph.node.append(onnx.helper.make_node("LpNormalization", [state], ["unit"], "unit_sum", p=1))
    source.graph.output.append(onnx.helper.make_tensor_value_info("unit", onnx.TensorProto.FLOAT, None))
    result = front_onnx.resize(source, width=12, method="lossless")
    assert any("not exact: unit_sum" in warning for warning in result.plan.warnings)


@pytest.mark.parametrize("width", [9, 12])
@pytest.mark.parametrize("head", [False, True])
def test_unit_lengths_come_back(tmp_path: Path, width: int, head: bool) -> None:
    """More channels make a vector longer: its decoder, or the layer behind it, makes up for that."""
    source = mlp(depth=3, width=6)
    state = next(node for node in source.graph.node if node.name == "/head/MatMul").input[0]
    source.graph.node.append(onnx.helper.make_node("LpNormalization", [state], ["unit"], "unit_length", p=2))
    name = "unit"
    if head:
        weight = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
        source.graph.initializer.append(onnx.numpy_helper.from_array(weight, "unit_head"))
        source.graph.node.append(onnx.helper.make_node("MatMul", ["unit", "unit_head"], ["logits"], "logits_of_unit"))
        name = "logits"
    source.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(source, tmp_path / "source.onnx")
    result = front_onnx.resize(tmp_path / "source.onnx", width=width, method="lossless", output=tmp_path / "wide.onnx")
    assert not [warning for warning in result.plan.warnings if "not exact" in warning]
    feed = synthetic_inputs(Graph(read_any(source)), {})
    before, after = run(source, feed)[-1], run(tmp_path / "wide.onnx", feed)[-1]
    if not head:
        assert result.decoder is not None
        after = after @ np.load(result.decoder)["unit.1"].T
        assert np.abs(np.linalg.norm(after, axis=1) - 1).max() < 1e-5
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()


def last_third(array: np.ndarray) -> np.ndarray:
    return array[len(array) - len(array) // 3 :]


@pytest.mark.parametrize("pair", few(["torch-bert-torchscript", "torch-llama-dynamo"], 1, mark="slow"))
def test_unread_channels_are_read_by_columns_that_cancel(pair: str) -> None:
    """With symmetry, what reads extras has random columns, by the seed; without, zeros."""
    source = golden(pair)
    models = {}
    for symmetry, seed in ((0.0, 0), (0.5, 0), (0.5, 1)):
        result = front_onnx.resize(source, width_mult="1.5", method="lossless", symmetry=symmetry, seed=seed)
        assert isinstance(result.model, onnx.ModelProto)
        assert max(differences(source, result.model, result.plan)) < 2e-5
        held = [onnx.numpy_helper.to_array(t) for t in result.model.graph.initializer if len(t.dims) == 2]
        models[symmetry, seed] = [last_third(part) for array in held for part in (array, array.T)]
    zeros = {key: sum(not np.any(part) for part in parts) for key, parts in models.items()}
    assert zeros[0.0, 0] > zeros[0.5, 0] == zeros[0.5, 1]
    assert any(not np.array_equal(a, b) for a, b in zip(models[0.5, 0], models[0.5, 1], strict=True))


def test_a_plain_stack_of_layers_gets_identities() -> None:
    source = mlp(depth=3, width=6)
    result = front_onnx.resize(source, depth=5, method="lossless").model
    assert isinstance(result, onnx.ModelProto)
    assert differences(source, result) == [0.0]
    held = [onnx.numpy_helper.to_array(t) for t in result.graph.initializer if list(t.dims) == [6, 6]]
    assert sum(np.array_equal(weight, np.eye(6)) for weight in held) == 2


def layers_of(kernel: int, pads: list[int], dilation: int = 1) -> onnx.ModelProto:
    """Convolutions with nothing beside them, whose kernels may lie anywhere around what they compute."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for number in range(5):
        last = number == 4
        sides = (1, 1) if last or number == 0 else (kernel, kernel)
        shape = (4, 3 if number == 0 else 4, *sides)
        weights.append(onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"w{number}"))
        how = {} if last or number == 0 else {"pads": pads, "dilations": [dilation] * 2}
        nodes.append(onnx.helper.make_node("Conv", [value, f"w{number}"], [f"c{number}"], f"conv{number}", **how))
        value = f"r{number}" if not last else "y"
        nodes.append(onnx.helper.make_node("Relu" if not last else "Sigmoid", [f"c{number}"], [value], f"act{number}"))
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("x", 3), ("y", 4))
    ]
    graph = onnx.helper.make_graph(nodes, "layers", infos[:1], infos[1:], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("kernel", "pads", "dilation"),
    [(3, [1] * 4, 1), (4, [1, 1, 2, 2], 1), (4, [2, 2, 1, 1], 1), (3, [2, 2, 0, 0], 1), (3, [2] * 4, 2)],
)
def test_identities_stand_where_a_kernel_reads(kernel: int, pads: list[int], dilation: int) -> None:
    source = layers_of(kernel, pads, dilation)
    result = front_onnx.resize(source, depth=5, method="lossless").model
    assert isinstance(result, onnx.ModelProto)
    assert differences(source, result) == [0.0]


def test_what_is_computed_on_the_way_is_told() -> None:
    """A constant that is computed from weights and added to the stream in each block cannot be zero."""
    source = mlp(depth=3, width=6)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in source.graph.node]
    for number in range(3):
        relu = next(node for node in nodes if node.name == f"/layers.{number}/Relu")
        before = next(node for node in nodes if node.name == f"/layers.{number}/MatMul").input[0]
        bias = f"layers.{number}.bias"
        nodes += [
            onnx.helper.make_node("Exp", [bias], [f"exp{number}"]),
            onnx.helper.make_node("Add", [relu.output[0], before], [f"sum{number}"]),
            onnx.helper.make_node("Add", [f"sum{number}", f"exp{number}"], [f"out{number}"]),
        ]
        reader = f"/layers.{number + 1}/MatMul" if number < 2 else "/head/MatMul"
        next(node for node in nodes if node.name == reader).input[0] = f"out{number}"
    del source.graph.node[:]
    made = {v.name for v in source.graph.input} | {t.name for t in source.graph.initializer}
    while nodes:
        ready = next(node for node in nodes if set(node.input) <= made)
        nodes.remove(ready)
        made.update(ready.output)
        source.graph.node.append(ready)
    result = front_onnx.resize(source, depth=5, method="lossless")
    assert any("not exact" in warning for warning in result.plan.warnings)


@pytest.mark.slow
def test_zero_blocks_are_exact_before_norms_alone() -> None:
    pre, post = golden("torch-gpt2-torchscript"), golden("torch-bert-torchscript")
    for source, exact in ((pre, True), (post, False)):
        layers = deeper(front_onnx.inspect(source))
        result = front_onnx.resize(source, depth=layers, method="depth=zero,width=front").model
        assert isinstance(result, onnx.ModelProto)
        assert (max(differences(source, result)) < 1e-6) == exact


def test_what_bends_channels_before_a_norm_is_named() -> None:
    result = front_onnx.resize(golden("torch-convnext-torchscript"), width_mult="1.5", method="lossless")
    (said,) = [warning for warning in result.plan.warnings if "not exact" in warning][:1]
    assert "conv_dw" in said and "whole multiple" in said


@pytest.mark.parametrize("asked", [{"depth": 3}, {"width": 24}])
def test_less_is_refused(asked: dict[str, int]) -> None:
    with pytest.raises(front_onnx.RequestError, match=r'method[= ]"?lossless"? only'):
        front_onnx.resize(onnx.load(DIGITS), method="lossless", **asked)


@pytest.mark.parametrize("pair", few(PAIRS, ["keras-encoder", "jax-vit", "torch-llama-torchscript"]))
def test_norms_are_found_however_they_are_written(pair: str) -> None:
    """Each block of a transformer has two norms or three; the last one may stand behind all blocks."""
    structure = Session(golden(pair)).structure
    norms = find_norms(structure.analysis)
    inside = [structure.flow.private(unit) for chain in structure.chains for unit in chain.units]
    counts = {sum(bool(norm.nodes & nodes) for norm in norms) for nodes in inside}
    if any(name in pair for name in ("resnet", "mlp", "cnn")):
        assert counts == {0}
    else:
        assert counts <= {1, 2, 3, 4, 6} and 0 not in counts
    assert all(norm.gain is not None for norm in norms)
    assert all(norm.centred for norm in norms) or "llama" in pair or "t5" in pair


def with_norms_written_out(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without the operator, and behind it a mean that is cut off at a bound which is computed."""
    nodes: list[onnx.NodeProto] = []
    weights = {
        "two": np.float32(2),
        "epsilon": np.float32(1e-12),
        "bound": np.float64(1e-12),
        "last": np.array([-1]),
        "first": np.array([1]),
    }

    def make(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(onnx.helper.make_node(op, inputs, [output], f"{output}/{op}", **attributes))
        return output

    for node in source.graph.node:
        if node.op_type != "LayerNormalization":
            nodes.append(node)
            continue
        (x, gain, bias), y = node.input, node.output[0]
        rest = make("Sub", [x, make("ReduceMean", [x, "last"], f"{y}.mean")], f"{y}.rest")
        spread = make("ReduceMean", [make("Pow", [rest, "two"], f"{y}.square"), "last"], f"{y}.spread")
        deviation = make("Sqrt", [make("Add", [spread, "epsilon"], f"{y}.sum")], f"{y}.deviation")
        make("Add", [make("Mul", [make("Div", [rest, deviation], f"{y}.normed"), gain], f"{y}.scaled"), bias], y)
    state = source.graph.output[0].name
    make("Cast", ["bound"], "cast", to=onnx.TensorProto.FLOAT)
    make("Max", [make("ReduceMean", [state, "first"], "mean", keepdims=0), "cast"], "pooled")
    result = onnx.ModelProto()
    result.CopyFrom(source)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items())
    result.graph.output.append(onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, None))
    return result


def test_written_norms_are_found_once() -> None:
    """A norm that takes its mean away first divides by a root mean square, and is no norm of that kind besides."""
    source = with_norms_written_out(golden("torch-bert-torchscript"))
    norms = find_norms(Session(source).structure.analysis)
    layers = front_onnx.inspect(source).chains[0].depth
    assert len(norms) == len({norm.output for norm in norms}) == 2 * layers + 1
    assert all(norm.centred and norm.epsilon is not None for norm in norms)
    for asked in ({"depth": layers + 1}, {"width_mult": "1.5"}):
        result = front_onnx.resize(source, method="lossless", **asked)
        assert isinstance(result.model, onnx.ModelProto)
        assert not [warning for warning in result.plan.warnings if "not exact" in warning]
        assert max(differences(source, result.model, result.plan)) < 2e-5


def test_a_norm_of_one_vector_is_one() -> None:
    """What a framework maps over a batch may be a function of a vector, with its norms written out."""
    source = onnx.parser.parse_model(VECTOR)
    rng = np.random.default_rng(0)
    shapes = {"stem": (5, 8), "gain": (8,), "bias": (8,), "head": (8, 3)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        source.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    (norm,) = find_norms(Session(source).structure.analysis)
    assert norm.centred and norm.gain is not None and norm.bias is not None and norm.epsilon is not None
    for factor in ("1.5", "2"):
        result = front_onnx.resize(source, width_mult=factor, method="lossless")
        assert isinstance(result.model, onnx.ModelProto) and not result.plan.warnings
        assert max(differences(source, result.model)) < 1e-5


VECTOR = """
    <ir_version: 8, opset_import: ["" : 18]>
    vector (float[5] x) => (float[3] y)
    <float epsilon = {1e-5}, int64[1] last = {-1}> {
        h = MatMul(x, stem)
        mean = ReduceMean <keepdims = 1> (h, last)
        rest = Sub(h, mean)
        square = Mul(rest, rest)
        spread = ReduceMean <keepdims = 1> (square, last)
        more = Add(spread, epsilon)
        deviation = Sqrt(more)
        normed = Div(rest, deviation)
        scaled = Mul(normed, gain)
        moved = Add(scaled, bias)
        y = MatMul(moved, head)
    }
"""


def test_an_activation_that_is_written_out_passes_numbers_on() -> None:
    """The Gelu of the digits is a Div, an Erf, an Add and two Muls, one of which reads what the first does."""
    structure = Session(DIGITS).structure
    found = [p for norm in find_norms(structure.analysis) for p in find_passing(structure.analysis, norm.output)]
    assert len(found) == 6 and all(p.slope == pytest.approx(1.0, abs=1e-5) for p in found)


def with_shapes_read(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, in which what a weight is multiplied with gets its own shape again, as Keras' dense layers do."""
    result = onnx.ModelProto()
    result.CopyFrom(source)
    del result.graph.node[:]
    weights = {tensor.name for tensor in source.graph.initializer}
    for node in source.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            shape, again = f"{node.name}.shape", f"{node.name}.again"
            result.graph.node.append(onnx.helper.make_node("Shape", node.input[:1], [shape]))
            result.graph.node.append(onnx.helper.make_node("Reshape", [node.input[0], shape], [again]))
            node.input[0] = again
        result.graph.node.append(node)
    return result


@pytest.mark.parametrize("change", [None, with_shapes_read])
def test_feed_forward_layers_pass_numbers_on(change: Callable[[onnx.ModelProto], onnx.ModelProto] | None) -> None:
    source = golden("torch-bert-torchscript")
    structure = Session(source if change is None else change(source)).structure
    found = [p for norm in find_norms(structure.analysis) for p in find_passing(structure.analysis, norm.output)]
    assert len(found) == structure.chains[0].depth
    assert all(p.slope == pytest.approx(1.0, abs=1e-5) and p.bias is not None for p in found)


ATTENTION = """
    <ir_version: 8, opset_import: ["" : 17]>
    attention (float[1, 5, 7] x) => (float[1, 5, 3] y) {
        h = MatMul(x, stem)
        qw = MatMul(h, wq)
        qr = Reshape(qw, heads)
        q = Transpose <perm = [0, 2, 1, 3]> (qr)
        kw = MatMul(h, wk)
        kr = Reshape(kw, heads)
        k = Transpose <perm = [0, 2, 3, 1]> (kr)
        vw = MatMul(h, wv)
        vr = Reshape(vw, heads)
        v = Transpose <perm = [0, 2, 1, 3]> (vr)
        scores = MatMul(q, k)
        scaled = Mul(scores, scale)
        shares = Softmax(scaled)
        mixed = MatMul(shares, v)
        turned = Transpose <perm = [0, 2, 1, 3]> (mixed)
        flat = Reshape(turned, whole)
        back = MatMul(flat, wo)
        sum = Add(h, back)
        y = MatMul(sum, head)
    }
"""


@pytest.mark.parametrize("width", [36, 48])
def test_scores_scaled_by_the_whole_width_stay_what_they_are(width: int) -> None:
    """Heads are copied, and the scale that follows all of them together becomes smaller: queries give it back."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.5, (24, 24)) for name in ("wq", "wk", "wv", "wo")}
    weights |= {"stem": rng.normal(0, 1, (7, 24)), "head": rng.normal(0, 1, (24, 3)), "scale": np.array(24**-0.5)}
    shapes = {"heads": [1, 5, 6, 4], "whole": [1, 5, 24]}
    source = onnx.parser.parse_model(ATTENTION)
    for name, value in (weights | shapes).items():
        array = np.asarray(value, np.int64 if name in shapes else np.float32)
        source.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    result = front_onnx.resize(source, width_mult=width / 24, method="lossless")
    assert isinstance(result.model, onnx.ModelProto)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer}
    assert arrays["scale"] == pytest.approx(width**-0.5)
    assert max(differences(source, result.model)) < 1e-5


def test_an_empty_size_is_no_reason_to_fail() -> None:
    """A graph may hold a dim of no entries: there is nothing to copy of it."""
    source = mlp(depth=3, width=6)
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((0,), np.float32), "nothing"))
    source.graph.node.append(onnx.helper.make_node("Concat", ["nothing", "nothing"], ["still_nothing"], "join", axis=0))
    source.graph.output.append(onnx.helper.make_tensor_value_info("still_nothing", onnx.TensorProto.FLOAT, [0]))
    result = front_onnx.resize(source, width=12, method="lossless")
    assert result.agreement is not None and result.agreement.worst < 1e-5
