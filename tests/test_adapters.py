"""Weights into a PyTorch module of any size: every tensor is what `resize` wrote, and the module computes the same."""

import itertools
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from front_onnx.adapters.fingerprint import Fingerprint
from front_onnx.adapters.torch import initialize, load_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from small import run
from tiers import few
from zoo.export import minilm
from zoo.randomise import randomise

import front_onnx
from front_onnx.errors import FrontError


def _bert(layers: int, width: int) -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            num_hidden_layers=layers, hidden_size=width, num_attention_heads=width // 32, intermediate_size=4 * width
        )
    ).eval()


def _by_parameter(path: Path) -> dict[str, np.ndarray]:
    """The weights of a file that torch wrote, by the names of the module's parameters."""
    model = onnx.load(path)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {name: array for name, array in arrays.items() if not name.startswith("onnx::")}
    for node in model.graph.node:
        for name in node.input:
            if name.startswith("onnx::MatMul") and name in arrays:
                found[".".join(node.name.split("/")[1:-1]) + ".weight"] = arrays[name].T
    return found


def test_a_smaller_bert_holds_what_resize_wrote(tmp_path: Path, zoo_cache: Path) -> None:
    """Trained weights: all-MiniLM-L6-v2 into 3 layers, 192 wide."""
    source = minilm(cache_dir=zoo_cache)
    resized = front_onnx.resize(source, depth=3, width=192, output=tmp_path / "resized.onnx").output
    module = _bert(3, 192)
    ids = torch.randint(1000, 20000, (2, 7), generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    report = initialize(module, inputs, source)
    assert not report.partly and not report.kept and not report.unused
    wanted, state = _by_parameter(resized), {n: p.detach().numpy() for n, p in module.named_parameters()}
    assert wanted.keys() >= state.keys()
    for name, array in state.items():
        assert np.array_equal(array, wanted[name]), name
    other = _bert(3, 192)
    with pytest.raises(FrontError, match="other sizes than the module"):
        load_weights(other, source)
    assert report.resized and load_weights(other, resized).set == report.set
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    outputs = run(resized, {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        assert np.abs(module(**inputs).last_hidden_state.numpy() - outputs[0]).max() < 1e-4


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.after = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, w // 4, 4).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, w))
        return x + self.mlp(self.after(x))


class Vit(nn.Module):
    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, width, 4, 4), nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, 5, width))
        self.blocks = nn.Sequential(*(Attention(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Residual(nn.Module):
    def __init__(self, before: int, width: int, bias: bool) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.one = nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=bias), nn.BatchNorm2d(width))
        self.other = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=bias), nn.BatchNorm2d(width))
        self.short = nn.Identity()
        if before != width:
            self.short = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=bias), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.short(x) + self.other(torch.relu(self.one(x))))


def _resnet(depths: tuple[int, ...], width: int, bias: bool = False) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width), nn.ReLU()]
    for stage, depth in enumerate(depths):
        ends = [width * 2**stage, width * 2 ** (stage + 1)]
        layers.append(nn.Sequential(*(Residual(ends[i > 0], ends[1], bias) for i in range(depth))))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width * 2 ** len(depths), 7))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...], dict]] = {
    "vit": (lambda: Vit(4, 16), lambda: Vit(6, 24), (2, 3, 8, 8), {"depth": 6, "width": 24}),
    "resnet": (
        lambda: _resnet((3, 3), 8),
        lambda: _resnet((2, 4), 12),
        (2, 3, 16, 16),
        {"depth": "2,4", "width_mult": 1.5},
    ),
    "resnet with biases": (
        lambda: _resnet((3, 3), 8, bias=True),
        lambda: _resnet((4, 3), 4, bias=True),
        (2, 3, 16, 16),
        {"depth": "4,3", "width_mult": 0.5},
    ),
}


def _written(module: nn.Module, inputs: torch.Tensor, path: Path, kind: str) -> Path:
    options = {"training": torch.onnx.TrainingMode.PRESERVE} if kind == "unfolded" else {}
    torch.onnx.export(module.eval(), (inputs,), str(path), dynamo=kind == "dynamo", **options)
    return path


# A token that one exporter repeats over a batch of fixed size is another tensor for the other: one exporter for both.
# The dynamo exporter always folds batch norms.
VIT = [("vit", "folded", "torchscript"), ("vit", "unfolded", "torchscript"), ("vit", "dynamo", "dynamo")]
RESNETS = [
    (name, *ways)
    for name in ("resnet", "resnet with biases")
    for ways in itertools.product(("folded", "unfolded", "dynamo"), ("torchscript", "dynamo"))
    if ways != ("unfolded", "dynamo")
]
# Every kind of source, every exporter that finds the weights, and one of each found by the other.
KINDS = [
    *VIT[:2],
    ("resnet", "unfolded", "torchscript"),
    ("resnet", "dynamo", "torchscript"),
    ("resnet with biases", "folded", "dynamo"),
    ("resnet with biases", "unfolded", "torchscript"),
]


@pytest.mark.export
@pytest.mark.parametrize(("name", "kind", "exporter"), few([*VIT, *RESNETS], KINDS))
def test_a_module_computes_what_the_resized_model_does(tmp_path: Path, name: str, kind: str, exporter: str) -> None:
    """Whether the source's exporter folded batch norms or not, whichever exporter finds the weights."""
    make, target, shape, request = CASES[name]
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    trained = make()
    randomise(trained, seed=1)
    source = _written(trained, inputs, tmp_path / "source.onnx", kind)
    resized = front_onnx.resize(source, output=tmp_path / "resized.onnx", **request).output
    module = target().eval()
    report = initialize(module, inputs, source, exporter=exporter)
    assert not report.partly and not report.kept, str(report)
    (wanted,) = run(resized, {onnx.load(resized).graph.input[0].name: inputs.numpy()})
    with torch.no_grad():
        assert np.abs(module(inputs).numpy() - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())


@pytest.mark.export
def test_what_has_no_counterpart_is_kept_and_named(tmp_path: Path) -> None:
    inputs = torch.randn(2, 3, 8, 8)
    source = _written(Vit(3, 16), inputs, tmp_path / "source.onnx", "folded")
    module = Vit(3, 16)
    module.head, module.patch = nn.Linear(16, 9), nn.Conv2d(3, 16, 4, 4, bias=False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.train()
    report = initialize(module, inputs, source)
    assert module.training
    assert report.kept.keys() == {"head.weight", "head.bias"}
    assert "classes 7 in the source, 9 in the target" in report.kept["head.weight"]
    assert "kept head.weight" in str(report)
    same = {name for name, tensor in module.state_dict().items() if torch.equal(tensor, before[name])}
    assert {"head.weight", "head.bias"} <= same and "patch.weight" not in same


@pytest.mark.export
def test_from_a_learngene(tmp_path: Path) -> None:
    inputs = torch.randn(2, 3, 8, 8)
    source = _written(Vit(4, 16), inputs, tmp_path / "source.onnx", "folded")
    gene = front_onnx.extract(source, ratio=0.5, output=tmp_path / "gene.safetensors").output
    made = front_onnx.init(gene, depth=2, width=8, output=tmp_path / "made.onnx").output
    module = Vit(2, 8)
    assert not initialize(module, inputs, gene).kept
    (wanted,) = run(made, {onnx.load(made).graph.input[0].name: inputs.numpy()})
    with torch.no_grad():
        assert np.abs(module.eval()(inputs).numpy() - wanted).max() < 1e-4


class Strange(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.export
@pytest.mark.parametrize(
    ("make", "exporter", "message"),
    [
        (Strange, "torchscript", "no floating-point parameters"),
        (lambda: Vit(2, 8).half(), "torchscript", "not float32"),
        (lambda: Vit(2, 8), "tensorflow", "no such exporter"),
        (lambda: nn.Linear(5, 5), "torchscript", "cannot be exported"),
    ],
)
def test_wrong_requests_say_so(tmp_path: Path, make, exporter: str, message: str) -> None:
    inputs = torch.randn(2, 3, 8, 8)
    source = _written(Vit(3, 16), inputs, tmp_path / "source.onnx", "folded")
    module = make()
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(FrontError, match=message):
        initialize(module, inputs, source, exporter=exporter)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("framework", few(["keras", "flax"], 1, mark="slow"))
def test_a_missing_framework_says_what_to_install(framework: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{framework!r}] = None\n"
        "from front_onnx.errors import FrontError\n"
        f"try:\n    import front_onnx.adapters.{framework}\n"
        "except FrontError as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "this adapter needs" in told and "pip install" in told


@pytest.mark.slow  # test_core.py does the same for what is imported
def test_the_core_never_imports_torch() -> None:
    code = "import sys, front_onnx, front_onnx.commands; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_folder_is_installed() -> None:
    """The list of packages is written by hand, for `adapters` is not where it is installed."""
    root = Path(front_onnx.__file__).parents[1]
    told = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    core = {path.parent.relative_to(root) for path in (root / "front_onnx").rglob("__init__.py")}
    others = {path.parent.relative_to(root) for path in (root / "adapters").rglob("__init__.py")}
    homes = {"front_onnx." + ".".join(folder.parts): folder.as_posix() for folder in others}
    assert sorted(told["packages"]) == sorted([".".join(folder.parts) for folder in core] + [*homes])
    assert told["package-dir"] == homes


@given(st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_every_element_is_found_again(shapes: list[list[int]], seed: int) -> None:
    """Joined, shuffled and cut: each element says which one it is; others are none."""
    fingerprint = Fingerprint({str(i): tuple(shape) for i, shape in enumerate(shapes)})
    codes = [fingerprint.codes(str(i)) for i in range(len(shapes))]
    assert [code.shape for code in codes] == [tuple(shape) for shape in shapes]
    flat = np.concatenate([code.reshape(-1) for code in codes])
    assert len(np.unique(flat)) == len(flat) == fingerprint.total and (flat > 0).all() and (flat < 1).all()
    order = np.random.default_rng(seed).permutation(len(flat))
    assert np.array_equal(fingerprint.decode(flat[order]), order)
    assert (fingerprint.decode(np.array([0, 1, -0.3, 2, np.nan, np.inf], np.float32)) == -1).all()
    assert fingerprint.owners(flat) == set(fingerprint.names)


class Placed(nn.Module):
    """Ids with a table of positions, of which an export holds only what its inputs ask for."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.ids, self.pos = form, nn.Embedding(20, 8), nn.Embedding(64, 8)
        self.layer, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        places = self.pos(torch.arange(length)) if self.form == "looked up" else self.pos.weight[:length]
        return self.out(torch.relu(self.layer(self.ids(ids) + places)))


@pytest.mark.export
@pytest.mark.parametrize("form", ["looked up", "cut"])
@pytest.mark.parametrize("free", [True, False])
def test_a_table_of_positions_that_an_export_holds_in_part_is_set(tmp_path: Path, form: str, free: bool) -> None:
    source, module, ids = Placed(form).eval(), Placed(form).eval(), torch.randint(0, 20, (2, 9))
    path = tmp_path / "source.onnx"
    sizes = {"ids": {0: "batch", 1: "length"}} if free else {}
    torch.onnx.export(source, (ids,), path, dynamo=False, input_names=["ids"], dynamic_axes=sizes)
    report = load_weights(module, path, ids)
    held = {tensor.name for tensor in onnx.load(path).graph.initializer}
    if "pos.weight" in held:
        assert not report.kept and not report.partly
        assert all(torch.equal(value, module.state_dict()[name]) for name, value in source.state_dict().items())
    else:  # the file itself has only the first places
        with pytest.warns(UserWarning, match=r"pos\.weight not set"):
            load_weights(module, path, ids)
