"""Weights into a model that was exported elsewhere: what goes where, and that it computes what `resize` computes."""

import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from golden import about, golden_file
from onnx import helper, numpy_helper
from small import DIGITS, feed, mlp, run, weights
from small_graphs import Net
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES
from zoo.export import export, write
from zoo.randomise import randomise

import front_onnx
from front_onnx.commands import main
from front_onnx.errors import FrontError
from front_onnx.roles.pieces import find_pieces

OTHER = {"torchscript": "dynamo", "dynamo": "torchscript"}
KEEPS_COMPUTED = ("expand", "where", "constant")  # roles of what exporters compute, which the target computed too


def _rows(moved: front_onnx.Moved) -> dict[tuple[str, str], str | None]:
    """(where, role) -> the source's first tensor."""
    found = {}
    for entry in moved.matches:
        found[entry.target.where, str(entry.target.role)] = entry.source.tensors[0] if entry.source else None
    return found


# Targets are those that the golden pairs have, so that nothing is exported by dynamo. The whole run has those of
# dynamo's sources whose architectures have no quick test, and some of TorchScript's.
INTO = [
    ("bert-classifier", "mixed"),
    ("roberta", "mixed"),
    ("opt", "grow"),
    ("resnet-basic", "mixed"),
    ("distilbert", "grow"),
    ("llama", "grow"),
    ("deit-distilled", "grow"),
    ("bert", "grow"),
    ("gpt2", "mixed"),
    ("t5-encoder", "mixed"),
    ("vit", "grow"),
    ("convnext", "grow"),
    ("mixer", "mixed"),
    ("resnet-bottleneck", "mixed"),
]


@pytest.mark.parametrize(
    ("name", "label", "exporter"),
    by_exporter(INTO, torchscript=INTO[:4], dynamo=[INTO[i] for i in (1, 5, 6, 13)]),
)
def test_into_another_exporters_graph(tmp_path: Path, zoo_cache: Path, name: str, label: str, exporter: str) -> None:
    """The target is what the other exporter writes of the same architecture: it has to compute what resize makes."""
    architecture = ARCHITECTURES[name]
    size = architecture.targets[label]
    source = export(architecture, architecture.source, exporter=exporter, cache_dir=zoo_cache)
    target = export(architecture, size, exporter=OTHER[exporter], cache_dir=zoo_cache)
    _assert_moved(source, target, architecture.request(size), tmp_path)


@pytest.mark.parametrize(
    ("name", "exporter"),
    few(
        [
            ("vit", "torchscript"),
            ("t5-encoder", "dynamo"),
            ("convnext", "dynamo"),
            ("bert", "torchscript"),
            ("gpt2", "dynamo"),
        ],
        2,
        mark="slow",
    ),
)
def test_into_another_exporters_golden_graph(tmp_path: Path, name: str, exporter: str) -> None:
    target = f"torch-{name}-{OTHER[exporter]}"
    source = golden_file(f"torch-{name}-{exporter}", tmp_path)
    _assert_moved(source, golden_file(target, tmp_path, "target"), about(target)["request"], tmp_path)


def _assert_moved(source: Path, target: Path, request: dict, tmp_path: Path) -> None:
    moved = front_onnx.init_into(source, target, output=tmp_path / "moved.onnx")
    assert moved.validation is not None and moved.validation.passed
    assert [e.target.role for e in moved.matches if e.source is None] == []
    resized = front_onnx.resize(source, output=tmp_path / "resized.onnx", **request).output
    given = feed(onnx.load(resized))
    for ours, theirs in zip(run(tmp_path / "moved.onnx", given), run(resized, given), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * max(1, np.abs(theirs).max())


@pytest.mark.parametrize(("name", "exporter"), by_exporter(["bert", "vit"], dynamo=["vit"], torchscript=["bert"]))
def test_into_a_model_that_was_never_trained(tmp_path: Path, zoo_cache: Path, name: str, exporter: str) -> None:
    """Exporters store its zeros and ones once for all layers: trained weights need tensors of their own."""
    trained, fresh = ARCHITECTURES[name], ARCHITECTURES[f"{name}-fresh"]
    size = fresh.targets["mixed"]
    source = export(trained, trained.source, exporter="torchscript", cache_dir=zoo_cache)
    target = export(fresh, size, exporter=exporter, cache_dir=zoo_cache)
    moved = front_onnx.init_into(source, target, output=tmp_path / "moved.onnx")
    kept = {str(e.target.role) for e in moved.matches if e.source is None}
    unread = {str(piece.role) for piece in moved.unused}
    resized = front_onnx.resize(source, output=tmp_path / "resized.onnx", **trained.request(size)).output
    given = feed(onnx.load(resized))
    ours, theirs = run(tmp_path / "moved.onnx", given), run(resized, given)
    if exporter == "torchscript":
        assert not kept and not unread
        for one, other in zip(ours, theirs, strict=True):
            assert np.abs(one - other).max() < 1e-4 * max(1, np.abs(other).max())
    biases = [e.target.tensors for e in moved.matches if e.target.role.bias and e.source is not None]
    held = [tensor for tensors in biases for tensor in tensors]
    assert len(held) > 10 and len(set(held)) >= len(held) - 4  # those of one fused tensor


def test_a_model_into_itself_changes_nothing(tmp_path: Path) -> None:
    front_onnx.init_into(DIGITS, DIGITS, output=tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == DIGITS.read_bytes()


def test_a_model_that_was_never_trained_into_itself_changes_nothing(tmp_path: Path, zoo_cache: Path) -> None:
    architecture = ARCHITECTURES["bert-fresh"]
    source = export(architecture, architecture.source, exporter="torchscript", cache_dir=zoo_cache)
    front_onnx.init_into(source, source, output=tmp_path / "same.onnx")
    assert onnx.load(tmp_path / "same.onnx") == onnx.load(source)


def test_pieces_are_what_they_were_read_as() -> None:
    """Writing a piece and reading it again gives it back, and nothing else of the tensor changes."""
    structure = front_onnx.inspect(DIGITS)
    pieces = find_pieces(structure)
    assert {"query", "key", "value", "output", "ffn in", "ffn out"} <= {str(piece.role) for piece in pieces}
    rng = np.random.default_rng(0)
    for piece in pieces:
        array = structure.graph.array(piece.tensors[0])
        values = rng.standard_normal(piece.read(array).shape).astype(array.dtype)
        written = piece.write(array, values)
        assert written.shape == array.shape
        assert np.array_equal(piece.read(written), values)
        assert (written != array).sum() <= values.size


# -- other architectures: the rows that have to be there --------------------------------------------------------------

BERT_TO_GPT2 = {
    ("outside 0", "token table"): "embeddings.word_embeddings.weight",
    ("outside 0", "position table"): "embeddings.position_embeddings.weight",
    ("blocks 1", "norm gain before attention"): "encoder.layer.0.output.LayerNorm.weight",
    ("blocks 1", "norm bias before attention"): "encoder.layer.0.output.LayerNorm.bias",
    ("blocks 1", "query"): "query",
    ("blocks 1", "key"): "key",
    ("blocks 1", "value"): "value",
    ("blocks 1", "query bias"): "encoder.layer.0.attention.self.query.bias",
    ("blocks 1", "key bias"): "encoder.layer.0.attention.self.key.bias",
    ("blocks 1", "value bias"): "encoder.layer.0.attention.self.value.bias",
    ("blocks 1", "output"): "attention.output",
    ("blocks 1", "output bias"): "encoder.layer.0.attention.output.dense.bias",
    ("blocks 1", "norm gain before feed-forward"): "encoder.layer.0.attention.output.LayerNorm.weight",
    ("blocks 1", "norm bias before feed-forward"): "encoder.layer.0.attention.output.LayerNorm.bias",
    ("blocks 1", "ffn in"): "intermediate",
    ("blocks 1", "ffn in bias"): "encoder.layer.0.intermediate.dense.bias",
    ("blocks 1", "ffn out"): "output.dense",
    ("blocks 1", "ffn out bias"): "encoder.layer.0.output.dense.bias",
    ("outside 1", "norm gain"): None,
    ("outside 1", "norm bias"): None,
}
GPT2_TO_BERT = {
    ("outside 0", "token table"): "transformer.wte.weight",
    ("outside 0", "type table"): None,
    ("outside 0", "position table"): "transformer.wpe.weight",
    ("outside 0", "norm gain before attention"): None,
    ("outside 0", "norm bias before attention"): None,
    ("blocks 1", "query"): "transformer.h.0.attn.c_attn.weight",
    ("blocks 1", "query bias"): "transformer.h.0.attn.c_attn.bias",
    ("blocks 1", "key"): "transformer.h.0.attn.c_attn.weight",
    ("blocks 1", "key bias"): "transformer.h.0.attn.c_attn.bias",
    ("blocks 1", "value"): "transformer.h.0.attn.c_attn.weight",
    ("blocks 1", "value bias"): "transformer.h.0.attn.c_attn.bias",
    ("blocks 1", "output"): "transformer.h.0.attn.c_proj.weight",
    ("blocks 1", "output bias"): "transformer.h.0.attn.c_proj.bias",
    ("blocks 1", "norm gain before feed-forward"): "transformer.h.0.ln_2.weight",
    ("blocks 1", "norm bias before feed-forward"): "transformer.h.0.ln_2.bias",
    ("blocks 1", "ffn in"): "transformer.h.0.mlp.c_fc.weight",
    ("blocks 1", "ffn in bias"): "transformer.h.0.mlp.c_fc.bias",
    ("blocks 1", "ffn out"): "transformer.h.0.mlp.c_proj.weight",
    ("blocks 1", "ffn out bias"): "transformer.h.0.mlp.c_proj.bias",
    ("blocks 1", "norm gain before attention"): "transformer.h.0.ln_1.weight",
    ("blocks 1", "norm bias before attention"): "transformer.h.0.ln_1.bias",
}
NO_HEAD = {("outside 1", "weight"), ("outside 1", "weight bias")}  # a pooler is no output layer over a vocabulary


def _part(path: Path, tensor: str) -> str:
    """The last parts of the module whose node reads a tensor that torch renamed, else its name."""
    if not tensor.startswith("onnx::"):
        return tensor
    node = next(n for n in onnx.load(path).graph.node if tensor in n.input)
    return node.name.rsplit("/", 1)[0].replace("/", ".")


def _fits(found: str | None, wanted: str | None, path: Path) -> bool:
    if found is None or wanted is None:
        return found is wanted
    place = _part(path, found)
    return place == wanted or place.removesuffix(".dense").endswith(wanted.removesuffix(".dense"))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [(("bert", "gpt2"), BERT_TO_GPT2), (("gpt2", "bert"), GPT2_TO_BERT)],
    ids=["to gpt2", "to bert"],
)
def test_encoder_and_decoder(tmp_path: Path, zoo_cache: Path, names: tuple[str, str], wanted: dict) -> None:
    source, target = (
        export(ARCHITECTURES[name], size, exporter="torchscript", cache_dir=zoo_cache)
        for name, size in (
            (names[0], ARCHITECTURES[names[0]].source),
            (names[1], ARCHITECTURES[names[1]].targets["mixed"]),
        )
    )
    moved = front_onnx.init_into(source, target, output=tmp_path / "moved.onnx")
    rows = {key: found for key, found in _rows(moved).items() if key not in NO_HEAD}
    assert rows.keys() == wanted.keys()
    wrong = {key: (rows[key], wanted[key]) for key in wanted if not _fits(rows[key], wanted[key], source)}
    assert wrong == {}
    own, new = weights(onnx.load(target)), weights(onnx.load(moved.output))
    for (where, role), name in rows.items():
        entry = next(e for e in moved.matches if (e.target.where, str(e.target.role)) == (where, role))
        same = [np.array_equal(entry.target.read(own[t]), entry.target.read(new[t])) for t in entry.target.tensors]
        assert all(same) == (name is None), (where, role)


def _vit(folder: Path, name: str, width: int, depth: int, patch: int, classes: int, parallel: bool = False) -> Path:
    from timm.models.vision_transformer import ParallelScalingBlock, VisionTransformer  # after the zoo's shim

    options = {"block_fn": ParallelScalingBlock} if parallel else {}
    model = VisionTransformer(
        img_size=32,
        patch_size=patch,
        num_classes=classes,
        embed_dim=width,
        depth=depth,
        num_heads=width // 8,
        **options,
    )
    randomise(model, seed=width)
    image = {"x": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
    path = folder / f"{name}.onnx"
    write(model.eval(), image, path, exporter="torchscript", opset=None, outputs=("y",), axes={0: "batch"})
    return path


@pytest.mark.export
def test_standard_into_parallel_attention(tmp_path: Path) -> None:
    """One norm for attention and feed-forward, one weight for what leads into both; other patches and classes."""
    source = _vit(tmp_path, "standard", 32, 4, 8, 7)
    target = _vit(tmp_path, "parallel", 24, 3, 4, 11, parallel=True)
    moved = front_onnx.init_into(source, target, output=tmp_path / "moved.onnx")
    assert moved.validation is not None and moved.validation.passed
    rows = {key: found and _part(source, found) for key, found in _rows(moved).items()}
    block = {role: name for (where, role), name in rows.items() if where == "blocks 1"}
    assert block == {
        "norm gain before attention and feed-forward": None,
        "norm bias before attention and feed-forward": None,
        **dict.fromkeys(("query", "key", "value"), ".blocks.blocks.0.attn.qkv"),
        **{f"{role} bias": "blocks.0.attn.qkv.bias" for role in ("query", "key", "value")},
        "output": ".blocks.blocks.0.attn.proj",
        "output bias": "blocks.0.attn.proj.bias",
        "ffn in": ".blocks.blocks.0.mlp.fc1",
        "ffn in bias": "blocks.0.mlp.fc1.bias",
        "ffn out": ".blocks.blocks.0.mlp.fc2",
        "ffn out bias": "blocks.0.mlp.fc2.bias",
    }
    others = {key: name for key, name in rows.items() if key[0] != "blocks 1"}
    assert others == {
        ("outside 0", "conv 4x4 weight"): None,
        ("outside 0", "conv 4x4 weight bias"): None,
        ("outside 0", "concat 0"): "cls_token",
        ("outside 0", "add"): None,
        ("outside 1", "norm gain"): "norm.weight",
        ("outside 1", "norm bias"): "norm.bias",
        ("outside 1", "weight"): None,
        ("outside 1", "weight bias"): None,
    }


@pytest.mark.export
def test_other_patches_and_classes_keep_their_own(tmp_path: Path) -> None:
    source, target = _vit(tmp_path, "a", 32, 4, 8, 7), _vit(tmp_path, "b", 24, 3, 4, 11)
    moved = front_onnx.init_into(source, target, output=tmp_path / "moved.onnx")
    kept = {str(entry.target.role): entry.reason for entry in moved.matches if entry.source is None}
    assert kept.keys() == {"conv 4x4 weight", "conv 4x4 weight bias", "add", "weight", "weight bias"}
    assert "classes 7 in the source, 11 in the target" in kept["weight"]
    assert all(entry.source is not None for entry in moved.matches if entry.target.where == "blocks 1")


# -- by hand, and from the command line -------------------------------------------------------------------------------


def _front(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="front-onnx", env={"COLUMNS": "160"})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    onnx.save(mlp(depth=5, width=8), tmp_path / "source.onnx")
    onnx.save(mlp(depth=3, width=6), tmp_path / "target.onnx")
    return tmp_path / "source.onnx", tmp_path / "target.onnx"


def test_a_dry_run_shows_the_matches(pair: tuple[Path, Path]) -> None:
    told = _front("init", "--from", pair[0], "--into", pair[1], "--dry-run")
    assert told.exit_code == 0 and "6 of 6 matched" in told.output and "nothing was written" in told.output
    rows = json.loads(_front("init", "--from", pair[0], "--into", pair[1], "--dry-run", "--json").output)["matches"]
    assert [(row["target"], row["source"], row["blocks"]) for row in rows if row["where"] == "blocks 1"] == [
        ("layers.0.weight", "layers.0.weight", 3),
        ("layers.0.bias", "layers.0.bias", 3),
    ]
    assert len([*pair[0].parent.iterdir()]) == 2


def test_a_map_overrides(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"head.weight": None, "layers.0.bias": "layers.0.weight"}))
    given = ("init", "--from", pair[0], "--into", pair[1], "--map", tmp_path / "map.json", "--json")
    rows = {row["target"]: row for row in json.loads(_front(*given).output)["matches"]}
    assert rows["head.weight"]["source"] is None and rows["head.weight"]["reason"] == "left out by hand"
    assert rows["layers.0.bias"]["source"] is None and "2 axes" in rows["layers.0.bias"]["reason"]
    own, new = weights(onnx.load(pair[1])), weights(onnx.load(tmp_path / "target-init.onnx"))
    changed = {name for name in own if not np.array_equal(own[name], new[name])}
    assert changed == own.keys() - {"head.weight", *(f"layers.{i}.bias" for i in range(3))}


def test_from_a_learngene(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gene = front_onnx.extract(pair[0], ratio=0.5, output=tmp_path / "gene.safetensors").output
    front_onnx.init_into(gene, pair[1], output=tmp_path / "moved.onnx")
    front_onnx.resize(pair[0], depth=3, width=6, ratio=0.5, output=tmp_path / "resized.onnx")
    ours, theirs = (weights(onnx.load(tmp_path / name)) for name in ("moved.onnx", "resized.onnx"))
    assert all(np.abs(ours[name] - theirs[name]).max() < 1e-5 for name in theirs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("init",), "name one source"),
        (("init", "a.safetensors", "--from", "b.onnx"), "name one source"),
        (("init", "--from", "source.onnx"), "--from goes with --into"),
        (("init", "--from", "source.onnx", "--into", "target.onnx", "--depth", 2), "--depth says nothing with --into"),
        (("init", "--from", "source.onnx", "--into", "target.onnx", "--map", "none.json"), "cannot be read"),
        (("init", "--from", "source.onnx", "--into", "target.onnx", "--map", "source.onnx"), "no JSON"),
        (("init", "--from", "source.onnx", "--into", "target.onnx", "-o", "target.onnx"), "the output is the input"),
    ],
)
def test_wrong_requests_say_so(pair, monkeypatch: pytest.MonkeyPatch, words: tuple, message: str) -> None:
    monkeypatch.chdir(pair[0].parent)
    told = _front(*words)
    assert told.exit_code in (1, 2) and message in told.stderr and "bug" not in told.stderr


def test_models_with_nothing_in_common(pair: tuple[Path, Path]) -> None:
    with pytest.raises(FrontError, match="nothing of the source goes into this target"):
        front_onnx.init_into(pair[0], DIGITS, dry_run=True)


def _feed_forward(width: int, inner: int, depth: int = 3) -> onnx.ModelProto:
    net = Net(random.Random(width))

    def linear(x: str, name: str, *sizes: int) -> str:
        product = net.add("MatMul", x, net.weight(*sizes, name=f"{name}.weight"))
        return net.add("Add", product, net.weight(sizes[1], name=f"{name}.bias"))

    x = linear(net.input(["batch", 5], name="x"), "embed", 5, width)
    for i in range(depth):
        hidden = net.add("Relu", linear(x, f"layers.{i}.up", width, inner))
        x = net.add("Add", x, linear(hidden, f"layers.{i}.down", inner, width))
    linear(x, "head", width, 4)
    return net.model()


def test_a_size_is_what_most_matches_need() -> None:
    """One that is asked for by hand, and would take another size, is left out, and not all the others."""
    by_hand = {"layers.0.up.bias": "layers.0.down.bias"}
    moved = front_onnx.init_into(_feed_forward(8, 16), _feed_forward(6, 12), mapping=by_hand, dry_run=True)
    reasons = {str(entry.target.role): entry.reason for entry in moved.matches if entry.source is None}
    assert reasons == {"ffn in bias": "hidden 8 would have to be 12 here and 6 elsewhere"}


def _two_layers(zeros: bool) -> onnx.ModelProto:
    """Two layers, whose biases are one tensor of zeros or two of numbers."""
    rng = np.random.default_rng(zeros)
    arrays = {name: rng.standard_normal((6, 6)) for name in ("w0", "w1")}
    biases = ["zeros", "zeros"] if zeros else ["b0", "b1"]
    arrays |= {name: np.zeros(6) if zeros else rng.standard_normal(6) for name in biases}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["p0"], "/0/MatMul"),
        helper.make_node("Add", ["p0", biases[0]], ["s0"], "/0/Add"),
        helper.make_node("Relu", ["s0"], ["r0"], "/0/Relu"),
        helper.make_node("MatMul", ["r0", "w1"], ["p1"], "/1/MatMul"),
        helper.make_node("Add", ["p1", biases[1]], ["y"], "/1/Add"),
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 6]) for name in "xy")
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "two", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_zeros_that_two_layers_share_become_two_biases(tmp_path: Path) -> None:
    trained = _two_layers(zeros=False)
    moved = front_onnx.init_into(trained, _two_layers(zeros=True), output=tmp_path / "moved.onnx")
    assert all(entry.source is not None for entry in moved.matches)
    given = feed(trained)
    for ours, theirs in zip(run(tmp_path / "moved.onnx", given), run(trained, given), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# -- what nothing tells apart ------------------------------------------------------------------------------------------


class Twins(torch.nn.Module):
    """Two convolutions side by side between blocks, which nothing but their names tells apart, and a shortcut."""

    def __init__(self, depth: int, width: int, swapped: bool) -> None:
        super().__init__()
        conv, self.swapped = torch.nn.Conv2d, swapped
        self.stem = conv(3, width, 1)
        self.left, self.right = (conv(width, width, 1) for _ in range(2))
        self.one, self.two, self.short = (conv(width, width, 1) for _ in range(3))
        self.blocks = torch.nn.ModuleList([conv(width, width, 3, padding=1) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.stem(x))
        sides = [torch.relu(part(x)) for part in ((self.right, self.left) if self.swapped else (self.left, self.right))]
        x = torch.tanh(sides[0] + sides[1])
        short = self.short(x) if self.swapped else None
        y = self.two(torch.relu(self.one(x)))
        x = torch.tanh(y + (self.short(x) if short is None else short))
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return x


@pytest.mark.export
def test_the_order_of_the_file_matches_nothing(tmp_path: Path) -> None:
    """What data flow tells apart is found in whatever order it stands; what it does not is left alone, but by hand."""
    paths = []
    for name, depth, width, swapped in (("source", 3, 8, False), ("target", 4, 12, True)):
        module = Twins(depth, width, swapped)
        randomise(module, seed=width)
        image = {"x": torch.randn(2, 3, 4, 4)}
        paths.append(tmp_path / f"{name}.onnx")
        write(module.eval(), image, paths[-1], exporter="torchscript", opset=None, outputs=("y",), axes={0: "batch"})
    moved = front_onnx.init_into(*paths, dry_run=True)
    found = {e.target.tensors[0]: e.source.tensors[0] if e.source else e.reason for e in moved.matches}
    apart = "nothing tells it from others of its role"
    assert {name for name, source in found.items() if source == apart} == {
        f"{side}.{kind}" for side in ("left", "right") for kind in ("weight", "bias")
    }
    assert all(source in (name, apart) for name, source in found.items())
    chosen = {"left.weight": "left.weight", "right.weight": "right.weight"}
    moved = front_onnx.init_into(*paths, output=tmp_path / "moved.onnx", mapping=chosen)
    resized = front_onnx.resize(paths[0], depth=4, width_mult=1.5, output=tmp_path / "resized.onnx").output
    ours, theirs = weights(onnx.load(moved.output)), weights(onnx.load(resized))
    for name in found.keys() - {"left.bias", "right.bias"}:
        assert np.array_equal(ours[name], theirs[name]), name
