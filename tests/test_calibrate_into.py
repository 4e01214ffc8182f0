"""A model that there already is gets calibrated weights, whatever its exporter called things; never worse ones."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from golden import golden
from small import DIGITS, mlp, run
from test_calibrate import FAST, normed_net
from tiers import few

import front_onnx
from front_onnx.commands import main
from front_onnx.errors import RequestError
from front_onnx.match.interface import paired_inputs

IDS = {"input_ids": "words", "attention_mask": "counted", "token_type_ids": "kinds"}
RNG = np.random.default_rng(11)


def renamed(model: onnx.ModelProto, inputs: dict[str, str]) -> onnx.ModelProto:
    """The same model with other names for everything."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    names = dict(inputs)

    def new(name: str) -> str:
        return names.setdefault(name, f"tensor_{len(names)}") if name else ""

    for node in graph.node:
        for field in (node.input, node.output):
            changed = [new(name) for name in field]
            del field[:]
            field.extend(changed)
        node.name = f"node_{len(names)}"
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    del graph.value_info[:]
    return found


def errors(moved: front_onnx.Moved) -> dict[str, float]:
    assert moved.calibration is not None and not [c.why for c in moved.calibration.candidates if c.why]
    return {candidate.name: candidate.error for candidate in moved.calibration.candidates}


OTHERS = [
    ("torch-resnet-bottleneck-dynamo", "torch-resnet-bottleneck-torchscript"),
    ("torch-bert-dynamo", "torch-bert-torchscript"),
]


@pytest.mark.parametrize(("large", "small"), few(OTHERS, 1, mark="slow"))
def test_into_what_another_exporter_wrote(large: str, small: str) -> None:
    """Other names, other weights, blocks and width of its own: it gets what is best of all starts in its own graph."""
    source, own = golden(large, "target"), golden(small)
    target = renamed(own, {info.name: IDS.get(info.name, info.name) for info in own.graph.input})
    known = [info.name for info in target.graph.input]
    by_hand = {mine: theirs for theirs, mine in IDS.items() if mine in known}
    if by_hand:
        with pytest.raises(RequestError, match=r"words.*mapping"):
            front_onnx.calibrate(source, target, "synthetic", calibration=FAST)
    moved = front_onnx.calibrate(source, target, "synthetic", mapping=by_hand, calibration=FAST)
    found = errors(moved)
    assert moved.calibration is not None and moved.calibration.best.calibrated
    assert moved.calibration.best.error == min(found.values()) < 0.8 * min(found["front"], found["as it is"])
    assert moved.model is not None and not [entry for entry in moved.matches if entry.source is None]
    assert [info.name for info in moved.model.graph.input] == known
    assert [node.output for node in moved.model.graph.node] == [node.output for node in target.graph.node]


@pytest.mark.slow
def test_into_a_model_that_was_resized_earlier(tmp_path: Path) -> None:
    """It gets what it would have got at once."""
    small = tmp_path / "small.onnx"
    front_onnx.resize(DIGITS, width=24, output=small)
    moved = front_onnx.calibrate(DIGITS, small, "synthetic", calibration=FAST)
    at_once = front_onnx.resize(DIGITS, width=24, data="synthetic", calibration=FAST, output=tmp_path / "once.onnx")
    assert at_once.calibration is not None and moved.output == tmp_path / "small-init.onnx"
    found = errors(moved)
    assert found["as it is"] == pytest.approx(found["front"], rel=1e-3)
    assert found["calibrated"] == pytest.approx(at_once.calibration.best.error, rel=1e-3)
    feed = {"pixels": RNG.standard_normal((5, *_shape(DIGITS))).astype(np.float32)}
    feed = {onnx.load(DIGITS).graph.input[0].name: feed["pixels"]}
    for mine, theirs in zip(run(moved.output, feed), run(tmp_path / "once.onnx", feed), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4 * np.abs(theirs).max())


def _shape(path: Path) -> list[int]:
    return [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]]


def test_what_a_target_holds_stays_if_it_is_best() -> None:
    """What was fitted well is not exchanged for what is held too close to where the method puts it."""
    source = normed_net(fused=False)
    samples = {"x": np.random.default_rng(5).standard_normal((60, 4, 5)).astype(np.float32)}
    good = front_onnx.resize(source, width_mult="0.5", data=samples, calibration=FAST).model
    assert isinstance(good, onnx.ModelProto)
    rough = front_onnx.CalibrationSettings(ridges=(100.0,))
    moved = front_onnx.calibrate(source, renamed(good, {"x": "x"}), samples, calibration=rough)
    assert moved.calibration is not None and moved.calibration.best.name == "as it is" and not moved.arrays
    assert moved.model is not None
    feed = {"x": RNG.standard_normal((9, 4, 5)).astype(np.float32)}
    np.testing.assert_array_equal(run(moved.model, feed)[0], run(good, feed)[0])


def test_a_target_may_fix_its_batch() -> None:
    source, target = mlp(width=8), mlp(depth=2, width=4)
    target.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    target.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    samples = {"x": RNG.standard_normal((400, 5)).astype(np.float32)}
    moved = front_onnx.calibrate(source, target, samples)
    found = errors(moved)
    assert moved.calibration is not None and moved.calibration.best.error == min(found.values())
    assert any(candidate.report for candidate in moved.calibration.candidates)


def test_a_target_that_takes_no_samples_of_the_source_is_one_line() -> None:
    source, target = mlp(width=8), mlp(width=4, inputs=7)
    with pytest.raises(front_onnx.FrontError, match="the target does not run on samples of the source"):
        front_onnx.calibrate(source, target, {"x": RNG.standard_normal((40, 5)).astype(np.float32)})


def value(name: str, kind: int, rank: int) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, kind, [None] * rank)


def test_inputs_are_paired_by_name_then_by_kind() -> None:
    ours = [value("ids", 7, 2), value("mask", 7, 2), value("picture", 1, 4), value("length", 7, 1)]
    theirs = [value("mask", 6, 2), value("tokens", 6, 2), value("image", 10, 4)]
    assert paired_inputs(ours, theirs) == {"mask": "mask", "tokens": "ids", "image": "picture"}
    assert paired_inputs(ours, [value("a", 7, 2), value("b", 7, 2)], {"a": "mask"}) == {"a": "mask", "b": "ids"}
    with pytest.raises(RequestError, match=r"a, wanted ids, mask"):
        paired_inputs(ours, [value("a", 7, 2), value("b", 7, 2)])


def test_the_command_takes_the_source_and_no_learngene(tmp_path: Path) -> None:
    large, small, gene, output = (
        tmp_path / name for name in ("large.onnx", "small.onnx", "gene.safetensors", "made.onnx")
    )
    onnx.save(normed_net(fused=False), large)
    front_onnx.resize(large, width_mult="0.5", output=small)
    front_onnx.extract(large, output=gene)
    data = ["--data", "synthetic", "--samples", "64", "--ridge", "0.1"]
    for arguments in (["init", str(gene), "--into", str(small)], ["init", str(gene), "--width", "4"]):
        done = CliRunner().invoke(main, [*arguments, *data])
        assert done.exit_code != 0 and "a learngene does not run" in done.output
    arguments = ["init", str(large), "--into", str(small), *data, "-o", str(output)]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    about = json.loads(done.output)
    names = [candidate["name"] for candidate in about["calibration"]["candidates"]]
    assert "as it is" in names and about["calibration"]["best"].startswith("calibrated")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0 and "as it is" in done.output and "fitted" in done.output
