"""Calibration gives back what can be given back, is never worse than what it was tried beside, and is reproducible."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from golden import PAIRS, golden
from onnx import TensorProto, helper, numpy_helper
from small import DIGITS, run
from tiers import few

import front_onnx
from front_onnx.calibrate.choosing import eliminate
from front_onnx.calibrate.samples import read_samples
from front_onnx.calibrate.settings import CalibrationSettings, in_bytes
from front_onnx.calibrate.shelf import Shelf
from front_onnx.calibrate.solving import Sums
from front_onnx.calibrate.stepping import Stepper
from front_onnx.commands import main
from front_onnx.errors import FrontError, RequestError
from front_onnx.read.graph import Graph
from front_onnx.session import Session, read_any

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


def test_tied_heads_stay_tied() -> None:
    source = golden("torch-gpt2-torchscript")
    result = front_onnx.resize(source, width_mult="0.5", data="synthetic", calibration=FAST)
    assert isinstance(result.model, onnx.ModelProto) and result.calibration is not None
    assert result.calibration.best.calibrated
    arrays = [numpy_helper.to_array(tensor) for tensor in result.model.graph.initializer if len(tensor.dims) == 2]
    (head, table) = sorted((a for a in arrays if max(a.shape) == 101), key=lambda a: a.shape[0])
    assert np.array_equal(head.T, table)


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
    with pytest.raises(RequestError, match="--memory"):
        in_bytes(f"-{text}")


def test_a_method_that_needs_samples_says_so() -> None:
    with pytest.raises(RequestError, match="--data"):
        front_onnx.resize(onnx.load(DIGITS), width=24, method="calibrated")


def test_wrong_samples_are_refused_before_any_work() -> None:
    with pytest.raises(FrontError, match="lacks"):
        front_onnx.resize(onnx.load(DIGITS), width=24, data={"nothing": np.zeros((4, 2), np.float32)})
    session = Session(onnx.load(DIGITS))
    assert session.structure.chains
