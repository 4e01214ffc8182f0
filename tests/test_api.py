"""The Python interface: kinds of models, named dims, heads, and what survives a resize."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import numpy_helper
from small import DIGIT_INPUTS, DIGITS, constants, feed, mlp, output_shapes, run, unsigned, weights
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES
from zoo.export import export
from zoo.opsets import EXPORTERS

import front_onnx
from front_onnx import FrontError

both = pytest.mark.parametrize("exporter", EXPORTERS)
Load = Callable[..., onnx.ModelProto]


@pytest.fixture
def zoo(zoo_cache: Path) -> Load:
    def load(name: str, exporter: str = "torchscript") -> onnx.ModelProto:
        architecture = ARCHITECTURES[name]
        return onnx.load(export(architecture, architecture.source, exporter, cache_dir=zoo_cache))

    return load


def refusal(model: object, **request: object) -> FrontError:
    with pytest.raises(FrontError) as caught:
        front_onnx.resize(model, **request)
    assert "\n" not in str(caught.value)
    return caught.value


# --- kinds of models -------------------------------------------------------------------------------------


def test_a_path_writes_a_file(tmp_path: Path) -> None:
    result = front_onnx.resize(DIGITS, depth=3, output=tmp_path / "three.onnx")
    assert result.output == tmp_path / "three.onnx" and result.model is None
    assert result.size == result.output.stat().st_size
    assert result.validation is not None and result.validation.passed
    assert [p.name for p in tmp_path.iterdir()] == ["three.onnx"]


def test_a_model_in_memory_comes_back_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = onnx.load(DIGITS)
    before = source.SerializeToString()
    result = front_onnx.resize(source, depth=3, width=24)
    assert isinstance(result.model, onnx.ModelProto) and result.output is None
    assert source.SerializeToString() == before
    assert list(tmp_path.iterdir()) == []
    path = front_onnx.resize(DIGITS, depth=3, width=24, output=tmp_path / "same.onnx").output
    images = {"image": np.load(DIGIT_INPUTS)["image"]}
    assert np.array_equal(run(result.model, images)[0], run(path, images)[0])


def test_a_model_in_memory_is_written_where_asked(tmp_path: Path) -> None:
    result = front_onnx.resize(onnx.load(DIGITS), depth=3, output=tmp_path / "three.onnx")
    assert result.output == tmp_path / "three.onnx" and result.output.exists()


def test_a_graphsurgeon_graph_comes_back_as_one() -> None:
    graph = gs.import_onnx(onnx.load(DIGITS))
    result = front_onnx.resize(graph, depth=3, width=24)
    assert isinstance(result.model, gs.Graph)
    images = {"image": np.load(DIGIT_INPUTS)["image"]}
    wanted = front_onnx.resize(onnx.load(DIGITS), depth=3, width=24).model
    got = run(gs.export_onnx(result.model), images)[0]
    np.testing.assert_allclose(got, run(wanted, images)[0], atol=1e-6)


@pytest.mark.parametrize("model", [None, 3, b"bytes", [DIGITS]])
def test_anything_else_is_no_model(model: object) -> None:
    assert refusal(model, depth=3).exit_code == 2


def test_inspect_and_validate_take_the_same_kinds() -> None:
    proto = onnx.load(DIGITS)
    for model in (DIGITS, str(DIGITS), proto, gs.import_onnx(proto)):
        structure = front_onnx.inspect(model)
        assert [len(chain.units) for chain in structure.chains] == [6]
        assert {dim.name: dim.size for dim in structure.dims}["hidden"] == 48
        validation = front_onnx.validate(model, like=proto)
        assert validation.passed and validation.differences == []


def test_dry_run_has_the_plan_and_no_model() -> None:
    result = front_onnx.resize(onnx.load(DIGITS), depth=3, dry_run=True)
    assert result.plan.depths == [(6, 3)] or [tuple(d) for d in result.plan.depths] == [(6, 3)]
    assert result.model is None and result.output is None and result.validation is None


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    front_onnx.resize(onnx.load(DIGITS), depth=3, width=24, progress=lambda *step: told.append(step))
    assert {stage for stage, _, _ in told} >= {"understand", "transform", "validate"}
    steps = [(done, total) for stage, done, total in told if stage == "transform"]
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]


SAME = [
    ({"depth": "blocks=3"}, {"depth": {"blocks": 3}}),
    ({"width": "24"}, {"width_mult": 0.5}),
    ({"head_dim": 6}, {"head_dim": [6]}),
    ({"depth": [3]}, {"depth": (3,)}),
    ({"depth": 3}, {"depth": "3"}),
    ({"width": 24}, {"width": "24"}),
    ({"width_mult": "1/2"}, {"width_mult": "0.5"}),
    ({"heads": 2}, {"heads": "2"}),
]


@pytest.mark.parametrize(("a", "b"), few(SAME, 3, mark="slow"))
def test_ways_to_say_the_same(a: dict, b: dict) -> None:
    one, other = (front_onnx.resize(onnx.load(DIGITS), **request, validate=False).model for request in (a, b))
    assert unsigned(one) == unsigned(other)


@pytest.mark.parametrize(
    "request_",
    [{"ratio": 0}, {"scale": "loud"}, {"depth": -1}, {"depth": 2.5}, {"width": 0}, {"heads": "x"}, {"dims": {"no": 1}}],
)
def test_wrong_requests_are_told_as_such(request_: dict) -> None:
    assert refusal(onnx.load(DIGITS), **request_).exit_code == 2


# --- named dims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "exporter"), by_exporter([50, 120], torchscript=[50], dynamo=[120]))
def test_the_vocabulary_of_a_tied_model_changes_at_both_ends(zoo: Load, exporter: str, size: int) -> None:
    source = zoo("gpt2", exporter)
    resized = front_onnx.resize(source, dims={"vocabulary": size}).model
    ids = np.array([[0, size - 1, 3]])
    (logits,) = run(resized, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert logits.shape == (1, 3, size)
    ends = [a if a.shape[0] == size else a.T for a in weights(resized).values() if size in a.shape]
    assert len(ends) >= 1 and all(end.shape == (size, 20) for end in ends)
    assert len(ends) >= 1 and all(np.allclose(end, ends[0], atol=1e-6) for end in ends)


@pytest.mark.parametrize("exporter", few(EXPORTERS, ["dynamo"]))
def test_tied_ends_stay_tied_in_every_scale(zoo: Load, exporter: str) -> None:
    for scale in ("auto", "ortho", "amp", "variance", "fan-in"):
        resized = front_onnx.resize(zoo("gpt2", exporter), width=10, scale=scale, validate=False).model
        ends = [a if a.shape[0] == 101 else a.T for a in weights(resized).values() if 101 in a.shape]
        assert all(np.array_equal(end, ends[0]) for end in ends)


def test_a_tie_survives_two_resizes(zoo: Load) -> None:
    once = front_onnx.resize(zoo("gpt2"), dims={"vocabulary": 50}).model
    twice = front_onnx.resize(once, width=40).model
    first, second = (a if a.shape[0] == 50 else a.T for a in weights(twice).values() if 50 in a.shape)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "exporter"),
    by_exporter(["vit", "deit", "swin", "resnet-basic"], torchscript=["resnet-basic"], dynamo=["vit", "swin"]),
)
def test_classes_change_the_logits(zoo: Load, exporter: str, name: str) -> None:
    source = zoo(name, exporter)
    resized = front_onnx.resize(source, dims={"classes": 5}).model
    assert output_shapes(resized)[0][-1] == 5
    assert run(resized, feed(resized))[0].shape == (2, 5)
    kept = [k for k, a in weights(source).items() if 11 not in a.shape]
    assert all(np.array_equal(weights(source)[k], weights(resized)[k]) for k in kept)


@both
def test_input_channels(zoo: Load, exporter: str) -> None:
    source = zoo("vit", exporter)
    resized = front_onnx.resize(source, dims={f"{source.graph.input[0].name}.1": 1}).model
    arrays = feed(resized)
    assert next(iter(arrays.values())).shape[1] == 1
    assert run(resized, arrays)[0].shape == (2, 11)


LONG = [*((name, size) for name in ("gpt2", "opt", "bert", "distilbert") for size in (20, 64)), ("roberta", 20)]


@pytest.mark.parametrize(("name", "size", "exporter"), by_exporter(LONG, torchscript=LONG[1:9:3], dynamo=LONG[2:9:3]))
def test_positions_allow_sequences_of_that_length(zoo: Load, exporter: str, name: str, size: int) -> None:
    resized = front_onnx.resize(zoo(name, exporter), dims={"positions": size}).model
    length = size - (2 if name in ("roberta", "opt") else 0)  # these count positions from 2
    output = run(resized, feed(resized, length=length))[0]
    assert output.shape[1] == length and np.isfinite(output).all()
    with pytest.raises(Exception, match=r"INVALID|FAIL|out of|Got invalid"):
        run(resized, feed(resized, length=size + 1))


@both
def test_a_buffer_that_is_not_known_to_belong_is_named(zoo: Load, exporter: str) -> None:
    """RoBERTa counts its positions at run time, so nothing ties the buffer of type ids to them: a warning does."""
    plan = front_onnx.resize(zoo("roberta", exporter), dims={"positions": 64}).plan
    (warning,) = plan.warnings
    (buffer,) = (d.name for d in plan.structure.dims if d.size == 43 and d.name in warning and d.name != "positions")
    resized = front_onnx.resize(zoo("roberta", exporter), dims={"positions": 64, buffer: 64}).model
    assert run(resized, feed(resized, length=62))[0].shape[1] == 62


def test_a_named_dim_is_all_that_changes() -> None:
    source = onnx.load(DIGITS)
    resized = front_onnx.resize(source, dims={"ffn": 100}).model
    before, after = weights(source), weights(resized)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].shape == tuple(100 if n == 192 else n for n in array.shape)
        assert (192 in array.shape) or np.array_equal(after[name], array)


# --- heads -----------------------------------------------------------------------------------------------


HEADS = [
    ({"width": 24, "heads": 1}, 24, 1, 24),
    ({"head_dim": 16}, 48, 3, 16),
    ({"width": 24, "heads": 6, "head_dim": 4}, 24, 6, 4),
    ({"width": 24}, 24, 2, 12),
    ({"heads": 8}, 48, 8, 6),
    ({"heads": 2}, 48, 2, 24),
    ({"heads": 6, "head_dim": 8}, 48, 6, 8),
    ({"width": 24, "heads": 4}, 24, 4, 6),
    ({"width": 36, "head_dim": 4}, 36, 9, 4),
]


@pytest.mark.parametrize(("request_", "hidden", "heads", "head_dim"), few(HEADS, 3, mark="slow"))
def test_heads(request_: dict, hidden: int, heads: int, head_dim: int) -> None:
    result = front_onnx.resize(onnx.load(DIGITS), **request_)
    structure = front_onnx.inspect(result.model)
    sizes = {dim.name: dim.size for dim in structure.dims}
    # one head cannot be told from none: its size is what remains
    assert (sizes["hidden"], sizes.get("heads", 1)) == (hidden, heads)
    assert sizes.get("head_dim", head_dim) == head_dim
    assert any(a.shape[-1] == 3 * heads * head_dim for a in weights(result.model).values() if a.ndim)
    shapes = [a.tolist() for a in constants(result.model).values() if a.dtype == np.int64 and a.size == 5]
    assert not [s for s in shapes if heads not in s or head_dim not in s]
    assert run(result.model, feed(result.model))[0].shape == (2, 10)


@both
def test_grouped_query_heads_keep_their_ratio(zoo: Load, exporter: str) -> None:
    source = zoo("llama", exporter)  # 4 heads of 6 share 2 heads of keys and values
    sizes = {d.name: d.size for d in front_onnx.inspect(front_onnx.resize(source, heads=2, head_dim=6).model).dims}
    assert sizes["hidden"] == 24 and sizes["head_dim"] == 6
    assert "kv_heads" in str(refusal(source, heads=3))


def test_heads_times_head_dim_where_the_graph_wants_the_width() -> None:
    """This graph reshapes to its own width behind the heads; BERT's does not."""
    assert "/attn/Reshape" in str(refusal(onnx.load(DIGITS), heads=2, head_dim=6))


@both
def test_heads_times_head_dim_apart_from_the_width(zoo: Load, exporter: str) -> None:
    resized = front_onnx.resize(zoo("bert", exporter), heads=3, head_dim=4).model
    sizes = {dim.name: dim.size for dim in front_onnx.inspect(resized).dims}
    assert (sizes["hidden"], sizes["heads"], sizes["head_dim"]) == (20, 3, 4)
    assert (20, 12) in {a.shape for a in weights(resized).values()}
    assert run(resized, feed(resized))[0].shape == (2, 7, 20)


@pytest.mark.parametrize(
    ("request_", "near"), [({"heads": 5}, "4 or 6"), ({"head_dim": 7}, "6 or 8"), ({"width": 24, "heads": 7}, "6 or 8")]
)
def test_impossible_heads_list_possible_ones(request_: dict, near: str) -> None:
    assert near in str(refusal(onnx.load(DIGITS), **request_))


# --- what survives ---------------------------------------------------------------------------------------


@pytest.fixture
def signed(zoo: Load) -> onnx.ModelProto:
    model = zoo("bert")
    model.doc_string, model.producer_name, model.producer_version = "a model", "somebody", "1.2"
    model.domain, model.model_version = "com.example", 7
    model.metadata_props.add(key="licence", value="none")
    model.graph.doc_string = "a graph"
    model.graph.node[0].doc_string = "a node"
    model.graph.initializer[0].doc_string = "a weight"
    model.graph.input[0].doc_string = "an input"
    model.opset_import.add(domain="com.unused", version=3)
    return model


@pytest.mark.parametrize("request_", [{"depth": 2}, {"depth": 5, "width": 10}, {"width": 40}])
def test_metadata_survives(signed: onnx.ModelProto, request_: dict) -> None:
    resized = front_onnx.resize(signed, **request_).model
    for field in ("doc_string", "producer_name", "producer_version", "domain", "model_version", "ir_version"):
        assert getattr(resized, field) == getattr(signed, field)
    others = [entry for entry in resized.metadata_props if not entry.key.startswith("front_onnx.")]
    assert others == list(signed.metadata_props)
    assert list(resized.opset_import) == list(signed.opset_import)
    assert resized.graph.name == signed.graph.name and resized.graph.doc_string == "a graph"
    assert [i.name for i in resized.graph.input] == [i.name for i in signed.graph.input]
    assert [o.name for o in resized.graph.output] == [o.name for o in signed.graph.output]
    assert {n.doc_string for n in resized.graph.node} >= {"a node"}
    assert resized.graph.input[0].doc_string == "an input"
    assert {t.doc_string for t in resized.graph.initializer} >= {"a weight"}


@pytest.mark.parametrize(("request_", "there"), [({}, True), ({"depth": 2}, False), ({"width": 40}, False)])
def test_what_nothing_reads_does_not_outlive_its_sizes(signed: onnx.ModelProto, request_: dict, there: bool) -> None:
    signed.graph.initializer.append(numpy_helper.from_array(np.array([2, 7, 20]), "folded_shape"))
    resized = front_onnx.resize(signed, **request_).model
    assert ("folded_shape" in {t.name for t in resized.graph.initializer}) == there


@both
def test_nodes_outside_blocks_survive_as_they_are(zoo: Load, exporter: str) -> None:
    source = zoo("bert", exporter)
    resized = front_onnx.resize(source, depth=5).model
    after = {node.name: node for node in resized.graph.node}
    first, last = source.graph.node[0], source.graph.node[-1]
    assert after[first.name] == first
    assert after[last.name].output == last.output
    untouched = [n for n in source.graph.node if "layer" not in n.name and n in resized.graph.node]
    assert len(untouched) > 5


NAMED = list(
    itertools.product(["bert", "gpt2", "llama", "vit", "t5-encoder", "convnext", "swin"], ["shallower", "grow"])
)


@pytest.mark.parametrize(("name", "way", "exporter"), by_exporter(NAMED, torchscript=NAMED[:12:5], dynamo=NAMED[1::4]))
def test_names_are_unique_and_renumbered(zoo: Load, exporter: str, name: str, way: str) -> None:
    architecture = ARCHITECTURES[name]
    request = architecture.request(architecture.size(way))
    resized = front_onnx.resize(zoo(name, exporter), **request).model
    nodes = [node.name for node in resized.graph.node if node.name]
    assert len(nodes) == len(set(nodes))
    values = [v for n in resized.graph.node for v in n.output if v] + [t.name for t in resized.graph.initializer]
    assert len(values) == len(set(values))
    known = {*values, *(i.name for i in resized.graph.input)}
    assert {info.name for info in resized.graph.value_info} <= known


@pytest.mark.parametrize(("depth", "exporter"), by_exporter([1, 2, 6, 12], torchscript=[6, 1], dynamo=[12]))
def test_block_numbers_follow_the_depth(zoo: Load, exporter: str, depth: int) -> None:
    resized = front_onnx.resize(zoo("bert", exporter), depth=depth).model
    names = "\n".join([*weights(resized), *(n.name for n in resized.graph.node)])
    assert f"encoder.layer.{depth - 1}.output.LayerNorm.weight" in names
    assert f"layer.{depth}." not in names and f"layer.{depth}/" not in names
    numbered = [name for name in weights(resized) if name.endswith("output.LayerNorm.bias")]
    assert len([n for n in numbered if "attention" not in n]) == depth
    scopes = {p.value for n in resized.graph.node for p in n.metadata_props if "name_scopes" in p.key}
    if exporter == "dynamo":
        assert any(f"encoder.layer.{depth - 1}." in scope for scope in scopes)
        assert not any(f"encoder.layer.{depth}." in scope or f"encoder.layer.{depth}'" in scope for scope in scopes)


def test_external_data_by_path(tmp_path: Path) -> None:
    onnx.save(
        onnx.load(DIGITS), str(tmp_path / "a.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    result = front_onnx.resize(tmp_path / "a.onnx", depth=8, width=60)
    assert result.output == tmp_path / "a-d8-w60.onnx"
    assert (tmp_path / "a-d8-w60.onnx.data").exists()
    assert run(result.output, feed(onnx.load(result.output)))[0].shape == (2, 10)
    assert result.size >= sum(p.stat().st_size for p in tmp_path.glob("a-d8-w60*")) * 0.9


def test_the_output_never_overwrites_the_data_of_the_source(tmp_path: Path) -> None:
    data = tmp_path / "small.onnx.data"
    onnx.save(
        onnx.load(DIGITS), str(tmp_path / "a.onnx"), save_as_external_data=True, location=data.name, size_threshold=0
    )
    before = data.read_bytes()
    error = refusal(tmp_path / "a.onnx", depth=3, output=tmp_path / "small.onnx")
    assert error.exit_code == 2 and "small.onnx.data" in str(error)
    assert data.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.onnx", data.name}


def test_results_do_not_share_state() -> None:
    source = mlp()
    first = front_onnx.resize(source, depth=5).model.SerializeToString()
    front_onnx.resize(source, depth=2, width_mult=2)
    assert front_onnx.resize(source, depth=5).model.SerializeToString() == first


def test_no_module_hides_behind_a_function_of_its_name() -> None:
    """`import front_onnx.NAME` gives what `front_onnx.NAME` is."""
    folder = Path(front_onnx.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    functions = {name for name in front_onnx.__all__ if callable(getattr(front_onnx, name))}
    assert "calibrate" in functions and "calibration" in modules
    assert not functions & modules
