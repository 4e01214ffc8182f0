"""L_reg: against a direct evaluation of Eq. 5 and 6, its gradients, its stacks, and in loops that others wrote."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
import zoo.shim  # noqa: F401 - before what imports torchvision
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.spectral.penalty import masked_transform, spectral_penalty
from front_onnx.adapters.spectral.regularizer import SpectralRegularizer
from front_onnx.adapters.spectral.stacks import ParameterStack, stacks_of_module, stacks_of_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from small import DIGITS
from tiers import few
from torch import nn

from front_onnx.errors import FrontError
from front_onnx.plan.request import Request
from front_onnx.session import Session


def direct(x: np.ndarray, gammas: list[float], reduction: str) -> float:
    """Eq. 5 and 6 as they are written, in double precision."""
    phi = scipy.fft.dctn(x.astype(np.float64), norm="ortho")
    mask = np.ones_like(phi)
    for axis, gamma in enumerate(gammas):
        factor = 1 - np.exp(-np.arange(x.shape[axis]) / x.shape[axis] / gamma)
        mask *= factor.reshape([-1 if place == axis else 1 for place in range(x.ndim)])
    total = ((mask * phi) ** 2).sum()
    return total / np.count_nonzero(mask * phi) if reduction == "mean" else total


def matrices(shape: tuple[int, ...], gammas: list[float], dtype: torch.dtype) -> list:
    return [
        (axis, [torch.from_numpy(masked_transform(size, gamma).copy()).to(dtype)])
        for axis, (size, gamma) in enumerate(zip(shape, gammas, strict=True))
    ]


def counted(shape: tuple[int, ...]) -> int:
    return int(np.prod([n - 1 for n in shape]))


@given(st.lists(st.integers(2, 7), min_size=2, max_size=5), st.integers(0, 2**31), st.sampled_from(("mean", "sum")))
@settings(max_examples=60, deadline=None)
def test_the_penalty_is_equation_5(shape: list[int], seed: int, reduction: str) -> None:
    rng = np.random.default_rng(seed)
    gammas = list(rng.uniform(0.05, 1, len(shape)))
    x = rng.standard_normal(shape)
    wanted = direct(x.astype(np.float32), gammas, reduction)
    for dtype, error in ((torch.float32, 1e-5), (torch.float64, 1e-6)):
        given_ = torch.from_numpy(x.astype(np.float32)).to(dtype)
        found = spectral_penalty(given_, matrices(tuple(shape), gammas, dtype), counted(tuple(shape)), reduction)
        assert float(found) == pytest.approx(wanted, rel=error)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (3, 4, 2, 3), (2, 3, 4, 2, 3)])
def test_gradients_pass_gradcheck(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    axes = matrices(shape, [0.25] * len(shape), torch.float64)
    assert torch.autograd.gradcheck(lambda w: spectral_penalty(w, axes, counted(shape)), x)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.conv = nn.Conv2d(width, width, 3)


class Tower(nn.Module):
    def __init__(self, depth: int = 4, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 5)


def test_l_reg_is_the_sum_over_the_stacks_of_a_module() -> None:
    torch.manual_seed(0)
    module = Tower()
    regularizer = SpectralRegularizer(module, kernels=True, reduction="mean")
    depth, width = 2 / 4, 0.25
    stacks = {
        name: np.stack([b.get_parameter(name).detach().numpy() for b in module.blocks])
        for name in ("qkv.weight", "proj.weight", "conv.weight")
    }
    wanted = direct(stacks["proj.weight"], [depth, width, width], "mean")
    wanted += direct(stacks["conv.weight"], [depth, *[width] * 4], "mean")
    parts = np.split(stacks["qkv.weight"], 3, axis=1)  # queries, keys and values have frequencies of their own
    wanted += np.mean([direct(part, [depth, width, width], "mean") for part in parts])
    assert float(regularizer().detach()) == pytest.approx(wanted, rel=1e-5)
    assert [s.label for s in regularizer.stacks] == [
        "blocks.0.conv.weight (x4)",
        "blocks.0.proj.weight (x4)",
        "blocks.0.qkv.weight (x4)",
    ]


def test_stacks_are_told_by_names_and_shapes() -> None:
    class Stage(nn.Module):
        def __init__(self, width: int, depth: int) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    hierarchy = nn.Module()
    hierarchy.stages = nn.ModuleList([Stage(4, 2), Stage(8, 3)])
    assert [s.names for s in stacks_of_module(hierarchy)] == [
        tuple(f"stages.0.blocks.{i}.weight" for i in range(2)),
        tuple(f"stages.1.blocks.{i}.weight" for i in range(3)),
    ]
    experts = nn.Module()
    experts.layers = nn.ModuleList(nn.ModuleList(nn.Linear(4, 4) for _ in range(2)) for _ in range(12))
    assert [s.names[:2] for s in stacks_of_module(experts)] == [
        ("layers.0.0.weight", "layers.1.0.weight"),
        ("layers.0.1.weight", "layers.1.1.weight"),
    ]
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    assert [s.names for s in stacks_of_module(plain)] == [("0.weight",), ("2.weight",)]
    table = nn.Module()
    table.embed = nn.Embedding(9, 4)
    assert stacks_of_module(table)[0].axes == ((), (4,))


def test_a_graph_and_its_module_have_the_same_stacks() -> None:
    module = OnnxModule(DIGITS)
    plan = Session(DIGITS).plan(Request(ratio=0.5))
    by_graph = {s.names: s for s in stacks_of_plan(plan, module.weights())}
    by_name = {s.names: s for s in stacks_of_module(module)}
    assert by_graph == by_name and len(by_graph) == 4


def test_the_total_loss_is_equation_7() -> None:
    module = Tower()
    regularizer = SpectralRegularizer(module, lam=0.3, reduction="sum")
    task = torch.tensor(2.0)
    assert float(regularizer.total(task).detach()) == pytest.approx(
        0.7 * 2 + 0.3 * float(regularizer().detach()), rel=1e-6
    )
    now_and_then = SpectralRegularizer(module, lam=0.3, reduction="sum", every=3)
    found = [float(now_and_then.total(task).detach()) for _ in range(6)]
    assert found[1:3] == found[4:] == pytest.approx([1.4, 1.4])
    assert np.mean(found) == pytest.approx(0.7 * 2 + 0.3 * float(regularizer().detach()), rel=1e-5)


def test_added_gradients_are_those_of_the_total_loss() -> None:
    torch.manual_seed(0)
    module = Tower()

    def task() -> torch.Tensor:
        return sum(p.square().sum() for p in module.parameters())

    regularizer = SpectralRegularizer(module, lam=0.2, reduction="sum")
    regularizer.total(task()).backward()
    wanted = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    task().backward()
    regularizer.add_gradients()
    for parameter, gradient in zip(module.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_training_on_l_reg_moves_energy_down() -> None:
    torch.manual_seed(0)
    module = Tower()
    regularizer = SpectralRegularizer(module, lam=1.0, reduction="sum")
    before = regularizer.energy(0.5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        regularizer.total(torch.zeros(())).backward()
        optimizer.step()
    after = regularizer.energy(0.5)
    # Not by much: Eq. 6 leaves every coefficient alone that is a mean along one axis or more.
    assert all(after[name] > 1.2 * before[name] for name in before)


def test_energy_is_that_of_the_box_that_a_learngene_keeps() -> None:
    x = np.random.default_rng(0).standard_normal((4, 6, 8)).astype(np.float32)
    module = nn.Module()
    module.layers = nn.ModuleList(nn.Linear(8, 6) for _ in range(4))
    for layer, block in zip(module.layers, x, strict=True):
        layer.weight.data = torch.from_numpy(block)
    phi = scipy.fft.dctn(x.astype(np.float64), norm="ortho")
    (found,) = SpectralRegularizer(module).energy(0.5).values()
    assert found == pytest.approx((phi[:2, :3, :4] ** 2).sum() / (phi**2).sum(), rel=1e-6)
    (found,) = SpectralRegularizer(module).energy(0.5, "high").values()
    assert found == pytest.approx((phi[2:, 3:, 4:] ** 2).sum() / (phi**2).sum(), rel=1e-6)


def test_half_precision_is_summed_in_single() -> None:
    module = Tower().to(torch.bfloat16)
    found = SpectralRegularizer(module)()
    found.backward()
    assert found.dtype == torch.float32 and module.blocks[0].proj.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "wrong", [{"reduction": "median"}, {"gamma": 0}, {"gamma_depth": -1.0}, {"every": 0}, {"lam": 2}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(FrontError):
        SpectralRegularizer(Tower(), **wrong)
    with pytest.raises(FrontError, match="no weights"):
        SpectralRegularizer(nn.Linear(3, 1))


def test_one_stack_may_be_chosen_by_hand() -> None:
    module = Tower()
    chosen = ParameterStack(("blocks.1.proj.weight", "blocks.3.proj.weight"), (6, 6), ((), (6,)))
    regularizer = SpectralRegularizer(module, stacks=[chosen])
    regularizer().backward()
    assert [n for n, p in module.named_parameters() if p.grad is not None] == list(chosen.names)


# -- the examples of the documentation ------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "refinement.md").read_text()
EXAMPLES = dict(re.findall(r"^### (.+?)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


def test_examples_are_short() -> None:
    assert set(EXAMPLES) == {"In a loop of your own", "With Hugging Face's Trainer", "With Lightning"}
    assert all(sum(map(bool, code.splitlines())) <= 15 for code in EXAMPLES.values())


class Classifier(nn.Module):
    """Three equal layers, and what Trainer asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None):
        for layer in self.layers:
            x = torch.relu(layer(x))
        logits = self.head(x)
        return logits if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.parametrize(
    "name", few(EXAMPLES, lambda name: "rainer" not in name and "Lightning" not in name, mark="slow")
)
def test_the_examples_run_and_regularise(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example twice, with L_reg and without: with it the penalty ends lower."""
    monkeypatch.chdir(tmp_path)
    ends = []
    for lam in ("0.5", "0.0"):
        torch.manual_seed(0)
        model = Classifier()
        x, labels = torch.randn(64, 6), torch.randint(0, 3, (64,))
        items = [{"x": a, "labels": b} for a, b in zip(x, labels, strict=True)]
        loader = torch.utils.data.DataLoader(list(zip(x, labels, strict=True)), batch_size=16)
        code = EXAMPLES[name].replace("2e-3", lam)
        assert lam in code
        exec(compile(code, name, "exec"), {"model": model, "loader": loader, "items": items, "folder": str(tmp_path)})
        ends.append(float(SpectralRegularizer(model, reduction="sum")().detach()))
    assert ends[0] < 0.98 * ends[1]
