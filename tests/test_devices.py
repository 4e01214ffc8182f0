"""Another device than the processor, pretended: nothing is mixed, and everything comes out as it does here."""

import contextlib
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
import torch
from executing import tensors
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.refine import processes, refine
from front_onnx.adapters.spectral.regularizer import SpectralRegularizer
from golden import golden
from onnx import TensorProto, helper
from pretended import ELSEWHERE, brought, elsewhere, pretended
from rule_cases import random_models
from small import DIGITS, mlp
from small_graphs import feeds_for
from test_executor import COVERED
from tiers import few

from front_onnx.check.synthetic import synthetic_inputs

Made = list[torch.Tensor | None]


def _results(model: onnx.ModelProto | Path, feeds: dict, there: bool, numbers_too: bool = False) -> Made:
    """Outputs and gradients of inputs and weights, brought to the processor."""
    module = OnnxModule(model).eval()
    given = tensors(feeds)
    with pretended() if there else contextlib.nullcontext():
        if there:
            module.to(ELSEWHERE)
            given = {name: elsewhere(x) for name, x in given.items()}
        if there and numbers_too:  # as if they were computed from data
            module._fixed = {name: elsewhere(x) for name, x in module._fixed.items()}
        for x in given.values():
            x.requires_grad_(x.is_floating_point())
        outputs = [x for x in module.run(given) if isinstance(x, torch.Tensor)]
        losses = [x.sin().sum() for x in outputs if x.requires_grad]
        if losses:
            sum(losses[1:], losses[0]).backward()
        found = [*outputs, *(x.grad for x in [*module.weights().values(), *given.values()])]
    return [None if x is None else brought(x) for x in found]


def _same(made: Made, wanted: Made) -> None:
    for one, other in zip(made, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_what_is_mixed_is_seen() -> None:
    x = elsewhere(torch.ones(3))
    with pretended():
        assert (x + torch.tensor(2.0)).device == ELSEWHERE and float(x.sum()) == 3
        for mixed in (
            lambda: x + torch.ones(3),
            lambda: x.sum() * torch.ones(3),
            lambda: x[:, None] @ torch.ones(1, 2),
        ):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()


@pytest.mark.parametrize("numbers_too", few([True, False], 1, mark="slow"))
@pytest.mark.parametrize("op_type", COVERED)
def test_operators_run_on_one_device(op_type: str, numbers_too: bool) -> None:
    for _, proto in random_models(op_type, range(1)):
        feeds = feeds_for(proto)
        made = _results(proto, feeds, there=True, numbers_too=numbers_too)
        _same(made, _results(proto, feeds, there=False))


def test_numbers_that_were_computed_from_data_are_numbers() -> None:
    """A place to gather from, and the start and step of a range, that lie on the device."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Gather", ["x", "largest"], ["one"]),
        helper.make_node("Range", ["largest", "end", "largest"], ["places"]),
    ]
    infos = [helper.make_tensor_value_info("x", TensorProto.INT64, [3])]
    infos += [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in (("one", []), ("places", ["n"]))]
    ends = [helper.make_tensor("end", TensorProto.INT64, [], [7])]
    graph = helper.make_graph(nodes, "numbers", infos[:1], infos[1:], ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": np.array([0, 2, 1])}
    made = _results(model, feeds, there=True)
    _same(made, _results(model, feeds, there=False))
    assert [x.tolist() for x in made[:2] if x is not None] == [1, [2, 4, 6]]


@pytest.mark.parametrize(
    "pair",
    few(
        ["torch-llama-dynamo", "torch-convnext-dynamo", "keras-cnn", "torch-bert-torchscript", "jax-vit"],
        3,
        mark="slow",
    ),
)
def test_models_run_on_one_device(pair: str) -> None:
    proto = golden(pair)
    feeds = synthetic_inputs(OnnxModule(proto).graph, {})
    _same(_results(proto, feeds, there=True), _results(proto, feeds, there=False))


def test_a_loop_stacks_what_was_made_of_shapes_and_what_was_computed() -> None:
    """The first iteration gives zeros that the processor made, the others what was read from the input."""

    def info(name: str, shape: list, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    on = TensorProto.BOOL
    nodes = [
        helper.make_node("Add", ["state", "x"], ["next"]),
        helper.make_node("Identity", ["state"], ["old"]),
        helper.make_node("Identity", ["on"], ["still"]),
    ]
    given = [info("i", [], TensorProto.INT64), info("on", [], on), info("state", [2])]
    body = helper.make_graph(nodes, "body", given, [info("still", [], on), info("next", [2]), info("old", [2])])
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
            helper.make_node("Loop", ["times", "", "zeros"], ["last", "all"], body=body),
        ],
        "loop",
        [info("x", [2])],
        [info("last", [2]), info("all", ["t", 2])],
        [
            helper.make_tensor("sizes", TensorProto.INT64, [1], [2]),
            helper.make_tensor("times", TensorProto.INT64, [], [3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": np.ones(2, np.float32)}
    _same(_results(model, feeds, there=True), _results(model, feeds, there=False))


def test_bounds_of_clip_are_not_moved() -> None:
    """They are numbers that the processor holds; moving each of them would wait for the device."""
    proto = golden("keras-cnn")
    module = OnnxModule(proto).eval()
    feeds = synthetic_inputs(module.graph, {})
    clips = [step for step, *_ in module.program.steps if step.op_type == "Clip"]
    bounds = {id(module._fixed[name]) for step in clips for name in step.inputs[1:] if name in module._fixed}
    moved: list[int] = []
    plain = torch.Tensor.to

    def to(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        moved.append(id(self))
        return plain(self, *args, **kwargs)

    with pretended():
        module.to(ELSEWHERE)
        with mock.patch.object(torch.Tensor, "to", to):
            module.run({name: elsewhere(x) for name, x in tensors(feeds).items()})
    assert bounds and not bounds & {*moved}


def test_a_penalty_follows_its_weights() -> None:
    module = OnnxModule(DIGITS)
    regularizer = SpectralRegularizer(module)
    wanted = float(regularizer().detach())
    low = regularizer.energy()
    with pretended():
        module.to(ELSEWHERE)
        for own in (regularizer, SpectralRegularizer(module).to(ELSEWHERE)):  # one was left where it was
            assert own().device == ELSEWHERE and float(own().detach()) == pytest.approx(wanted)
            assert own.energy() == pytest.approx(low)


def test_a_model_is_refined_on_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(mlp(depth=4, width=8), path)
    x = np.random.default_rng(0).standard_normal((24, 5)).astype(np.float32)
    data = {"x": x, "labels": (x[:, 0] > 0).astype(np.int64)}
    options = {"validation": data, "teacher": path, "epochs": 2, "batch_size": 8, "every": 2}
    wanted = refine(path, data, output=tmp_path / "here.onnx", device="cpu", **options)
    monkeypatch.setattr(processes, "_device", lambda asked, local: ELSEWHERE)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # there is none for the name
    with pretended():
        made = refine(path, data, output=tmp_path / "there.onnx", **options)
    timing = {"seconds", "samples_per_second"}
    for one, other in zip(made.history, wanted.history, strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == pytest.approx(
            {k: v for k, v in other.items() if k not in timing}, rel=1e-4
        )
