"""Folders: all files of a model are resized alike, configurations say the sizes that the graphs have now."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from golden import golden
from small import mlp, run, weights
from two_branches import merged, part
from zoo import shim  # noqa: F401 - before anything that imports torchvision

import front_onnx
from front_onnx.commands import main
from front_onnx.errors import FrontError, RequestError
from front_onnx.folders.configs import DEPTH, HEAD_DIM, HEADS, INNER, KV_HEADS, WIDTH, Resized, changed_config
from front_onnx.folders.resizing import resize_folder

RNG = np.random.default_rng(0)
ENCODER = """
    <ir_version: 8, opset_import: ["" : 17]>
    encoder (float[batch, 5] x) => (float[batch, 8] last_hidden_state) {
        h0 = MatMul(x, encoder_D_stem)
        a0 = MatMul(h0, encoder_D_layer_D_0_D_up)
        b0 = Relu(a0)
        c0 = MatMul(b0, encoder_D_layer_D_0_D_down)
        h1 = Add(h0, c0)
        a1 = MatMul(h1, encoder_D_layer_D_1_D_up)
        b1 = Relu(a1)
        c1 = MatMul(b1, encoder_D_layer_D_1_D_down)
        last_hidden_state = Add(h1, c1)
    }
"""
DECODER = """
    <ir_version: 8, opset_import: ["" : 17]>
    decoder (float[batch, 8] encoder_hidden_states, float[batch, 3] z) => (float[batch, 4] logits) {
        g0 = MatMul(z, decoder_D_stem)
        i0 = MatMul(encoder_hidden_states, decoder_D_layer_D_0_D_read)
        j0 = Relu(i0)
        k0 = MatMul(j0, decoder_D_layer_D_0_D_write)
        m0 = Add(g0, k0)
        d0 = MatMul(m0, decoder_D_layer_D_0_D_up)
        e0 = Relu(d0)
        f0 = MatMul(e0, decoder_D_layer_D_0_D_down)
        g1 = Add(g0, f0)
        i1 = MatMul(encoder_hidden_states, decoder_D_layer_D_1_D_read)
        j1 = Relu(i1)
        k1 = MatMul(j1, decoder_D_layer_D_1_D_write)
        m1 = Add(g1, k1)
        d1 = MatMul(m1, decoder_D_layer_D_1_D_up)
        e1 = Relu(d1)
        f1 = MatMul(e1, decoder_D_layer_D_1_D_down)
        g2 = Add(g1, f1)
        logits = MatMul(g2, decoder_D_head)
    }
"""
STEMS = {"encoder": (5, 8), "decoder": (3, 8)}
SHAPES = {"up": (8, 16), "down": (16, 8), "read": (8, 16), "write": (16, 8), "head": (8, 4)}


def filled(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)  # which takes no names with dots
    for node in model.graph.node:
        node.input[:] = [name.replace("_D_", ".") for name in node.input]
    made = {name for node in model.graph.node for name in node.output} | {info.name for info in model.graph.input}
    for name in dict.fromkeys(name for node in model.graph.node for name in node.input if name not in made):
        tower, kind = name.partition(".")[0], name.rpartition(".")[2]
        shape = STEMS[tower] if kind == "stem" else SHAPES[kind]
        model.graph.initializer.append(onnx.numpy_helper.from_array(RNG.normal(0, 0.5, shape).astype(np.float32), name))
    return model


CONFIG = {"d_model": 8, "d_ff": 16, "num_layers": 2, "num_decoder_layers": 2, "vocab_size": 4, "tied": True}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with an encoder, a decoder, and what goes with them."""
    folder = tmp_path / "two"
    (folder / "onnx").mkdir(parents=True)
    onnx.save(filled(ENCODER), folder / "onnx" / "encoder_model.onnx")
    onnx.save(filled(DECODER), folder / "onnx" / "decoder_model.onnx")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / ".git").mkdir()
    (folder / ".git" / "index").write_bytes(b"")
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("request_", [{"depth": 3, "width": 6}, {"depth": "encoder=1,decoder=3", "width_mult": 2}])
def test_files_fit_each_other_as_one_graph_of_both_does(two: Path, tmp_path: Path, request_: dict[str, Any]) -> None:
    made = resize_folder(two, output=tmp_path / "new", **request_)
    assert files(tmp_path / "new") == {
        "onnx/encoder_model.onnx",
        "onnx/decoder_model.onnx",
        "config.json",
        "tokenizer.json",
    }
    assert set(map(str, made.left)) == {"model.safetensors"}
    parts = [onnx.load(two / "onnx" / f"{name}_model.onnx") for name in ("encoder", "decoder")]
    whole = onnx.compose.merge_models(*parts, io_map=[("last_hidden_state", "encoder_hidden_states")])
    depth = request_["depth"] if isinstance(request_["depth"], str) else f"encoder={request_['depth']},decoder=3"
    at_once = front_onnx.resize(whole, **{**request_, "depth": depth}).model
    assert isinstance(at_once, onnx.ModelProto)
    x, z = (RNG.standard_normal((2, size)).astype(np.float32) for size in (5, 3))
    (state,) = run(tmp_path / "new" / "onnx" / "encoder_model.onnx", {"x": x})
    (apart,) = run(tmp_path / "new" / "onnx" / "decoder_model.onnx", {"encoder_hidden_states": state, "z": z})
    (together,) = run(at_once, {"x": x, "z": z})
    np.testing.assert_allclose(apart, together, rtol=1e-4, atol=1e-5)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    deep = (3, 3) if request_["depth"] == 3 else (1, 3)
    wide = 6 if "width" in request_ else 16
    assert config == {**CONFIG, "d_model": wide, "d_ff": 2 * wide, "num_layers": deep[0], "num_decoder_layers": deep[1]}


def test_from_the_command_line(two: Path, tmp_path: Path) -> None:
    def resize(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["resize", str(two), "--depth", "1", *arguments])

    before = files(tmp_path)
    done = resize("--dry-run")
    assert done.exit_code == 0 and "num_layers 2 -> 1" in done.output and files(tmp_path) == before
    done = resize("--json")
    about = json.loads(done.stdout)
    assert done.exit_code == 0 and about["configs"]["config.json"]["changed"]["num_layers"] == [2, 1]
    assert (tmp_path / "two-resized" / "onnx" / "encoder_model.onnx").is_file()
    again = resize()
    assert again.exit_code == 2 and "exists" in again.output
    assert resize("--skip", "*decoder*", "-o", str(tmp_path / "half")).exit_code == 0
    assert "onnx/decoder_model.onnx" not in files(tmp_path / "half")
    wrong = resize("--method", "fold", "-o", str(tmp_path / "fold"))
    assert wrong.exit_code == 2 and "not fit each other" in wrong.output and not (tmp_path / "fold").exists()
    wrong = CliRunner().invoke(main, ["resize", str(two), "--params", "1k", "--dry-run"])
    assert wrong.exit_code == 2 and "--params is for one file" in wrong.output


def test_nothing_is_left_of_what_failed(two: Path, tmp_path: Path) -> None:
    """The last file fails: neither a folder nor a part of one stays."""
    before = files(tmp_path)
    onnx.save(onnx.parser.parse_model(ENCODER), two / "onnx" / "odd.onnx")  # without weights
    with pytest.raises(FrontError, match=r"odd.onnx: the graph reads .*skip=.onnx/odd.onnx"):
        resize_folder(two, output=tmp_path / "new", depth=1)
    onnx.save(mlp(odd="Strange"), two / "onnx" / "odd.onnx")
    with pytest.raises(FrontError, match=r"odd.onnx: .*Strange.*skip=.onnx/odd.onnx"):
        resize_folder(two, output=tmp_path / "new", width_mult=0.5)
    assert files(tmp_path) == before | {"two/onnx/odd.onnx"} and not list(tmp_path.glob(".front-onnx*"))
    with pytest.raises(RequestError, match="no chain of any file is called towers"):
        resize_folder(two, output=tmp_path / "new", depth="encoder=1,towers=2", skip="*odd*")


def test_what_lies_in_a_folder_is_told_in_one_line(two: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is in the folder that is resized"):
        resize_folder(two, output=two / "small", depth=1)
    for held in ("[" * 100_000, '{"a": 1', "\udcff"):
        (two / "config.json").write_text(held, encoding="utf-8", errors="surrogateescape")
        with pytest.raises(FrontError, match=r"config.json is no JSON in UTF-8"):
            resize_folder(two, output=tmp_path / "new", depth=1)
    (two / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8-sig")
    changed = resize_folder(two, output=tmp_path / "new", depth=1).configs[Path("config.json")].changed
    assert {change.key for change in changed} == {"num_layers", "num_decoder_layers"}


def test_towers_of_files_that_are_not_there_are_doubtful() -> None:
    sizes = {Resized(WIDTH, 8, 12, frozenset({"text"})), Resized(INNER, 32, 48, frozenset({"text"}))}
    held = {"text_config": {"hidden_size": 8}, "vision_config": {"hidden_size": 8, "intermediate_size": 32}}
    changes = changed_config(held, sizes)
    assert changes.config == {**held, "text_config": {"hidden_size": 12}}
    assert {change.key for change in changes.doubtful} == {
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
    }


def test_quantised_files_are_left_out(two: Path, tmp_path: Path) -> None:
    quantised = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        q (float[2] x) => (float[2] y) <float s = {0.1}, uint8 z = {0}> {
            a = QuantizeLinear(x, s, z)
            y = DequantizeLinear(a, s, z)
        }""")
    onnx.save(quantised, two / "onnx" / "model_quantized.onnx")
    made = resize_folder(two, output=tmp_path / "new", depth=1)
    assert made.left[Path("onnx/model_quantized.onnx")].startswith("quantised")
    shutil.rmtree(two / "onnx")
    (two / "onnx").mkdir()
    onnx.save(quantised, two / "onnx" / "model_quantized.onnx")
    with pytest.raises(RequestError, match="no file of"):
        resize_folder(two, output=tmp_path / "other", depth=1)


def test_merged_decoders_become_what_their_parts_become(tmp_path: Path) -> None:
    parts = {"decoder_model": part(2, 8, False), "decoder_with_past_model": part(2, 8, True)}
    (tmp_path / "two").mkdir()
    for name, model in {**parts, "decoder_model_merged": merged(2, 8)}.items():
        onnx.save(model, tmp_path / "two" / f"{name}.onnx")
    made = resize_folder(tmp_path / "two", output=tmp_path / "new", depth=3)
    assert len(made.results) == 3 and not made.left
    both = weights(onnx.load(tmp_path / "new" / "decoder_model_merged.onnx"))
    for name in parts:
        for tensor, array in weights(onnx.load(tmp_path / "new" / f"{name}.onnx")).items():
            assert np.array_equal(both[tensor], array), tensor


def test_large_weights_stay_beside_their_file(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    model = golden("torch-bert-torchscript")
    onnx.save(model, tmp_path / "bert" / "model.onnx", save_as_external_data=True, location="model.onnx_data")
    made = resize_folder(tmp_path / "bert", output=tmp_path / "new", width_mult=0.5)
    assert made.copied == () and "model.onnx" in files(tmp_path / "new")
    assert onnx.load(tmp_path / "new" / "model.onnx").graph.initializer


def test_a_folder_without_models_is_told_as_before(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["resize", str(tmp_path), "--depth", "1"])
    assert done.exit_code == 2 and len(done.output.splitlines()) == 1


# --- configurations of transformers ---------------------------------------------------------------------------------

LARGE = {"width": 96, "heads": 6, "inner": 384, "depth": 6}
SMALL = {"width": 64, "heads": 4, "inner": 256, "depth": 3}


def cases() -> Iterator[Any]:
    """(class, its arguments for one set of sizes, further sizes of each)."""

    def usual(**names: str) -> Any:
        return lambda sizes: {key: sizes[what] for key, what in names.items()}

    bert = usual(hidden_size="width", num_attention_heads="heads", intermediate_size="inner", num_hidden_layers="depth")
    for name in ("bert", "roberta", "deberta-v2", "vit", "deit", "wav2vec2", "modernbert"):
        yield pytest.param(name, bert, id=name)
    yield pytest.param("gpt2", usual(n_embd="width", n_head="heads", n_layer="depth"), id="GPT2")
    yield pytest.param("distilbert", usual(dim="width", n_heads="heads", hidden_dim="inner", n_layers="depth"))
    yield pytest.param(
        "opt",
        lambda s: {
            "hidden_size": s["width"],
            "word_embed_proj_dim": s["width"],
            "num_attention_heads": s["heads"],
            "ffn_dim": s["inner"],
            "num_hidden_layers": s["depth"],
        },
    )
    yield pytest.param("llama", lambda s: {**bert(s), "num_key_value_heads": s["heads"] // 2})
    yield pytest.param("qwen2", lambda s: {**bert(s), "num_key_value_heads": s["heads"] // 2})
    yield pytest.param(
        "t5",
        lambda s: {
            "d_model": s["width"],
            "num_heads": s["heads"],
            "d_ff": s["inner"],
            "num_layers": s["depth"],
            "num_decoder_layers": s["depth"],
            "d_kv": 16,
        },
    )
    yield pytest.param(
        "whisper",
        lambda s: {
            "d_model": s["width"],
            "encoder_attention_heads": s["heads"],
            "decoder_attention_heads": s["heads"],
            "encoder_ffn_dim": s["inner"],
            "decoder_ffn_dim": s["inner"],
            "encoder_layers": s["depth"],
            "decoder_layers": s["depth"],
        },
    )


@pytest.mark.parametrize(("name", "arguments"), [*cases()])
def test_configurations_are_those_of_the_new_sizes(name: str, arguments: Any) -> None:
    """What `transformers` writes for the sizes of the target."""
    transformers = pytest.importorskip("transformers")
    make = transformers.AutoConfig.for_model
    before, after = (make(name, **arguments(sizes)).to_dict() for sizes in (LARGE, SMALL))
    head = LARGE["width"] // LARGE["heads"]
    sizes = {
        Resized(kind, LARGE[what], SMALL[what])
        for kind, what in ((WIDTH, "width"), (HEADS, "heads"), (INNER, "inner"), (DEPTH, "depth"))
    }
    sizes |= {Resized(KV_HEADS, LARGE["heads"] // 2, SMALL["heads"] // 2), Resized(HEAD_DIM, head, head)}
    changes = changed_config(before, sizes)
    told = {change.key for change in changes.doubtful}
    different = {key for key in after if after[key] != changes.config[key]}
    assert different <= told, different - told
    assert changes.config.keys() == before.keys() and len(changes.changed) >= 3


def test_what_the_name_or_the_value_alone_says_is_told() -> None:
    sizes = {Resized(WIDTH, 96, 64), Resized(DEPTH, 6, 3), Resized(INNER, 384, 200)}
    held = {
        "hidden_size": 80,  # another size under a known name: nothing of the model
        "mystery": 96,  # a size that changed, under no known name
        "flag": True,
        "n_inner": None,
        "kinds": ["a", "b"] * 3,
        "num_layers": 6,
        "odd": ["a", "b", "b", "a", "a", "b"],
        "nested": {"d_model": 96},
    }
    changes = changed_config(held, sizes)
    assert {change.key for change in changes.doubtful} == {"mystery", "odd"}
    assert changes.config == {
        **held,
        "num_layers": 3,
        "n_inner": 200,
        "kinds": ["a", "b", "a"],
        "nested": {"d_model": 64},
    }


@pytest.mark.export
def test_a_folder_becomes_one_of_transformers(tmp_path: Path) -> None:
    """`from_pretrained` loads it, and computes what the resized file computes."""
    torch, transformers = (pytest.importorskip(name) for name in ("torch", "transformers"))
    from front_onnx.adapters.transformers import to_transformers

    source = tmp_path / "bert"
    source.mkdir()
    model = golden("torch-bert-torchscript")
    onnx.save(model, source / "model.onnx")
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    config = transformers.AutoConfig.for_model("bert", **bert_sizes(shapes), architectures=["BertModel"])
    (source / "config.json").write_text(json.dumps(config.to_dict()))
    (source / "vocab.txt").write_text("[PAD]")
    asked = ["--depth", "1", "--width-mult", "0.5", "-o", str(tmp_path / "small")]
    also = ["--to-transformers", str(tmp_path / "loaded")]
    done = CliRunner().invoke(main, ["resize", str(source), *asked, *also])
    assert done.exit_code == 0 and "BertModel.from_pretrained" in done.output, done.output
    assert {"model.safetensors", "config.json", "vocab.txt"} <= files(tmp_path / "loaded")
    loaded = transformers.BertModel.from_pretrained(tmp_path / "loaded").eval()
    assert loaded.config.num_hidden_layers == 1
    ids = np.array([[3, 4, 5, 6], [7, 8, 9, 3]])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    with torch.no_grad():
        mine = loaded(**{name: torch.from_numpy(array) for name, array in feed.items()}).last_hidden_state.numpy()
    assert np.abs(mine - run(tmp_path / "small" / "model.onnx", feed)[0]).max() < 1e-4
    (tmp_path / "small" / "config.json").unlink()
    with pytest.raises(RequestError, match=r"no config.json"):
        to_transformers(tmp_path / "small", tmp_path / "other")


def bert_sizes(shapes: dict[str, list[int]]) -> dict[str, int]:
    """The sizes of a BERT, from the shapes of its tables and biases."""
    (vocabulary, width), (positions, _) = (shapes[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position"))
    layers = [name for name in shapes if name.endswith("intermediate.dense.bias")]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": positions,
        "num_hidden_layers": len(layers),
        "intermediate_size": shapes[layers[0]][0],
        "num_attention_heads": 4,
    }
