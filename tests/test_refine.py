"""front-onnx refine: what it writes, how it goes on, what it refuses, and that several processes are one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from executing import exported_for_training
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.refine import Settings, refine, train
from front_onnx.adapters.refine.data import load_data
from front_onnx.adapters.refine.history import plot_history, read_log
from front_onnx.adapters.refine.losses import Task, distillation
from front_onnx.adapters.refine.scratch import forget
from onnx import TensorProto, helper
from small import DIGIT_INPUTS, DIGITS, mlp, run, unsigned, weights
from tiers import few
from zoo.architectures import ARCHITECTURES
from zoo.export import export

import front_onnx
from front_onnx.commands import main
from front_onnx.errors import FrontError
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model
from front_onnx.report.steps import after_resize


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Equal layers of a small network."""
    path = tmp_path / "small.onnx"
    onnx.save(mlp(depth=4, width=8), path)
    return path


def samples(count: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 5)).astype(np.float32)
    return {"x": x, "labels": (x[:, 0] > 0).astype(np.int64) + 2 * (x[:, 1] > 0)}


QUICK = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "device": "cpu"}


# -- what it writes -------------------------------------------------------------------------------------------


def test_only_weights_change_and_the_task_is_learned(small: Path, tmp_path: Path) -> None:
    refined = refine(
        small,
        samples(),
        validation=samples(seed=1),
        output=tmp_path / "out.onnx",
        last=True,
        **{**QUICK, "epochs": 30},
    )
    before, after = onnx.load(small), onnx.load(refined.output)
    assert list(before.graph.node) == list(after.graph.node)
    assert before.SerializeToString() != after.SerializeToString()
    for model in (before, after):
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
    assert before.SerializeToString(deterministic=True) == unsigned(after)
    first, last = refined.history[0], refined.history[refined.epoch]
    assert last["validation_loss"] < 0.7 * first["validation_loss"]
    assert last["validation_metric"] > first["validation_metric"]
    logits = run(refined.output, samples(seed=1))[0]
    hits = float((logits.argmax(1) == samples(seed=1)["labels"]).mean())
    assert hits == pytest.approx(last["validation_metric"])


@pytest.mark.slow
def test_the_penalty_moves_energy_into_the_low_band(tmp_path: Path) -> None:
    with np.load(DIGIT_INPUTS) as archive:
        data = {name: archive[name] for name in archive.files}
    ends = {}
    for lam in (0.0, 0.02):
        refined = refine(
            DIGITS,
            data,
            output=tmp_path / f"{lam}.onnx",
            epochs=20,
            batch_size=20,
            lam=lam,
            reduction="sum",
            device="cpu",
        )
        ends[lam] = refined.history[-1]
        assert refined.history[1]["reg_gradient"] > 0 or lam == 0
    assert ends[0.02]["low_energy"] > ends[0.0]["low_energy"] + 0.001
    assert ends[0.02]["reg_now"] < 0.95 * ends[0.0]["reg_now"]


@pytest.mark.parametrize("every", [1, 2])
def test_steps_of_several_batches_are_those_of_one(small: Path, tmp_path: Path, every: int) -> None:
    """Also where the last batch of an epoch is short, and the penalty counts once in a step."""
    made, lines = [], []
    for batch, number in ((24, 1), (8, 3)):
        how = {**QUICK, "epochs": 2, "batch_size": batch, "accumulate": number, "lam": 0.01, "every": every}
        refined = refine(small, samples(44), output=tmp_path / f"{batch}.onnx", **how)
        made.append(weights(onnx.load(refined.output)))
        lines.append(refined.history[-1])
    plain = refine(small, samples(44), output=tmp_path / "other.onnx", **{**QUICK, "epochs": 2})
    other = weights(onnx.load(plain.output))
    for name, array in made[0].items():
        assert np.abs(made[1][name] - array).max() < 1e-5 * max(1.0, np.abs(array).max())
    assert any(np.abs(other[name] - array).max() > 1e-3 for name, array in made[0].items())
    assert lines[0]["steps"] == lines[1]["steps"] == 4
    assert lines[0]["task"] == pytest.approx(lines[1]["task"], rel=1e-5)
    assert lines[0]["reg"] == pytest.approx(lines[1]["reg"], rel=1e-5)


def test_a_learngene_of_the_result_makes_other_sizes(small: Path, tmp_path: Path) -> None:
    refined = refine(small, samples(), output=tmp_path / "out.onnx", ratio=0.5, **QUICK)
    assert refined.gene is not None
    made = front_onnx.init(refined.gene.output, depth=2, output=tmp_path / "half.onnx")
    assert made.validation.passed


def test_from_scratch_forgets_every_weight(zoo_cache: Path) -> None:
    for name in ("bert", "resnet-basic", "llama"):
        path = export(ARCHITECTURES[name], ARCHITECTURES[name].source, cache_dir=zoo_cache)
        module = OnnxModule(path)
        before = {n: p.detach().clone() for n, p in module.weights().items()}
        forget(module, 0)
        matrices = [n for n, p in module.weights().items() if p.dim() > 1]
        assert matrices and not any(torch.equal(before[n], module.weights()[n]) for n in matrices)
        assert all(torch.isfinite(p).all() for p in module.weights().values())
        vectors = [p for p in module.weights().values() if p.dim() == 1 and p.numel() > 1]
        assert {float(v) for p in vectors for v in p.detach().unique()} <= {0.0, 1.0}


def test_a_teacher_is_imitated_without_labels(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    module = OnnxModule(small)
    with torch.no_grad():
        for parameter in module.weights().values():
            parameter.mul_(0.9)
    module.save(other)
    data = {"x": samples()["x"]}
    options = {**QUICK, "epochs": 20, "lam": 0.0}
    refined = refine(small, data, teacher=other, output=tmp_path / "out.onnx", **options)
    wanted, start, found = (run(path, data)[0] for path in (other, small, refined.output))
    assert np.abs(found - wanted).mean() < 0.3 * np.abs(start - wanted).mean()
    both = refine(small, samples(), teacher=other, output=tmp_path / "both.onnx", **QUICK)
    assert both.history[-1]["task"] > 0


def test_the_best_epoch_is_written_and_survives_an_interruption(small: Path, tmp_path: Path) -> None:
    """Held-out labels are what the start says, which is no better after any step."""
    x = samples(seed=1)["x"]
    held_out = {"x": x, "labels": run(small, {"x": x})[0].argmax(1)}
    given = {**QUICK, "epochs": 6, "lam": 0.0, "validation": held_out}
    best = refine(small, samples(), output=tmp_path / "best.onnx", **given)
    losses = [record["validation_loss"] for record in best.history]
    assert best.epoch == int(np.argmin(losses)) == 0, losses
    last = refine(small, samples(), output=tmp_path / "last.onnx", last=True, **given)
    assert last.epoch == 6 and last.history[-1]["validation_loss"] == losses[-1]
    for refined in (best, last):
        logits = run(refined.output, held_out)[0].astype(np.float64)
        chosen = logits[np.arange(len(logits)), held_out["labels"]]
        loss = (np.log(np.exp(logits).sum(1)) - chosen).mean()
        assert loss == pytest.approx(losses[refined.epoch], rel=1e-4)
    again = refine(small, samples(), output=tmp_path / "best.onnx", resume=True, **given)  # nothing is left to do
    assert again.epoch == best.epoch
    assert (tmp_path / "best.onnx").read_bytes() == best.output.read_bytes()
    unmeasured = refine(small, samples(), output=tmp_path / "u.onnx", **{**given, "validation": None})
    assert unmeasured.epoch == 6


def test_nearness_to_the_teacher_is_that_of_the_files(small: Path, tmp_path: Path) -> None:
    start = front_onnx.resize(small, depth=2, output=tmp_path / "start.onnx").output
    held_out = {"x": samples(30, seed=1)["x"]}
    found = refine(
        start, {"x": samples()["x"]}, teacher=small, validation=held_out, output=tmp_path / "o.onnx", lam=0.0, **QUICK
    )
    taught = run(small, held_out)[0]
    for model, record in ((start, found.history[0]), (found.output, found.history[found.epoch])):
        made = run(model, held_out)[0]
        error = np.square(made - taught).sum() / np.square(taught - taught.mean(0)).sum()
        assert record["teacher_error"] == pytest.approx(error, rel=1e-4)
        assert record["teacher_top"] == pytest.approx((made.argmax(1) == taught.argmax(1)).mean())


@pytest.mark.parametrize(
    ("how", "rate", "why"),
    [
        ({"depth": 2}, 5e-4, "carried over"),
        ({"depth": 6, "method": "lossless"}, 5e-5, "where the source ended"),
        ({"width": 4, "data": "synthetic"}, 1e-4, "near the source"),
        ({}, 5e-4, "the usual one"),
    ],
)
def test_the_rate_goes_by_the_start_and_is_the_one_that_summaries_name(
    small: Path, tmp_path: Path, how: dict, rate: float, why: str
) -> None:
    start = small
    if how:
        made = front_onnx.resize(small, output=tmp_path / "start.onnx", **how)
        start = made.output
        (line,) = (step for step in after_resize(made) if "refine" in step)
        assert float(line.split("--lr ")[1].split()[0]) == rate
    found = refine(start, samples(), output=tmp_path / "o.onnx", lam=0.0, epochs=1, device="cpu")
    assert found.about["settings"]["lr"] == pytest.approx(rate) and why in found.rate and "auto" in found.rate
    again = refine(found.output, samples(), output=tmp_path / "p.onnx", lam=0.0, epochs=1, device="cpu")
    assert again.about["settings"]["lr"] == pytest.approx(rate)  # of a refined model: as before
    asked = refine(start, samples(), output=tmp_path / "o.onnx", lam=0.0, epochs=1, device="cpu", lr=0.25)
    assert asked.rate == "learning rate 0.25"
    scratch = refine(start, samples(), output=tmp_path / "o.onnx", lam=0.0, epochs=1, device="cpu", from_scratch=True)
    assert scratch.about["settings"]["lr"] == pytest.approx(5e-4)


def test_the_command_says_what_a_user_wants_to_know(small: Path, tmp_path: Path) -> None:
    start = front_onnx.resize(small, depth=2, output=tmp_path / "start.onnx").output
    np.savez(tmp_path / "x.npz", x=samples()["x"])
    line = f"refine {start} --teacher {small} --data {tmp_path}/x.npz --validation {tmp_path}/x.npz"
    done = CliRunner().invoke(main, f"{line} -o {tmp_path}/o.onnx --epochs 2 --lambda 0 --card".split())
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "learning rate 0.0005 (auto: its weights were carried over)" in told
    assert "kept of the teacher's outputs, held out" in told and "written: epoch" in told and "small.onnx" in told
    assert "L_reg" not in done.output
    card = (tmp_path / "o.md").read_text()
    assert f"| teacher | {small} |" in card and "kept of the teacher" in card


def test_a_teacher_that_torch_cannot_run_runs_in_onnxruntime(small: Path, tmp_path: Path, monkeypatch) -> None:
    from front_onnx.adapters.refine import teacher

    def cannot(path):
        raise FrontError("an operator is missing")

    plain = teacher.Teacher(small, {"x"}, "y", torch.device("cpu"))
    monkeypatch.setattr(teacher, "OnnxModule", cannot)
    other = teacher.Teacher(small, {"x"}, "y", torch.device("cpu"))
    batch = {"x": torch.from_numpy(samples()["x"])}
    assert (plain.engine, other.engine) == ("torch", "onnxruntime")
    torch.testing.assert_close(plain(batch), other(batch))


# -- losses ---------------------------------------------------------------------------------------------------


def test_losses_are_sums_over_what_counts() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 7)
    ids = torch.randint(0, 7, (2, 5))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    following = Task("next-token", "y", "ids")({"y": logits}, {"ids": ids, "attention_mask": mask})
    wanted = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, 7), torch.where(mask.bool(), ids, -100)[:, 1:].reshape(-1), reduction="sum"
    )
    torch.testing.assert_close(following.total, wanted)
    assert int(following.count) == 5
    images = Task("cross-entropy", "y")({"y": logits.transpose(1, 2)}, {"labels": ids})
    torch.testing.assert_close(
        images.total / images.count, torch.nn.functional.cross_entropy(logits.reshape(-1, 7), ids.reshape(-1))
    )
    hidden = Task("mse", "y")({"y": logits}, {"labels": logits + 1})
    assert float(hidden.total / hidden.count) == pytest.approx(1.0)
    alike, count = distillation(logits, logits, 2.0, axis=-1)
    assert float(alike) == pytest.approx(0, abs=1e-5) and int(count) == 10
    half, many = distillation(torch.zeros(1000, 100).half(), torch.ones(1000, 100).half(), 1.0, axis=None)
    assert float(half) == float(many) == 1e5  # more than half precision can hold
    picture = Task("cross-entropy", "y")
    assert picture.class_axis(torch.zeros(2, 3, 4, 5), {"labels": torch.zeros(2, 4, 5)}) == 1
    assert Task("mse", "y").class_axis(torch.zeros(2, 1), {}) is None


def test_masked_tokens_are_masked_as_for_bert() -> None:
    task = Task("masked-token", "y", "ids", mask_token=99)
    ids = torch.randint(0, 50, (200, 50))
    batch = task.prepare({"ids": ids}, torch.Generator().manual_seed(0))
    chosen = batch["labels"] != -100
    assert 0.14 < chosen.float().mean() < 0.16
    assert torch.equal(batch["ids"][~chosen], ids[~chosen]) and torch.equal(batch["labels"][chosen], ids[chosen])
    masked = (batch["ids"] == 99) & chosen
    assert 0.77 < masked.sum() / chosen.sum() < 0.83


@pytest.mark.parametrize("loss", ["next-token", "masked-token"])
def test_language_models_learn_from_tokens(zoo_cache: Path, tmp_path: Path, loss: str) -> None:
    path = export(ARCHITECTURES["gpt2"], ARCHITECTURES["gpt2"].source, cache_dir=zoo_cache)
    graph = Graph(read_model(path))
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (24, 7))
    data = {info.name: np.ones_like(ids) if "mask" in info.name else ids for info in graph.inputs}
    data = {k: v if "type" not in k else np.zeros_like(v) for k, v in data.items()}
    options = {**QUICK, "epochs": 4, "lam": 0.0, "loss": loss}
    refined = refine(path, data, output=tmp_path / "out.onnx", mask_token=1, **options)
    assert refined.history[-1]["task"] < refined.history[1]["task"]


def test_a_loss_of_ones_own(small: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text("def loss(outputs, batch):\n    return outputs['y'].square().mean()\n")
    monkeypatch.chdir(tmp_path)
    refined = refine(small, {"x": samples()["x"]}, loss="mine:loss", output=tmp_path / "out.onnx", **QUICK)
    assert refined.history[-1]["task"] < refined.history[1]["task"]
    with pytest.raises(FrontError, match="cannot be imported"):
        refine(small, samples(), loss="mine:nothing", output=tmp_path / "out.onnx", **QUICK)


# -- data -----------------------------------------------------------------------------------------------------


def test_data_may_come_from_a_callable(small: Path, tmp_path: Path) -> None:
    whole = samples()
    seen = []

    def batches(epoch: int):
        seen.append(epoch)
        return [{name: array[at : at + 8] for name, array in whole.items()} for at in range(0, 40, 8)]

    refined = refine(small, batches, output=tmp_path / "out.onnx", **QUICK)
    assert refined.history[-1]["steps"] == 15 and {0, 1, 2} <= set(seen)


WRONG = {
    "a missing input": ({"labels": samples()["labels"]}, "lacks x"),
    "an unknown name": ({**samples(), "y": samples()["x"]}, "has y, which is no input"),
    "another type": ({**samples(), "x": samples()["x"].astype(np.float64)}, "another type"),
    "another shape": ({**samples(), "x": samples()["x"][:, :3]}, "another shape"),
    "another rank": ({**samples(), "x": samples()["x"][:, :, None]}, "another shape"),
    "several lengths": ({**samples(), "labels": samples()["labels"][:3]}, "several lengths"),
    "no samples": ({"x": samples()["x"][:0], "labels": samples()["labels"][:0]}, "no samples"),
    "labels that are no classes": ({**samples(), "labels": samples()["labels"] + 3}, "no classes"),
    "labels that are fractions": ({**samples(), "labels": samples()["x"][:, 0]}, "whole numbers"),
    "labels of which none counts": ({**samples(), "labels": 0 * samples()["labels"] - 100}, "no label counts"),
    "what is no number": ({**samples(), "x": np.where(samples()["x"] > 1, np.nan, samples()["x"])}, "no numbers"),
    "no labels": ({"x": samples()["x"]}, "no labels"),
}


@pytest.mark.parametrize("what", WRONG)
def test_data_that_does_not_fit_is_refused_before_the_first_step(small: Path, tmp_path: Path, what: str) -> None:
    data, message = WRONG[what]
    told: list[dict] = []
    with pytest.raises(FrontError, match=message) as caught:
        refine(small, data, output=tmp_path / "out.onnx", tell=told.append, **QUICK)
    assert caught.value.exit_code == 2 and not told
    assert not (tmp_path / "out.onnx").exists()


def test_a_damaged_archive_is_told(small: Path, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "train.npz", **samples())
    whole = (tmp_path / "train.npz").read_bytes()
    middle = len(whole) // 2
    for damaged in (
        whole[:200],
        b"PK",
        b"",
        whole[:60] + bytes(40) + whole[100:],
        whole[:middle] + b"x" * 9 + whole[middle:],
    ):
        (tmp_path / "cut.npz").write_bytes(damaged)
        with pytest.raises(FrontError, match=r"is no \.npz file") as caught:
            refine(small, tmp_path / "cut.npz", output=tmp_path / "out.onnx", **QUICK)
        assert caught.value.exit_code == 2


def test_a_model_that_no_learngene_cuts_trains_without_the_penalty(tmp_path: Path) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Mul", ["x", "w"], ["h"]), helper.make_node("Gemm", ["h", "v", "b"], ["y"])],
            "flat",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
            [
                helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0]),
                helper.make_tensor("v", TensorProto.FLOAT, [5, 4], list(np.linspace(-1, 1, 20))),
                helper.make_tensor("b", TensorProto.FLOAT, [4], [0.1, 0.2, 0.3, 0.4]),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "flat.onnx")
    with pytest.raises(FrontError, match="lam=0"):
        refine(tmp_path / "flat.onnx", samples(), output=tmp_path / "out.onnx", **QUICK)
    refined = refine(tmp_path / "flat.onnx", samples(), output=tmp_path / "out.onnx", lam=0.0, **QUICK)
    assert refined.history[-1]["task"] < refined.history[1]["task"]


def test_batches_may_come_in_a_list_or_a_loader_and_as_tensors(small: Path, tmp_path: Path) -> None:
    whole = {name: torch.from_numpy(array) for name, array in samples().items()}
    batches = [{name: tensor[at : at + 8] for name, tensor in whole.items()} for at in range(0, 40, 8)]
    items = [{name: tensor[at] for name, tensor in whole.items()} for at in range(40)]
    loader = torch.utils.data.DataLoader(items, batch_size=8)
    ends = []
    for number, data in enumerate((batches, loader)):
        refined = refine(small, data, output=tmp_path / f"{number}.onnx", **QUICK)
        ends.append(refined.output.read_bytes())
    assert ends[0] == ends[1]
    assert refine(small, whole, output=tmp_path / "whole.onnx", **QUICK).history[-1]["steps"] == 15


def _none(epoch: int) -> list:
    return []


def _broken(epoch: int) -> list:
    raise KeyError("my own mistake")


def _fewer(epoch: int) -> list:
    return [samples(8)] * (3 if epoch == 0 else 2)


def _once() -> object:
    return 5


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_none, "has no batches"),
        (_broken, r"_broken raised KeyError: 'my own mistake' \(got at .*test_refine.py:\d+"),
        (_fewer, r"another number of batches \(got 2, wanted 3"),
        (_once, "nothing to iterate over"),
        (lambda epoch: [[1, 2]], "a batch is a mapping"),
        (5, "data of no kind"),
    ],
)
def test_mistakes_in_callables_are_told_as_theirs(small: Path, tmp_path: Path, function: object, message: str) -> None:
    with pytest.raises(FrontError, match=message):
        refine(small, function, output=tmp_path / "out.onnx", **QUICK)


def test_what_the_run_reads_is_never_written_over(small: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", **samples())
    (tmp_path / "other.onnx").write_bytes(small.read_bytes())
    data = tmp_path / "train.npz"
    for target in (data, tmp_path / "other.onnx", small):
        before = target.read_bytes()
        with pytest.raises(FrontError, match=r"a file that the run reads|the output is the input"):
            refine(small, data, teacher=tmp_path / "other.onnx", output=target, **QUICK)
        assert target.read_bytes() == before
    with pytest.raises(FrontError, match="is a folder"):
        refine(small, data, output=tmp_path, **QUICK)


def test_a_model_without_a_head_for_tokens_is_told(zoo_cache: Path, tmp_path: Path) -> None:
    path = export(ARCHITECTURES["bert"], ARCHITECTURES["bert"].source, cache_dir=zoo_cache)
    graph = Graph(read_model(path))
    data = {info.name: np.ones((8, 7), np.int64) for info in graph.inputs}
    with pytest.raises(FrontError, match=r"fewer classes than there are tokens|cannot read"):
        refine(path, data, loss="masked-token", mask_token=1, output=tmp_path / "out.onnx", **QUICK)
    with pytest.raises(FrontError, match="no token"):
        refine(path, data, loss="masked-token", mask_token=10**6, output=tmp_path / "out.onnx", **QUICK)


def test_tokens_beyond_their_table_are_refused(zoo_cache: Path) -> None:
    path = export(ARCHITECTURES["gpt2"], ARCHITECTURES["gpt2"].source, cache_dir=zoo_cache)
    graph = Graph(read_model(path))
    data = {info.name: np.full((4, 7), 10**6) for info in graph.inputs}
    with pytest.raises(FrontError, match="beyond its table"):
        load_data(data, graph, batch_size=2)


def test_a_fixed_batch_is_told(tmp_path: Path) -> None:
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "fixed.onnx")
    with pytest.raises(FrontError, match="fixed batch"):
        refine(tmp_path / "fixed.onnx", samples(), **QUICK)
    refined = refine(tmp_path / "fixed.onnx", samples(42), **{**QUICK, "batch_size": 4})
    assert refined.history[-1]["steps"] == 30  # the last two samples are no batch


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lam": 2.0}, "lam is out of its range"),
        ({"epochs": 0}, "epochs is out of its range"),
        ({"amp": "fp8"}, "amp is out of its range"),
        ({"loss": "hinge"}, "loss is out of its range"),
        ({"colour": 1}, "no such setting"),
        ({"output_name": "z"}, "no such output"),
        ({"device": "tpu"}, "no device"),
        ({"freeze": ("*",)}, "no weights to train"),
        ({"loss": "next-token"}, "no input indexes a table"),
        ({"clip": -1.0}, "clip is out of its range"),
        ({"distill_weight": -1.0}, "distill_weight is out of its range"),
        ({"lr": float("nan")}, "lr is no number"),
        ({"epochs": 1.5}, "epochs is of another type"),
        ({"device": "meta"}, "no device"),
        ({"every": 1000}, "more than all steps"),
        ({"ratio": 2.0}, "ratio is out of range"),
        ({"plot": "log.foo"}, "plot cannot write"),
        ({"loss": lambda outputs, batch: torch.zeros(())}, "no weight has a part"),
    ],
)
def test_impossible_settings_are_refused(small: Path, wrong: dict, message: str) -> None:
    with pytest.raises(FrontError, match=message) as caught:
        refine(small, samples(), **{**QUICK, **wrong})
    assert caught.value.exit_code == 2


# -- failures, and going on -----------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_checkpoint(small: Path, tmp_path: Path) -> None:
    def batches(epoch: int):
        whole = samples()
        if epoch == 1:
            whole["x"][20] = np.inf  # no array that could be looked through beforehand
        return [{name: array[at : at + 8] for name, array in whole.items()} for at in range(0, 40, 8)]

    with pytest.raises(FrontError, match=r"no number at step 8, and the last good checkpoint is .*checkpoint.pt"):
        refine(small, batches, output=tmp_path / "out.onnx", **QUICK)
    assert not (tmp_path / "out.onnx").exists()


def test_a_loss_that_runs_away_stops(small: Path, tmp_path: Path) -> None:
    options = {**QUICK, "lr": 1e3, "clip": 0.0, "epochs": 50, "warmup": 0.0}
    with pytest.raises(FrontError, match=r"run away|no number"):
        refine(small, samples(), output=tmp_path / "out.onnx", **options)


def test_too_little_memory_suggests_a_batch_size(small: Path, tmp_path: Path, monkeypatch) -> None:
    def full(self, *inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(train._Objective, "forward", full)
    with pytest.raises(FrontError, match="batch_size=4"):
        refine(small, samples(), output=tmp_path / "out.onnx", **QUICK)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("settings", few([{"every": 2, "reduction": "mean"}, {}, {"amp": "bf16"}], 1, mark="slow"))
def test_a_run_goes_on_bit_for_bit(small: Path, tmp_path: Path, settings: dict) -> None:
    options = {**QUICK, "epochs": 5, **settings}
    whole = refine(small, samples(), validation=samples(seed=1), output=tmp_path / "whole.onnx", **options)

    def stop(event: dict) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (4, 3):
            raise _Stop

    target = tmp_path / "parts.onnx"
    with pytest.raises(_Stop):
        refine(small, samples(), validation=samples(seed=1), output=target, tell=stop, **options)
    assert len(read_log(tmp_path / "parts-run" / "log.jsonl")[1]) == 4
    with pytest.raises(FrontError, match="epoch 3 of 5"):
        refine(small, samples(), validation=samples(seed=1), output=target, **options)
    torch.rand(7)  # whatever else happens in between
    parts = refine(small, samples(), validation=samples(seed=1), output=target, resume=True, **options)
    assert whole.output.read_bytes() == parts.output.read_bytes()
    timing = {"seconds", "samples_per_second"}
    strip = [[{k: v for k, v in r.items() if k not in timing} for r in run_.history] for run_ in (whole, parts)]
    assert strip[0] == strip[1] and len(strip[0]) == 6


def test_dropout_goes_on_bit_for_bit(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Dropout", ["x", "ratio", "mode"], ["kept"]),
        *mlp(depth=3, width=8).graph.node,
    ]
    model = mlp(depth=3, width=8)
    for node in nodes[1:]:
        node.input[:] = ["kept" if name == "x" else name for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(helper.make_tensor("ratio", TensorProto.FLOAT, [], [0.4]))
    model.graph.initializer.append(helper.make_tensor("mode", TensorProto.BOOL, [], [True]))
    onnx.save(model, tmp_path / "m.onnx")
    whole = refine(tmp_path / "m.onnx", samples(), output=tmp_path / "whole.onnx", **QUICK)

    def stop(event: dict) -> None:
        if event["event"] == "step" and event["epoch"] == 3:
            raise _Stop

    with pytest.raises(_Stop):
        refine(tmp_path / "m.onnx", samples(), output=tmp_path / "parts.onnx", tell=stop, **QUICK)
    parts = refine(tmp_path / "m.onnx", samples(), output=tmp_path / "parts.onnx", resume=True, **QUICK)
    assert whole.output.read_bytes() == parts.output.read_bytes()
    other = refine(tmp_path / "m.onnx", samples(), output=tmp_path / "other.onnx", **{**QUICK, "seed": 1})
    assert other.output.read_bytes() != whole.output.read_bytes()


def test_a_checkpoint_of_another_run_is_refused(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.onnx"
    with pytest.raises(FrontError, match="no checkpoint"):
        refine(small, samples(), output=target, resume=True, **QUICK)
    refined = refine(small, samples(), output=target, **QUICK)
    for changed, name in (({"lr": 1e-3}, "lr"), ({"lam": 0.1}, "lam")):
        with pytest.raises(FrontError, match=f"another {name}"):
            refine(small, samples(), output=target, resume=True, **{**QUICK, **changed})
    for other in (samples(39), samples(40, seed=1)):
        with pytest.raises(FrontError, match="another data"):
            refine(small, other, output=target, resume=True, **QUICK)
    refined.checkpoint.write_bytes(refined.checkpoint.read_bytes()[:100])
    with pytest.raises(FrontError, match="damaged"):
        refine(small, samples(), output=target, resume=True, **QUICK)


# -- the command ----------------------------------------------------------------------------------------------


def _files(tmp_path: Path) -> list[str]:
    np.savez(tmp_path / "train.npz", **samples())
    return ["--data", str(tmp_path / "train.npz"), "--epochs", "2", "--batch-size", "8", "--device", "cpu"]


def test_the_command_writes_the_model_the_log_and_the_plot(small: Path, tmp_path: Path) -> None:
    arguments = ["refine", str(small), *_files(tmp_path), "--plot", str(tmp_path / "log.png"), "--ratio", "0.5"]
    result = CliRunner().invoke(main, [*arguments, "--validation", str(tmp_path / "train.npz"), "--json"])
    assert result.exit_code == 0, result.output
    about = json.loads(result.stdout)
    made = {path.name for path in tmp_path.iterdir()} - {"small.onnx", "train.npz"}
    assert made == {"small-refined.onnx", "small-refined-run", "log.png", "small-refined-r0.5.safetensors"}
    assert {path.name for path in (tmp_path / "small-refined-run").iterdir()} == {"checkpoint.pt", "log.jsonl"}
    settings, history = read_log(Path(about["log"]))
    assert history == about["history"] and settings["settings"]["epochs"] == 2
    assert front_onnx.validate(about["output"]).passed
    plot_history(history, tmp_path / "again.svg")
    plain = CliRunner().invoke(main, [*arguments])
    assert plain.exit_code == 0 and "weights trained" in plain.output and "epoch 2" in plain.output


def test_the_source_is_never_written_over(small: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["refine", str(small), *_files(tmp_path), "-o", str(small)])
    assert result.exit_code == 2 and "the output is the input" in result.output


@pytest.mark.slow  # a process of its own, until it has trained
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_keeps_the_last_checkpoint(small: Path, tmp_path: Path) -> None:
    options = [*_files(tmp_path)[:2], "--epochs", "100000", "--batch-size", "8", "--device", "cpu"]
    command = [sys.executable, "-m", "front_onnx", "refine", str(small), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "small-refined-run" / "checkpoint.pt"
    for _ in range(600):
        if checkpoint.exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in errors
    assert torch.load(checkpoint, weights_only=True)["version"] == 1


def test_settings_and_options_agree() -> None:
    from front_onnx.commands.refine import refine_command

    options = {option.name: option for option in refine_command.params}
    for name, value in Settings().as_data().items():
        assert name in options, name
        default = options[name].default
        if (
            name != "reduction"
            and default is not None
            and not callable(default)
            and type(default).__name__ != "Sentinel"
        ):
            assert default == value or (value in ((), False) and not default) or (name, default) == ("lr", "auto"), name


# -- several processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pytest.param("batch norms", marks=pytest.mark.export), pytest.param("small", marks=pytest.mark.more)]
)
def test_two_processes_are_one_with_the_same_batch(small: Path, tmp_path: Path, kind: str) -> None:
    model, data = (small, samples(39)) if kind == "small" else _normed(tmp_path)
    np.savez(tmp_path / "train.npz", **data)  # the last batch is odd
    given = ["--data", str(tmp_path / "train.npz"), "--validation", str(tmp_path / "train.npz"), "--epochs", "2"]
    given += ["--batch-size", "8", "--device", "cpu", "--lr", "0.01", "--lambda", "0.01", "--reduction", "sum"]

    def command(name: str) -> list[str]:
        return ["-m", "front_onnx", "refine", str(model), *given, "-o", str(tmp_path / name)]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command("one.onnx")], check=True, capture_output=True, env=environment)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, *command("two.onnx")], check=True, capture_output=True, env=environment)
    one, two = (weights(onnx.load(tmp_path / name)) for name in ("one.onnx", "two.onnx"))
    start = weights(onnx.load(model))
    moved = max(np.abs(array - start[name]).max() for name, array in one.items() if array.dtype == np.float32)
    for name, array in one.items():
        assert np.abs(array - two[name]).max() <= 2e-3 * moved, name
    if kind != "small":
        assert any("running_var" in name and not np.array_equal(one[name], start[name]) for name in one)
    histories = [read_log(tmp_path / f"{name}-run" / "log.jsonl")[1] for name in ("one", "two")]
    for first, second in zip(*histories, strict=True):
        for key in ("task", "reg", "metric", "validation_loss", "validation_metric", "task_gradient", "reg_gradient"):
            if first.get(key) is not None:
                assert first[key] == pytest.approx(second[key], rel=1e-3), key


def _normed(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A model that normalises by the batch, and pictures for it."""
    exported_for_training(folder / "normed.onnx", drop=0.0)
    rng = np.random.default_rng(0)
    return folder / "normed.onnx", {
        "x": rng.standard_normal((40, 3, 6, 6)).astype(np.float32) * 2 + 1,
        "labels": rng.integers(0, 4, 40),
    }


def test_without_torch_the_command_says_what_to_install(small: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from front_onnx.commands import main; main()"
    arguments = [sys.executable, "-c", code, "refine", str(small), *_files(tmp_path)]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "pip install 'front-onnx[torch]'" in found.stderr
