"""Calibration gives back what can be given back, is never worse than what it was tried beside, and is reproducible."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from golden import PAIRS, golden
from onnx import TensorProto, helper, numpy_helper
from small import DIGITS, mlp, run
from tiers import few

import front_onnx
from front_onnx.calibration.comparing import Likeness
from front_onnx.calibration.engine import Engine
from front_onnx.calibration.places import kept_blocks, ports
from front_onnx.calibration.removing import eliminate
from front_onnx.calibration.settings import CalibrationSettings, in_bytes
from front_onnx.calibration.shelf import Shelf
from front_onnx.calibration.solving import Sums
from front_onnx.calibration.starts import Candidate
from front_onnx.calibration.stepping import Stepper
from front_onnx.calibration.tied import fit_both
from front_onnx.commands import main
from front_onnx.errors import FrontError, OutputError, RequestError
from front_onnx.read.graph import Graph
from front_onnx.samples.inputs import Inputs
from front_onnx.samples.samples import read_samples
from front_onnx.session import read_any

FAST = CalibrationSettings(samples=96, ridges=(0.1,))
QUICK = ["torch-bert-dynamo", "torch-llama-dynamo", "torch-resnet-bottleneck-dynamo"]
# What is fed is noise in all channels, as good as the made-up ids of tables: half of them tell nothing of the others.
NOISY = ("torch-roberta", "torch-encoder")
RNG = np.random.default_rng(0)


def net(
    nodes: list[onnx.NodeProto], weights: Mapping[str, np.ndarray], output: str, shape: list[int]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def residual_net(width: int, rank: int, blocks: int = 4) -> onnx.ModelProto:
    """Blocks x + W x + b whose stream never leaves `rank` dimensions: all that is written lies in one subspace."""
    basis, _ = np.linalg.qr(RNG.standard_normal((width, rank)))
    weights = {"stem": RNG.standard_normal((5, rank)) @ basis.T, "head": RNG.standard_normal((width, 3))}
    nodes, value = [helper.make_node("MatMul", ["x", "stem"], ["s"], "stem")], "s"
    for number in range(blocks):
        weights[f"{number}.weight"] = 0.3 * RNG.standard_normal((width, rank)) @ basis.T
        weights[f"{number}.bias"] = basis @ RNG.standard_normal(rank)
        nodes += [
            helper.make_node("MatMul", [value, f"{number}.weight"], [f"m{number}"], f"mix{number}"),
            helper.make_node("Add", [f"m{number}", f"{number}.bias"], [f"a{number}"], f"bias{number}"),
            helper.make_node("Add", [value, f"a{number}"], [f"r{number}"], f"sum{number}"),
        ]
        value = f"r{number}"
    nodes.append(helper.make_node("MatMul", [value, "head"], ["y"], "head"))
    return net(nodes, weights, "y", [5])


def test_a_stream_of_few_dimensions_is_kept_exactly() -> None:
    source = residual_net(width=12, rank=6)
    samples = {"x": RNG.standard_normal((200, 5)).astype(np.float32)}
    result = front_onnx.resize(source, width=6, data=samples)
    fresh = {"x": RNG.standard_normal((50, 5)).astype(np.float32)}
    (before,), (after,) = run(source, fresh), run(result.model, fresh)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    assert result.calibration is not None and result.calibration.best.calibrated


def test_a_linear_network_is_kept_exactly_by_fewer_blocks() -> None:
    """The last writer of a span makes up for the blocks that are gone: a linear map of a linear map is one."""
    source = residual_net(width=8, rank=8, blocks=6)
    samples = {"x": RNG.standard_normal((300, 5)).astype(np.float32)}
    result = front_onnx.resize(source, depth=2, data=samples, calibration=CalibrationSettings(ridges=(1e-7,)))
    fresh = {"x": RNG.standard_normal((50, 5)).astype(np.float32)}
    (before,), (after,) = run(source, fresh), run(result.model, fresh)
    assert np.abs(after - before).max() < 1e-3 * np.abs(before).max()


@pytest.mark.parametrize("pair", few(PAIRS, QUICK))
def test_every_architecture_keeps_more_of_its_source(pair: str) -> None:
    source = golden(pair)
    shorter = ",".join(
        str(max(chain.depth - chain.layers, chain.layers + bool(chain.entry)))
        for chain in front_onnx.inspect(source).chains
    )
    for asked in ({"width_mult": "0.5"}, {"depth": shorter}):
        result = front_onnx.resize(source, data="synthetic", calibration=FAST, **asked)
        found = result.calibration
        assert found is not None and result.validation is not None and result.validation.passed
        assert not [candidate.why for candidate in found.candidates if candidate.why]
        free = min(candidate.error for candidate in found.candidates if not candidate.calibrated)
        fitted = min(candidate.error for candidate in found.candidates if candidate.calibrated)
        assert found.best.error == min(free, fitted)
        assert fitted < free or fitted < 1e-6 or pair.startswith(NOISY)


def test_digits_keep_their_answers(tmp_path: Path) -> None:
    result = front_onnx.resize(DIGITS, width=24, data="synthetic", output=tmp_path / "small.onnx", calibration=FAST)
    assert result.calibration is not None
    by_name = {candidate.name: candidate.likeness["logits"] for candidate in result.calibration.candidates}
    assert by_name["calibrated"].error < 0.5 * by_name["front"].error
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_same_samples_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    source = golden("torch-bert-torchscript")
    held = [
        front_onnx.resize(
            source,
            width_mult="0.5",
            data="synthetic",
            calibration=CalibrationSettings(samples=16, ridges=(0.1,), memory=memory, folder=tmp_path),
        ).model.SerializeToString()
        for memory in (1 << 30, 0)
    ]
    assert held[0] == held[1]
    assert not list(tmp_path.iterdir())


def test_the_sizes_that_are_there_give_the_source(tmp_path: Path) -> None:
    result = front_onnx.resize(DIGITS, depth=6, width=48, data="synthetic", output=tmp_path / "same.onnx")
    assert result.calibration is None
    assert (tmp_path / "same.onnx").read_bytes() == Path(DIGITS).read_bytes()


@pytest.mark.parametrize(
    "pair", ["torch-gpt2-torchscript", "keras-cnn", "torch-swin-dynamo", "torch-t5-encoder-dynamo"]
)
def test_a_graph_in_steps_makes_what_it_makes_at_once(pair: str) -> None:
    """Stopped at every twentieth node, with nothing kept that is not read any more."""
    model = golden(pair)
    graph = Graph(read_any(model))
    samples = read_samples("synthetic", graph, count=4)
    names = [name for node in graph.nodes[::20] for name in node.output if name and name not in graph.constants]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    known = {output.name for output in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    order = [output.name for output in whole.graph.output]
    expected = [dict(zip(order, run(whole, dict(feed)), strict=True)) for feed in samples.batches]
    with Shelf(1 << 20) as shelf:
        stepper = Stepper(graph, {}, samples.batches, shelf)
        stepper.expect(names)
        for name in names:
            for number, found in enumerate(stepper.run([name])):
                wanted = expected[number][name]
                np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-4 * max(np.abs(wanted).max(), 1))
        assert not shelf._held


def test_copies_of_a_unit_are_removed_before_anything_else() -> None:
    """Two units that are always equal can stand for each other; one of three kinds is never missed."""
    rows = RNG.standard_normal((400, 5))
    rows = np.column_stack([rows, rows[:, 1], rows[:, 3], np.zeros(400)])
    gram, weight = rows.T @ rows / 400, RNG.standard_normal((8, 4))
    kept = set(eliminate([(gram, weight, np.arange(8))], 8, 5)[:5].tolist())
    assert 7 not in kept and len(kept & {1, 5}) == 1 and len(kept & {3, 6}) == 1


@pytest.mark.parametrize("centred", [False, True])
def test_least_squares_are_those_of_numpy(centred: bool) -> None:
    rows, true, shift = RNG.standard_normal((60, 4)) + 1, RNG.standard_normal((4, 3)), np.array([1.0, -2.0, 0.5])
    wanted = rows @ true + (shift if centred else 0) + 0.1 * RNG.standard_normal((60, 3))
    sums = Sums()
    for part in np.array_split(np.arange(60), 7):
        sums.add(rows[part][:, None], {0: wanted[part][:, None]})
    left = np.column_stack([rows, np.ones(60)]) if centred else rows
    best = np.linalg.lstsq(left, wanted, rcond=None)[0]
    found = sums.solve(0, np.zeros((1, 4, 3)), centred=centred, ridge=1e-12)
    np.testing.assert_allclose(found[0], best[:4], atol=1e-6)
    if centred:
        np.testing.assert_allclose(sums.shift(0, found)[0], best[4], atol=1e-6)
    before = RNG.standard_normal((1, 4, 3))
    np.testing.assert_allclose(sums.solve(0, before, centred=centred, ridge=1e9), before, atol=1e-6)
    missed = ((rows @ best[:4] + (best[4] if centred else 0) - wanted) ** 2).sum() / (wanted**2).sum()
    assert sums.error(0, found, sums.shift(0, found) if centred else 0.0) == pytest.approx(missed, rel=1e-6)


def test_a_batch_norm_has_the_statistics_of_what_it_reads() -> None:
    """Two convolutions with batch norm and ReLU, then a mean: the norms' numbers are those of the new layers."""
    nodes, weights, value, before = [], {}, "x", 3
    for number, channels in enumerate((8, 8)):
        weights |= {
            f"{number}.weight": RNG.standard_normal((channels, before, 3, 3)) / 4,
            f"{number}.gain": RNG.uniform(0.5, 2, channels),
            f"{number}.bias": RNG.standard_normal(channels),
            f"{number}.mean": RNG.standard_normal(channels),
            f"{number}.variance": RNG.uniform(0.5, 2, channels),
        }
        statistics = [f"{number}.{name}" for name in ("gain", "bias", "mean", "variance")]
        nodes += [
            helper.make_node("Conv", [value, f"{number}.weight"], [f"c{number}"], f"conv{number}", pads=[1] * 4),
            helper.make_node("BatchNormalization", [f"c{number}", *statistics], [f"n{number}"], f"norm{number}"),
            helper.make_node("Relu", [f"n{number}"], [f"r{number}"], f"relu{number}"),
        ]
        value, before = f"r{number}", channels
    weights["head"] = RNG.standard_normal((8, 4))
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "head"], ["y"], "head"),
    ]
    source = net(nodes, weights, "y", [3, 8, 8])
    pictures = RNG.standard_normal((200, 3, 8, 8)).astype(np.float32)
    result = front_onnx.resize(source, width_mult="0.5", data={"x": pictures})
    assert isinstance(result.model, onnx.ModelProto) and result.calibration is not None
    assert result.calibration.best.calibrated
    found = Graph(read_any(result.model))
    norms = [node for node in found.nodes if node.op_type == "BatchNormalization"]
    with Shelf(1 << 30) as shelf:
        stepper = Stepper(found, {}, [{"x": pictures}], shelf)
        names = [node.input[0] for node in norms]
        stepper.expect(names)
        (made,) = [*stepper.run(names)]
    assert len(norms) == 2
    for node in norms:
        values = np.moveaxis(made[node.input[0]], 1, 0).reshape(4, -1)
        spread = values.std(1)
        assert np.all(np.abs(found.array(node.input[3]) - values.mean(1)) < 0.2 * spread)
        assert np.all(np.abs(np.sqrt(found.array(node.input[4])) / spread - 1) < 0.2)


def test_activations_that_are_not_finite_are_named() -> None:
    source = residual_net(width=12, rank=6)
    large = RNG.uniform(1, 3e38, (200, 5)).astype(np.float32)
    with pytest.raises(FrontError, match="not finite"):
        front_onnx.resize(source, width=6, data={"x": large})


def test_biases_that_training_left_equal_are_fitted_apart() -> None:
    """Two branches that meet in a sum have equal gradients: exporters store their biases once."""
    weights = {
        "a": RNG.standard_normal((6, 12)),
        "b": RNG.standard_normal((6, 12)),
        "bias": RNG.standard_normal(12),
        "head": RNG.standard_normal((12, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["xa"], "first"),
        helper.make_node("Add", ["xa", "bias"], ["ya"], "first_bias"),
        helper.make_node("MatMul", ["x", "b"], ["xb"], "second"),
        helper.make_node("Add", ["xb", "bias"], ["yb"], "second_bias"),
        helper.make_node("Add", ["ya", "yb"], ["both"], "sum"),
        helper.make_node("Relu", ["both"], ["bent"], "relu"),
        helper.make_node("MatMul", ["bent", "head"], ["y"], "head"),
    ]
    samples = {"x": RNG.standard_normal((300, 6)).astype(np.float32)}
    result = front_onnx.resize(net(nodes, weights, "y", [6]), width_mult="0.5", data=samples)
    assert isinstance(result.model, onnx.ModelProto) and result.calibration is not None
    assert result.calibration.best.calibrated
    assert not [fitted.why for fitted in result.calibration.best.report if "several places" in fitted.why]
    assert sum(list(tensor.dims) == [6] for tensor in result.model.graph.initializer) == 2


@pytest.mark.parametrize("shape", [(1, 6, 8), (6, 8), (8, 1), (1, 1, 8), (8,)])
def test_a_table_behind_a_projection_is_no_bias(shape: tuple[int, ...]) -> None:
    """A bias has one number for each column; positions have one for each row besides, or instead."""
    rows = 8 if shape == (8, 1) else 6
    weights = {
        "stem": RNG.standard_normal((5, 8)),
        "table": RNG.standard_normal(shape),
        "mix": RNG.standard_normal((8, 8)),
        "head": RNG.standard_normal((8, 3)),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["t"], "stem"),
        helper.make_node("Add", ["t", "table"], ["z"], "positions"),
        helper.make_node("MatMul", ["z", "mix"], ["m"], "mix"),
        helper.make_node("Relu", ["m"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "head"], ["y"], "head"),
    ]
    samples = {"x": RNG.standard_normal((100, rows, 5)).astype(np.float32)}
    result = front_onnx.resize(net(nodes, weights, "y", [rows, 5]), width_mult="0.5", data=samples)
    assert result.calibration is not None
    assert not [candidate.why for candidate in result.calibration.candidates if candidate.why]
    levels = {fitted.node: fitted for fitted in result.calibration.best.report}
    assert result.calibration.best.calibrated and "weight says" not in levels["stem"].why


def test_tied_heads_stay_tied() -> None:
    source = golden("torch-gpt2-torchscript")
    result = front_onnx.resize(source, width_mult="0.5", data="synthetic", calibration=FAST)
    assert isinstance(result.model, onnx.ModelProto) and result.calibration is not None
    errors = {candidate.name: candidate.error for candidate in result.calibration.candidates}
    assert errors["calibrated, tied tables with their layers"] < 0.85 * errors["calibrated"]
    arrays = [numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer if len(tensor.dims) == 2]
    (head, table) = sorted((a for a in arrays if max(a.shape) == 101), key=lambda a: a.shape[0])
    assert np.array_equal(head.T, table)


TIES = ["transposed by a node", "transposed by the head", "kept twice"]


def tied_net(tie: str) -> onnx.ModelProto:
    """Three ids that a table embeds, their sum, blocks x + relu(x A) B, and the table again as the head."""
    rng = np.random.default_rng(5)
    words, width, inner = 60, 16, 48
    table = (rng.standard_normal((words, width)) * np.geomspace(1, 0.5, width)).astype(np.float32)
    weights, value = {"table": table}, "s"
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embed"),
        helper.make_node("ReduceSum", ["e", "second"], ["s"], "three", keepdims=0),
    ]
    for n in range(3):
        weights[f"{n}.a"] = rng.standard_normal((width, inner)).astype(np.float32) / 4
        weights[f"{n}.b"] = rng.standard_normal((inner, width)).astype(np.float32) / 8
        nodes += [
            helper.make_node("MatMul", [value, f"{n}.a"], [f"h{n}"], f"up{n}"),
            helper.make_node("Relu", [f"h{n}"], [f"r{n}"], f"relu{n}"),
            helper.make_node("MatMul", [f"r{n}", f"{n}.b"], [f"d{n}"], f"down{n}"),
            helper.make_node("Add", [value, f"d{n}"], [f"x{n}"], f"sum{n}"),
        ]
        value = f"x{n}"
    if tie == "transposed by a node":
        nodes.append(helper.make_node("Transpose", ["table"], ["turned"], "turn", perm=[1, 0]))
        nodes.append(helper.make_node("MatMul", [value, "turned"], ["y"], "head"))
    elif tie == "transposed by the head":
        nodes.append(helper.make_node("Gemm", [value, "table"], ["y"], "head", transB=1))
    else:
        weights["head"] = np.ascontiguousarray(table.T)
        nodes.append(helper.make_node("MatMul", [value, "head"], ["y"], "head"))
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()]
        + [numpy_helper.from_array(np.array([1]), "second")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("tie", TIES)
def test_a_table_that_is_the_head_too_serves_both(tie: str) -> None:
    ids = np.random.default_rng(1).integers(0, 60, (4000, 3))
    result = front_onnx.resize(tied_net(tie), width=8, data={"ids": ids})
    assert isinstance(result.model, onnx.ModelProto) and result.calibration is not None
    errors = {candidate.name: candidate.error for candidate in result.calibration.candidates}
    assert errors["calibrated, tied tables with their layers"] < min(errors["calibrated"], errors["front"])
    (head,) = (fitted for fitted in result.calibration.best.report if fitted.node == "head")
    assert head.level == "fitted"
    held = [numpy_helper.to_array(t) for t in result.model.graph.initializer if 60 in t.dims]
    assert len(held) == 1 + (tie == "kept twice")
    assert all(np.array_equal(held[0], other.T) for other in held[1:])


def test_both_objectives_of_a_tied_table_are_least() -> None:
    """The gradient of their sum is zero there, as parts of their own squares."""
    rng = np.random.default_rng(2)
    rows, wanted = rng.standard_normal((200, 6)), rng.standard_normal((200, 9))
    first = rng.standard_normal((6, 9))
    sums = Sums()
    sums.add(rows[:, None], {0: wanted[:, None]})
    table = fit_both(sums, 0, first[None], centred=False)[0]
    of_layer = rows.T @ (rows @ table - wanted) / (wanted**2).sum()
    of_table = (table - first) / (first**2).sum()
    assert np.abs(of_layer + of_table).max() < 1e-12
    assert np.abs(of_layer).max() > 1e-4


def test_too_few_samples_leave_what_needs_none() -> None:
    source = residual_net(width=12, rank=12)
    result = front_onnx.resize(source, width=6, data={"x": RNG.standard_normal((6, 5)).astype(np.float32)})
    assert result.calibration is not None and not result.calibration.best.calibrated
    assert "too few samples" in result.calibration.candidates[-1].why


def test_best_takes_what_serves_each_direction(tmp_path: Path) -> None:
    grown = front_onnx.resize(DIGITS, depth=8, method="best", output=tmp_path / "grown.onnx")
    assert grown.agreement is not None and grown.agreement.worst < 1e-5 and grown.calibration is None
    mixed = front_onnx.resize(
        DIGITS, depth=8, width=24, method="best", output=tmp_path / "mixed.onnx", calibration=FAST
    )
    assert mixed.grown is not None and mixed.grown.methods.exact and mixed.calibration is not None
    assert mixed.calibration.samples[1]
    assert front_onnx.inspect(tmp_path / "mixed.onnx").chains[0].depth == 8
    less = min(candidate.error for candidate in mixed.calibration.candidates if not candidate.calibrated)
    assert mixed.calibration.best.error < less


def test_the_command_shows_what_was_compared(tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    arguments = ["resize", str(DIGITS), "--width", "24", "--data", "synthetic", "--samples", "64", "-o", str(output)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "calibrated" in done.output and "made up" in done.output
    done = CliRunner().invoke(main, [*arguments, "--json", "--ridge", "0.1", "--memory", "64M"])
    about = json.loads(done.output)["calibration"]
    assert about["made_up"] and about["samples"] == 64
    assert [each["name"] for each in about["candidates"]][-1] == "calibrated"
    assert {layer["level"] for layer in about["layers"]} <= {"fitted", "kept"}


@pytest.mark.parametrize(("text", "size"), [("800M", 800 << 20), ("2 GiB", 2 << 30), ("1.5k", 1536), ("7", 7)])
def test_memory_is_said_in_any_unit(text: str, size: int) -> None:
    assert in_bytes(text) == size
    with pytest.raises(RequestError, match=r"CalibrationSettings\.memory"):
        in_bytes(f"-{text}")


def test_a_method_that_needs_samples_says_so() -> None:
    with pytest.raises(RequestError, match="data=SAMPLES"):
        front_onnx.resize(onnx.load(DIGITS), width=24, method="calibrated")


def test_lossless_growth_takes_no_samples() -> None:
    with pytest.raises(RequestError, match="looks at no samples"):
        front_onnx.resize(onnx.load(DIGITS), depth=8, method="lossless", data="synthetic")


def test_wrong_samples_are_refused_before_any_work() -> None:
    with pytest.raises(FrontError, match="lacks"):
        front_onnx.resize(onnx.load(DIGITS), width=24, data={"nothing": np.zeros((4, 2), np.float32)})


def written_otherwise(layout: str, rank: int = 6, width: int = 12, blocks: int = 3) -> onnx.ModelProto:
    """The linear residual net with its products in other layouts; its stream never leaves `rank` dimensions."""
    basis, _ = np.linalg.qr(RNG.standard_normal((width, rank)))
    weights: dict[str, np.ndarray] = {"stem": RNG.standard_normal((5, rank)) @ basis.T}
    nodes, value = [helper.make_node("MatMul", ["x", "stem"], ["s"], "stem")], "s"
    if layout == "columns":
        nodes.append(helper.make_node("Transpose", ["s"], ["t"], "turn", perm=[1, 0]))
        value = "t"
    for number in range(blocks):
        weight, bias = 0.3 * RNG.standard_normal((width, rank)) @ basis.T, basis @ RNG.standard_normal(rank)
        names = [value, f"{number}.weight", f"{number}.bias"]
        made = f"a{number}"
        if layout == "scaled":
            weights |= {names[1]: 4 * weight, names[2]: bias / 3}
            nodes.append(helper.make_node("Gemm", names, [made], f"mix{number}", alpha=0.25, beta=3.0))
        elif layout == "columns":
            weights |= {names[1]: weight.T, names[2]: bias[:, None]}
            nodes.append(helper.make_node("Gemm", [names[1], names[0], names[2]], [made], f"mix{number}"))
        else:
            weights |= {names[1]: weight, names[2]: bias}
            nodes.append(helper.make_node("Einsum", names[:2], [f"e{number}"], f"mix{number}", equation="bd,dk->kb"))
            nodes.append(helper.make_node("Transpose", [f"e{number}"], [f"f{number}"], f"turn{number}", perm=[1, 0]))
            nodes.append(helper.make_node("Add", [f"f{number}", names[2]], [made], f"bias{number}"))
        nodes.append(helper.make_node("Add", [value, made], [f"r{number}"], f"sum{number}"))
        value = f"r{number}"
    weights["head"] = RNG.standard_normal((width, 3))
    turned = {"transA": 1} if layout == "columns" else {}
    nodes.append(helper.make_node("Gemm", [value, "head"], ["y"], "head", **turned))
    return net(nodes, weights, "y", [5])


@pytest.mark.parametrize("layout", ["scaled", "columns", "einsum"])
def test_layers_are_fitted_however_their_products_are_written(layout: str) -> None:
    source = written_otherwise(layout)
    samples = {"x": RNG.standard_normal((200, 5)).astype(np.float32)}
    result = front_onnx.resize(source, width=6, data=samples)
    assert result.calibration is not None
    kept = [each for candidate in result.calibration.candidates for each in candidate.report if each.level == "kept"]
    assert not [each for each in kept if each.why != "nothing was won by it"]
    fresh = {"x": RNG.standard_normal((50, 5)).astype(np.float32)}
    (before,), (after,) = run(source, fresh), run(result.model, fresh)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()


def test_a_table_is_one_behind_views_and_casts() -> None:
    """Ids stay below the entries of a table that is kept short, turned, or flat."""
    table = RNG.standard_normal((11, 4))
    for op, held, more in (
        ("Cast", table.astype(np.float16), {"to": TensorProto.FLOAT}),
        ("Transpose", table.T.astype(np.float32), {"perm": [1, 0]}),
    ):
        nodes = [
            helper.make_node(op, ["held"], ["table"], **more),
            helper.make_node("Gather", ["table", "ids"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "table",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(held, "held")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        assert Inputs.of(Graph(read_any(model))).each[0].rows == 11


def normed_net(fused: bool) -> onnx.ModelProto:
    """Blocks x + relu(norm(x) W) V: the sum and the norm behind it are two operators, or one that gives both."""
    rng = np.random.default_rng(3)
    weights = {"stem": rng.standard_normal((5, 12)), "zero": np.zeros(12), "one": np.ones(12)}
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["r"], "stem"),
        helper.make_node("LayerNormalization", ["r", "one", "zero"], ["n"], "norm"),
    ]
    state, normed = "r", "n"
    for b in range(3):
        weights |= {f"{b}.w": rng.standard_normal((12, 24)) / 3, f"{b}.v": rng.standard_normal((24, 12)) / 4}
        weights |= {f"{b}.gain": rng.uniform(0.5, 2, 12), f"{b}.shift": rng.standard_normal(12) / 4}
        nodes += [
            helper.make_node("MatMul", [normed, f"{b}.w"], [f"h{b}"], f"up{b}"),
            helper.make_node("Relu", [f"h{b}"], [f"u{b}"], f"relu{b}"),
            helper.make_node("MatMul", [f"u{b}", f"{b}.v"], [f"d{b}"], f"down{b}"),
        ]
        if fused:
            given = [f"d{b}", state, f"{b}.gain", f"{b}.shift"]
            both = [f"n{b}", "", "", f"r{b}"]
            skip = helper.make_node("SkipLayerNormalization", given, both, f"skip{b}", epsilon=1e-5)
            skip.domain = "com.microsoft"
            nodes.append(skip)
        else:
            nodes += [
                helper.make_node("Add", [f"d{b}", state], [f"r{b}"], f"sum{b}"),
                helper.make_node("LayerNormalization", [f"r{b}", f"{b}.gain", f"{b}.shift"], [f"n{b}"], f"norm{b}"),
            ]
        state, normed = f"r{b}", f"n{b}"
    nodes.append(helper.make_node("MatMul", [normed, "head"], ["y"], "head"))
    model = net(nodes, weights | {"head": rng.standard_normal((12, 4))}, "y", ["length", 5])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_a_sum_counts_once_where_an_operator_gives_it_and_its_norm() -> None:
    samples = {"x": np.random.default_rng(5).standard_normal((60, 4, 5)).astype(np.float32)}
    errors = []
    for fused in (False, True):
        result = front_onnx.resize(normed_net(fused), width_mult="0.5", data=samples, calibration=FAST)
        assert result.calibration is not None
        errors.append(result.calibration.candidates[-1].error)
    assert errors[1] < 1.05 * errors[0]


def headless(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The same model without its last node: what the last block makes is the output."""
    model.graph.node.pop()
    model.graph.output[0].name = output
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("output", ["n2", "r2"])
def test_the_last_block_may_make_the_output(output: str, named: bool) -> None:
    """Where blocks are gone the last one makes the output: its last layer and norm are fitted as any others are."""
    source = normed_net(fused=False)
    if output == "r2":  # nothing but the sum
        source.graph.node.remove(next(node for node in source.graph.node if node.name == "norm2"))
    source = headless(source, output)
    for node in source.graph.node if not named else ():
        node.name = ""
    samples = {"x": np.random.default_rng(5).standard_normal((60, 4, 5)).astype(np.float32)}
    result = front_onnx.resize(source, depth=2, data=samples, calibration=FAST)
    assert result.calibration is not None
    front, best = result.calibration.candidates[0], result.calibration.best
    assert best.calibrated and best.error < 0.7 * front.error
    wanted = 2 * 2 + 1 + (3 if output == "n2" else 2)  # of each block two layers, the stem, the norms
    assert len([each for each in best.report if each.level == "fitted"]) == wanted, best.report


def cached_net(blocks: int = 4, width: int = 6) -> onnx.ModelProto:
    """Blocks x + (x W + past), each with an input and an output of its own, as a cache has them."""
    weights = {"stem": RNG.standard_normal((5, width)), "head": RNG.standard_normal((width, 3))}
    nodes, value = [helper.make_node("MatMul", ["x", "stem"], ["s"], "stem")], "s"
    for b in range(blocks):
        weights[f"{b}.weight"] = 0.3 * RNG.standard_normal((width, width))
        nodes += [
            helper.make_node("MatMul", [value, f"{b}.weight"], [f"/block.{b}/m"], f"/block.{b}/mix"),
            helper.make_node("Add", [f"/block.{b}/m", f"past.{b}"], [f"present.{b}"], f"/block.{b}/cache"),
            helper.make_node("Relu", [f"present.{b}"], [f"/block.{b}/u"], f"/block.{b}/relu"),
            helper.make_node("Add", [value, f"/block.{b}/u"], [f"/block.{b}/r"], f"/block.{b}/sum"),
        ]
        value = f"/block.{b}/r"
    nodes.append(helper.make_node("MatMul", [value, "head"], ["y"], "head"))
    model = net(nodes, weights, "y", [5])
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3]))
    for b in range(blocks):
        model.graph.input.append(helper.make_tensor_value_info(f"past.{b}", TensorProto.FLOAT, ["batch", width]))
        model.graph.output.append(helper.make_tensor_value_info(f"present.{b}", TensorProto.FLOAT, ["batch", width]))
    return model


def test_inputs_and_outputs_of_blocks_go_with_them() -> None:
    """With fewer blocks, the cache of each is that of the source's block that it is taken from."""
    source = cached_net()
    samples = {"x": RNG.standard_normal((300, 5)).astype(np.float32)}
    samples |= {f"past.{b}": RNG.standard_normal((300, 6)).astype(np.float32) for b in range(4)}
    result = front_onnx.resize(source, depth=2, data=samples, calibration=FAST)
    assert result.calibration is not None and result.validation is not None and result.validation.passed
    assert set(result.calibration.best.likeness) == {"y", "present.0", "present.1"}
    kept = kept_blocks(result.plan)
    (blocks,) = kept
    given, made = ports(result.plan, kept, frozenset())
    assert given["past.1"] == f"past.{blocks[1]}" and made["present.1"] == f"present.{blocks[1]}"
    fitted = result.calibration.candidates[-1].likeness
    assert fitted["present.0"].error < 1e-9 and fitted["present.1"].error < 0.5


@pytest.mark.parametrize("end", ["Squeeze", "ReduceMean"])
def test_outputs_without_columns_are_compared(end: str) -> None:
    """One number for each token of feeds of several lengths, or one for each sample."""
    source = normed_net(fused=False)
    (output,) = source.graph.output
    output.name = "z"
    settings = CalibrationSettings(hold_out=0.3, ridges=(0.1,))
    if end == "ReduceMean":
        source.graph.node.append(helper.make_node("ReduceMean", ["y"], ["z"], "mean", axes=[1, 2], keepdims=0))
    else:
        last, axes = RNG.standard_normal((4, 1)).astype(np.float32), np.array([2])
        source.graph.initializer.extend([numpy_helper.from_array(last, "last"), numpy_helper.from_array(axes, "axes")])
        source.graph.node.append(helper.make_node("MatMul", ["y", "last"], ["columns"], "last"))
        source.graph.node.append(helper.make_node("Squeeze", ["columns", "axes"], ["z"], "squeeze"))
    feeds = [{"x": RNG.standard_normal((4, 3 + n % 4, 5)).astype(np.float32)} for n in range(30)]
    result = front_onnx.resize(source, width=6, data=feeds, calibration=settings)
    assert result.calibration is not None
    free, _, fitted = (candidate.error for candidate in result.calibration.candidates)
    assert fitted < free and np.isfinite(fitted)


def test_few_samples_still_tell_starts_apart() -> None:
    """One sample held out has no spread, and errors beyond all measure have an order."""
    source = residual_net(width=12, rank=6)
    result = front_onnx.resize(source, width=6, data={"x": RNG.standard_normal((12, 5)).astype(np.float32)})
    assert result.calibration is not None and result.calibration.best.report
    errors = [each.likeness["y"].error for each in result.calibration.candidates]
    assert max(errors) < 1e3 and min(errors) < 0.1
    large = [Candidate("", {"y": Likeness(error, 0.0)}) for error in (400.0, 20.0)]
    assert large[0].error == large[1].error and large[0].rank > large[1].rank


def test_no_room_for_activations_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("160 requested and 12 written")  # as numpy says it

    samples = {"x": RNG.standard_normal((40, 5)).astype(np.float32)}
    source = residual_net(width=12, rank=6)
    for folder in (tmp_path, tmp_path / "missing"):
        settings = CalibrationSettings(memory=0, folder=folder)
        with monkeypatch.context() as patched:
            if folder == tmp_path:
                patched.setattr(np, "save", full)
            with pytest.raises(OutputError, match=r"(12 written|No such file).*CalibrationSettings.memory"):
                front_onnx.resize(source, width=6, data=samples, calibration=settings)
        assert not list(tmp_path.iterdir())


def test_what_is_not_fitted_is_told() -> None:
    """The state of a recurrent layer that gives back its last one alone; all else is fitted."""
    weights = {
        "stem": RNG.standard_normal((5, 8)),
        "w": RNG.standard_normal((1, 24, 8)),
        "r": RNG.standard_normal((1, 24, 8)),
        "head": RNG.standard_normal((8, 3)),
        "bias": RNG.standard_normal(3),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "stem"], ["s"], "stem"),
        helper.make_node("GRU", ["s", "w", "r"], ["", "last"], "gru", hidden_size=8),
        helper.make_node("Squeeze", ["last", "one"], ["h"], "squeeze"),
        helper.make_node("MatMul", ["h", "head"], ["o"], "head"),
        helper.make_node("Add", ["o", "bias"], ["y"], "shift"),
    ]
    source = net(nodes, weights, "y", ["samples", 5])
    source.graph.initializer.append(numpy_helper.from_array(np.array([0]), "one"))
    samples = {"x": RNG.standard_normal((40, 6, 5)).astype(np.float32)}
    result = front_onnx.resize(source, width_mult="0.5", data=samples, calibration=FAST)
    assert result.calibration is not None
    report = result.calibration.candidates[-1].report
    assert [each.level for each in report if each.node == "head"] == ["fitted"]
    assert [each.level for each in report if each.node == "gru"] == ["decoded", "kept"]
    assert "GRU" in next(each.why for each in report if (each.node, each.level) == ("gru", "kept"))


def test_samples_on_which_the_model_does_not_run_are_named() -> None:
    """A table of positions ends before the samples do."""
    source = normed_net(fused=False)
    source.graph.initializer.append(numpy_helper.from_array(RNG.standard_normal((6, 5)).astype(np.float32), "table"))
    source.graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 2, 3, 4, 5, 6, 7]), "places"))
    source.graph.node.insert(0, helper.make_node("Gather", ["table", "places"], ["positions"], "positions"))
    source.graph.node.insert(1, helper.make_node("Add", ["x", "positions"], ["moved"], "move"))
    source.graph.node[2].input[0] = "moved"
    with pytest.raises(RequestError, match="does not run on the samples"):
        front_onnx.resize(source, width=6, data={"x": RNG.standard_normal((20, 8, 5)).astype(np.float32)})


@pytest.mark.parametrize("sizes", [{"depth": 2, "width": 12}, {"depth": 5, "width": 4}])
def test_best_grows_first_where_one_size_grows_and_another_shrinks(sizes: dict[str, int]) -> None:
    """The grown model lies in memory, and weights that only one of both steps changes are carried through the other."""
    source = mlp(width=8)
    result = front_onnx.resize(source, method="best", calibration=FAST, **sizes)
    assert result.grown is not None and result.calibration is not None
    assert not [candidate.why for candidate in result.calibration.candidates if candidate.why]
    assert isinstance(result.model, onnx.ModelProto)
    x = RNG.standard_normal((200, 5)).astype(np.float32)
    wanted, found = (run(model, {"x": x})[0] for model in (source, result.model))
    alone = front_onnx.resize(source, **sizes).model
    assert isinstance(alone, onnx.ModelProto)
    assert ((found - wanted) ** 2).sum() < ((run(alone, {"x": x})[0] - wanted) ** 2).sum()


@pytest.mark.parametrize("device", ["gpu", "cuda:one", "cuda:", "", "rocm"])
def test_a_device_that_is_not_there_is_one_line(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RequestError) as caught:
        CalibrationSettings(device=device)
    assert repr(device) in str(caught.value) or device in str(caught.value)
    done = CliRunner().invoke(main, ["resize", str(DIGITS), "--width", "24", "--data", "synthetic", "--device", device])
    assert done.exit_code == 2


def test_a_device_is_what_sessions_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor is behind it, for what it cannot run."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    asked = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options, providers: asked.append(providers))
    Engine("cuda:1").session(b"")
    CalibrationSettings().engine.session(b"")
    assert asked == [[("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"], ["CPUExecutionProvider"]]
