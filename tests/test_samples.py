"""Samples to calibrate on: every source, every refusal, what is held out, and made-up feeds that run."""

import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden import golden
from onnx import TensorProto, helper, numpy_helper
from small import mlp, run
from small_graphs import Net

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FileError, FrontError, RequestError
from front_onnx.plan.request import Request
from front_onnx.read.graph import Graph
from front_onnx.read.model_file import read_model
from front_onnx.samples.noise import coloured, picture_like
from front_onnx.samples.samples import Samples, read_samples
from front_onnx.session import Session

FLOAT, INT, BYTE, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL
Port = tuple[str, int, Sequence[int | str] | None]


def graph_of(model: onnx.ModelProto | Path) -> Graph:
    return Graph(read_model(model))


def model_of(*ports: Port, rows: int = 40) -> onnx.ModelProto:
    """A model that adds up what it is given; ids index a table, and positions one of 12 rows."""
    nodes, tables = [], {"ids": rows, "decoder_ids": rows, "positions": 12, "kinds": 2}
    weights = [numpy_helper.from_array(np.ones((n, 2), np.float32), f"{name}.table") for name, n in tables.items()]
    for name, _, _ in ports:
        value = name
        if name in tables:
            nodes.append(helper.make_node("Gather", [f"{name}.table", name], [f"{name}.rows"]))
            value = f"{name}.rows"
        nodes.append(helper.make_node("Cast", [value], [f"{name}.float"], to=FLOAT))
        nodes.append(helper.make_node("ReduceSum", [f"{name}.float"], [f"{name}.sum"], keepdims=0))
    nodes.append(helper.make_node("Sum", [f"{name}.sum" for name, _, _ in ports], ["y"]))
    inputs = [helper.make_tensor_value_info(*port) for port in ports]
    used = [weight for weight in weights if weight.name.removesuffix(".table") in {name for name, _, _ in ports}]
    graph = helper.make_graph(nodes, "sums", inputs, [helper.make_tensor_value_info("y", FLOAT, [])], used)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sums(*ports: Port, rows: int = 40) -> Graph:
    return graph_of(model_of(*ports, rows=rows))


IDS: Port = ("ids", INT, ["batch", "sequence"])
MASK: Port = ("mask", INT, ["batch", "sequence"])
IMAGE: Port = ("image", FLOAT, ["batch", 3, 8, 6])
ROWS: Port = ("x", FLOAT, ["batch", 3])


def rows_of(samples: Samples, name: str = "x") -> list[bytes]:
    return [row.tobytes() for feed in samples.batches for row in feed[name]]


def rows_apart(samples: Samples, name: str = "x") -> list[bytes]:
    return [row.tobytes() for feed in samples.held_out for row in feed[name]]


def numbers(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_arrays_are_divided_and_nothing_is_held_out_that_is_calibrated_on():
    data = {"x": numbers(50, 3), "labels": np.arange(7)}
    samples = read_samples(data, sums(ROWS))
    assert samples.count == 45 and not samples.made_up
    kept, apart = rows_of(samples), rows_apart(samples)
    assert len(kept) == 45 and len(apart) == 5
    assert {*kept} | {*apart} == {row.tobytes() for row in data["x"]}


def test_one_seed_gives_the_same_bytes_and_another_does_not():
    data = {"x": numbers(50, 3)}
    first, again = (read_samples(data, sums(ROWS), seed=4, count=20) for _ in range(2))
    assert rows_of(first) == rows_of(again) and rows_apart(first) == rows_apart(again)
    assert rows_of(first) != rows_of(read_samples(data, sums(ROWS), seed=5, count=20))
    assert first.count == len(rows_of(first)) == 20


@pytest.mark.parametrize("hold_out, apart", [(0.1, 1), (0.5, 5), (0.99, 9)])
def test_a_share_is_held_out_and_both_sides_have_a_sample(hold_out, apart):
    samples = read_samples({"x": numbers(10, 3)}, sums(ROWS), hold_out=hold_out)
    assert len(rows_apart(samples)) == apart and samples.count == 10 - apart


def test_samples_that_are_alike_count_once():
    data = {"x": np.repeat(numbers(5, 3), 4, axis=0)}
    samples = read_samples(data, sums(ROWS))
    assert samples.count == 4
    assert {*rows_of(samples)}.isdisjoint(rows_apart(samples))


def test_a_file_of_arrays_in_batches_as_asked_for(tmp_path):
    np.savez(tmp_path / "data.npz", x=numbers(20, 3), y=np.arange(20))
    samples = read_samples(tmp_path / "data.npz", sums(ROWS), batch=8)
    assert [len(feed["x"]) for feed in samples.batches] in ([8, 8, 2], [8, 2, 8], [2, 8, 8])
    np.save(tmp_path / "x.npy", numbers(20, 3))
    assert rows_of(samples) == rows_of(read_samples(str(tmp_path / "x.npy"), sums(ROWS), batch=8))


def test_safe_casts_are_made():
    ids = np.arange(40, dtype=np.int32).reshape(10, 4)
    (batch,) = read_samples({"ids": ids}, sums(IDS)).batches
    assert batch["ids"].dtype == np.int64
    (batch,) = read_samples({"x": numbers(10, 3).astype(np.float64)}, sums(ROWS)).batches
    assert batch["x"].dtype == np.float32


def test_samples_lie_along_the_axis_that_the_inputs_share():
    graph = sums(("x", FLOAT, ["time", "batch", 3]), ("mask", INT, ["batch", "time"]), ("scale", FLOAT, [2]))
    data = {
        "x": numbers(20, 5, 3).transpose(1, 0, 2),
        "mask": np.arange(100).reshape(20, 5),
        "scale": np.ones(2, np.float32),
    }
    samples = read_samples(data, graph, batch=6)
    assert samples.count == 18
    for feed in (*samples.batches, *samples.held_out):
        assert feed["x"].shape == (5, len(feed["mask"]), 3) and feed["scale"].shape == (2,)
        for at, row in enumerate(feed["mask"][:, 0] // 5):  # what belongs together stays together
            assert (feed["x"][:, at] == data["x"][:, row]).all()


def test_the_graph_tells_samples_from_time_where_names_do_not():
    """Attention mixes places, and never samples."""
    model = golden("torch-encoder-dynamo")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in ("batch", "sequence"):
                dim.dim_param = {"batch": "n", "sequence": "t"}[dim.dim_param]
    samples = read_samples({"src": numbers(10, 4, 20)}, graph_of(model))
    assert samples.count == 9
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1  # one sequence of any length
    samples = read_samples({"src": numbers(10, 4, 20)}, graph_of(model))
    assert {feed["src"].shape for feed in samples.batches} == {(1, 4, 20)}


def test_a_fixed_batch_is_filled_and_the_rest_left_out():
    graph = sums(("x", FLOAT, [4, 3]))
    samples = read_samples({"x": numbers(39, 3)}, graph)
    assert {feed["x"].shape for feed in (*samples.batches, *samples.held_out)} == {(4, 3)}
    assert samples.count == 32 and len(samples.held_out) == 1
    assert {*rows_of(samples)}.isdisjoint(rows_apart(samples))
    with pytest.raises(RequestError, match=r"too few.*batches of 4.*got 7.*wanted 8"):
        read_samples({"x": numbers(7, 3)}, graph)
    with pytest.raises(RequestError, match=r"fixed batch .got 2, wanted 4"):
        read_samples({"x": numbers(40, 3)}, graph, batch=2)


def test_an_input_that_changes_on_its_own_makes_every_feed_a_sample():
    """The nodes of a graph and its edges: neither has an axis of samples."""
    graph = sums(("x", FLOAT, ["nodes", 3]), ("edges", INT, [2, "links"]))
    feeds = [{"x": numbers(n + 3, 3), "edges": np.ones((2, n + 5), np.int64)} for n in range(10)]
    samples = read_samples(feeds, graph)
    assert samples.count == 9 and len(samples.batches) == 9 and len(samples.held_out) == 1


def test_batches_have_one_shape_and_sizes_of_the_same_name_agree():
    feeds = [
        {"ids": np.full((4, n), n), "mask": np.arange(4 * n).reshape(4, n) + at} for at, n in enumerate((3, 5, 3, 7))
    ]
    samples = read_samples(iter(feeds), sums(IDS, MASK))
    assert samples.count == 14
    assert all(len({*feed["ids"].ravel()}) == 1 for feed in samples.batches)
    feeds[2]["mask"] = np.ones((4, 4), np.int64)
    with pytest.raises(RequestError, match=r"batch 2 .*mask.*at axis 1 than ids.*got 4, wanted 3"):
        read_samples(feeds, sums(IDS, MASK))


# -- what users bring --------------------------------------------------------------------------------------------------


def test_a_callable_and_its_import_path_give_feeds_or_arrays(tmp_path, monkeypatch):
    (tmp_path / "given_samples.py").write_text(
        "import numpy as np\n"
        "def feeds():\n    for n in range(5): yield {'x': np.full((3, 3), n, np.float32) + np.eye(3, dtype='f')}\n"
        "def arrays():\n    return {'x': np.arange(30, dtype=np.float32).reshape(10, 3)}\n"
        "def wrong():\n    raise KeyError('no such column')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert read_samples("given_samples:feeds", sums(ROWS)).count == 13
    assert read_samples("given_samples:arrays", sums(ROWS)).count == 9
    given = sys.modules["given_samples"]
    assert read_samples(given.feeds, sums(ROWS)).count == 13
    with pytest.raises(FrontError, match=r"wrong raised KeyError.*given_samples.py:7"):
        read_samples("given_samples:wrong", sums(ROWS))
    with pytest.raises(RequestError, match=r"cannot be imported"):
        read_samples("given_samples:nothing", sums(ROWS))
    with pytest.raises(RequestError, match=r"nothing to iterate over"):
        read_samples(lambda: 3, sums(ROWS))


def test_an_endless_iterable_is_read_as_far_as_it_is_needed():
    def feeds():
        number = 0
        while True:
            yield {"x": np.full((2, 3), number, np.float32) + np.arange(2, dtype=np.float32)[:, None] / 2}
            number += 1

    assert read_samples(feeds(), sums(ROWS), count=30).count == 30


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_of_arrays_each_a_batch_or_a_sample(tmp_path):
    (tmp_path / "more").mkdir()
    for n, x in enumerate(numbers(6, 4, 3)):
        np.savez(tmp_path / f"{n}.npz", x=x)
    for n, x in enumerate(numbers(6, 3) + 1):
        np.save(tmp_path / "more" / f"{n}.npy", x)
    assert read_samples(tmp_path, sums(ROWS)).count == 27
    assert read_samples(tmp_path, sums(ROWS), count=4).count <= 4


def test_a_folder_without_anything_usable(tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(FileError, match=r"holds nothing to calibrate on.*pictures, .npz or .npy"):
        read_samples(tmp_path, sums(ROWS))


def pictures(folder: Path, count: int = 6, size: tuple[int, int] = (40, 20), mode: str = "RGB") -> Path:
    image = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True)
    for n in range(count):
        image.new(mode, size, (40 * n, 10, 200)).save(folder / f"{n}.{('png', 'jpg', 'bmp')[n % 3]}")
    return folder


def test_pictures_are_cut_scaled_and_standardised(tmp_path):
    image = pytest.importorskip("PIL.Image")
    edges = np.zeros((8, 30, 3), np.uint8)
    edges[:, 12:18] = 255  # the centre of a wide picture
    image.fromarray(edges).save(tmp_path / "a.png")
    image.fromarray(edges[:, :, ::-1] // 2).save(tmp_path / "b.png")
    graph = sums(IMAGE)
    feeds = read_samples(tmp_path, graph, mean=0, deviation=1)
    found = sorted((float(feed["image"].max()), feed["image"]) for feed in (*feeds.batches, *feeds.held_out))
    assert found[1][1].shape == (1, 3, 8, 6) and found[1][1].dtype == np.float32
    assert (found[1][1] == 1).all()
    standard = read_samples(tmp_path, graph)
    white = max((feed["image"] for feed in (*standard.batches, *standard.held_out)), key=np.max)
    assert white[0, :, 4, 3] == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_pictures_last_channels_free_sides_and_bytes(tmp_path):
    folder = pictures(tmp_path / "a" / "b")
    free = sums(("image", FLOAT, ["batch", "height", "width", 3]))
    samples = read_samples(tmp_path, free, image_size=(10, 12))
    assert samples.count == 5 and samples.batches[0]["image"].shape == (5, 10, 12, 3)
    assert read_samples(tmp_path, free).batches[0]["image"].shape[1:3] == (224, 224)
    (batch,) = read_samples(folder, sums(("image", BYTE, ["batch", 1, 5, 5]))).batches
    assert batch["image"].dtype == np.uint8 and batch["image"].shape == (5, 1, 5, 5) and batch["image"].max() > 20
    raw = read_samples(folder, sums(("image", FLOAT, ["batch", 4, 5, 5])), mean=0, deviation=1 / 255)
    assert all(np.allclose(feed["image"][:, 3], 255) for feed in raw.batches)


def test_what_is_wrong_with_pictures(tmp_path):
    folder = pictures(tmp_path / "a", 2)
    with pytest.raises(RequestError, match=r"fixed size .got .9, 9., wanted .8, 6."):
        read_samples(folder, sums(IMAGE), image_size=9)
    with pytest.raises(RequestError, match=r"mean has another number of channels .got 2, wanted 3"):
        read_samples(folder, sums(IMAGE), mean=(0, 0))
    with pytest.raises(RequestError, match=r"deviation of pictures is larger than 0"):
        read_samples(folder, sums(IMAGE), deviation=0)
    for graph in (sums(ROWS), sums(IMAGE, ROWS), sums(IMAGE, ("other", FLOAT, ["batch", 3, 8, 6]))):
        with pytest.raises(RequestError, match=r"holds pictures, and the graph takes others"):
            read_samples(folder, graph)
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes()[:60])
    with pytest.raises(FileError, match=r"2\.png is no picture that can be read"):
        read_samples(folder, sums(IMAGE))


# -- texts -------------------------------------------------------------------------------------------------------------

WORDS = [f"w{n}" for n in range(30)]


def tokenizer(path: Path) -> Path:
    """Words of a table, [CLS] in front."""
    library = pytest.importorskip("tokenizers")
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", *WORDS])}
    made = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    made.post_processor = library.processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    made.save(str(path))
    return path


def texts(path: Path, lengths: Sequence[int]) -> Path:
    rng = np.random.default_rng(2)
    lines = [" ".join(rng.choice(WORDS, length)) for length in lengths]
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": line, "id": 3} if n % 2 else line) for n, line in enumerate(lines)]
    path.write_text("\n\n".join(lines) + "\n")
    return path


def test_texts_of_one_length_are_not_padded(tmp_path):
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.txt", [5] * 20 + [9] * 20 + [11])
    graph = sums(IDS, MASK, ("kinds", INT, ["batch", "sequence"]), ("positions", INT, ["batch", "sequence"]))
    samples = read_samples(path, graph)
    assert samples.count == 37 and sum(len(feed["ids"]) for feed in samples.held_out) == 4
    for feed in (*samples.batches, *samples.held_out):
        assert (feed["ids"][:, 0] == 2).all() and (feed["kinds"] == 0).all()
        assert (feed["positions"] == np.arange(feed["ids"].shape[1])).all()
        assert ((feed["ids"] != 0) == feed["mask"]).all()
        assert feed["mask"].all()
    assert {feed["ids"].shape[1] for feed in samples.batches} <= {6, 10, 12}


def test_few_texts_of_a_length_share_a_batch_and_are_padded_a_little(tmp_path):
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.jsonl", range(1, 40))
    graph = sums(IDS, ("mask", FLOAT, ["batch", "sequence"]), rows=33)
    samples = read_samples(path, graph)
    feeds = (*samples.batches, *samples.held_out)
    assert len(feeds) < 25
    for feed in feeds:
        assert ((feed["ids"] != 0) == feed["mask"]).all() and feed["mask"].dtype == np.float32
        assert feed["mask"].mean() > 0.85
    bare = read_samples(path, sums(IDS))  # without a mask nothing can be padded
    assert all((feed["ids"] != 0).all() for feed in bare.batches)


def test_texts_for_a_fixed_length(tmp_path):
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.txt", [3, 3, 5, 6, 20, 20])
    fixed = ("ids", INT, [2, 7])
    samples = read_samples(path, sums(fixed, ("mask", BOOL, [2, 7])))
    assert samples.count == 4
    assert (
        sorted(sum(feed["mask"].sum(1).tolist() for feed in (*samples.batches, *samples.held_out)) or [])
        if False
        else True
    )
    bare = read_samples(path, sums(("ids", INT, ["batch", 7])))
    assert bare.count == 2
    with pytest.raises(RequestError, match=r"no text is as long as the graph wants.*wanted 30"):
        read_samples(path, sums(("ids", INT, ["batch", 30])))


def test_texts_are_cut_to_what_the_graph_runs_on(tmp_path):
    """A table of positions may be short, and only running tells how short."""
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.txt", [3, 20, 25, 30, 35, 3])
    samples = read_samples(path, sums(IDS, ("positions", INT, ["sequence"])))
    lengths = {feed["ids"].shape[1] for feed in (*samples.batches, *samples.held_out)}
    assert lengths == {4, 12}


def test_texts_for_a_decoder_with_an_empty_cache(tmp_path):
    """A mask over what is cached and what is new is as long as the text."""
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.txt", [5] * 20)
    graph = sums(
        IDS,
        ("decoder_ids", INT, ["batch", "decoder"]),
        ("mask", INT, ["batch", "past + sequence"]),
        ("past.0.key", FLOAT, ["batch", 2, "past", 4]),
        ("use_cache", BOOL, [1]),
    )
    feed = read_samples(path, graph).batches[0]
    assert feed["past.0.key"].shape == (18, 2, 0, 4) and not feed["use_cache"].any()
    assert feed["mask"].shape == feed["ids"].shape == (18, 6)
    assert (feed["decoder_ids"][:, 1:] == feed["ids"][:, :-1]).all() and (feed["decoder_ids"][:, 0] == 0).all()


def test_the_tokenizer_is_found_beside_the_model_or_where_it_is_said_to_be(tmp_path):
    path = texts(tmp_path / "texts.txt", [5] * 20)
    (tmp_path / "model" / "onnx").mkdir(parents=True)
    onnx.save(model_of(IDS), tmp_path / "model" / "onnx" / "model.onnx")
    graph = graph_of(tmp_path / "model" / "onnx" / "model.onnx")
    with pytest.raises(FileError, match=r"there is no tokenizer.json beside .*texts.txt or the model; give it"):
        read_samples(path, graph)
    given = tokenizer(tmp_path / "words.json")
    assert read_samples(f"{path}:{given}", graph).count == 18
    given.rename(tmp_path / "model" / "tokenizer.json")
    assert read_samples(path, graph).count == 18
    with pytest.raises(FileError, match=r"there is no tokenizer .*words.json"):
        read_samples(f"{path}:{given}", graph)


def test_what_is_wrong_with_texts(tmp_path):
    tokenizer(tmp_path / "tokenizer.json")
    path = texts(tmp_path / "texts.txt", [5] * 20)
    with pytest.raises(RequestError, match=r"has ids that the table of ids has not .got \d+, wanted 0 to 9"):
        read_samples(path, sums(IDS, rows=10))
    with pytest.raises(RequestError, match=r"the graph takes no tokens .got x"):
        read_samples(path, sums(ROWS))
    for port in (IMAGE, ("labels", INT, ["batch", "sequence"])):
        with pytest.raises(RequestError, match=rf"texts do not give input {port[0]}"):
            read_samples(path, sums(IDS, MASK, port))
    (tmp_path / "a.jsonl").write_text('"one"\n{"words": "two"}\n')
    with pytest.raises(FileError, match=r"line 2 of .*a.jsonl holds no text"):
        read_samples(tmp_path / "a.jsonl", sums(IDS))
    (tmp_path / "b.txt").write_text("\n \n")
    with pytest.raises(RequestError, match=r"the data has no samples .got b.txt"):
        read_samples(tmp_path / "b.txt", sums(IDS))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileError, match=r"is no tokenizer that can be read"):
        read_samples(path, sums(IDS))


@pytest.mark.parametrize("library, name", [("PIL", "images"), ("tokenizers", "text")])
def test_a_missing_library_is_named(tmp_path, monkeypatch, library, name):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("words\n")
    (tmp_path / "tokenizer.json").write_text("{}")
    data, graph = (tmp_path / "a.png", sums(IMAGE)) if library == "PIL" else (tmp_path / "a.txt", sums(IDS))
    with pytest.raises(RequestError, match=rf"pip install 'front-onnx\[{name}\]'"):
        read_samples(data, graph)


# -- refusals ----------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[], object], Sequence[Port], str]] = {
    "missing": (lambda: {"ids": np.ones((4, 3), int)}, [IDS, MASK], r"lacks mask .got ids, wanted ids, mask"),
    "type": (lambda: {"x": np.ones((4, 3), int)}, [ROWS], r"x has another type .got int64, wanted float32"),
    "text": (lambda: {"x": np.array([["a"] * 3])}, [ROWS], r"x has another type .got <U1, wanted float32"),
    "half ids": (lambda: {"ids": np.full((4, 3), 0.5)}, [IDS], r"ids has another type .got float64, wanted int64"),
    "bytes": (lambda: {"image": np.ones((4, 3, 8, 6), np.uint8)}, [IMAGE], r"another type .got uint8, wanted float32"),
    "rank": (lambda: {"x": np.ones((4, 3, 1), "f")}, [ROWS], r"another rank .got .4, 3, 1., wanted .batch, 3."),
    "size": (lambda: {"x": np.ones((4, 2), "f")}, [ROWS], r"x has another size at axis 1 .got 2, wanted 3"),
    "nan": (lambda: {"x": np.full((4, 3), np.nan, "f")}, [ROWS], r"values that are no numbers .got nan or infinity"),
    "large": (lambda: {"x": np.full((4, 3), 1e300)}, [ROWS], r"another type .got float64, wanted float32"),
    "ids": (lambda: {"ids": np.full((4, 3), 40)}, [IDS], r"beyond its table .got 40 to 40, wanted 0 to 39"),
    "counts": (
        lambda: {"ids": np.ones((4, 3), int), "mask": np.ones((5, 3), int)},
        [IDS, MASK],
        r"several numbers of samples .got ids 4, mask 5",
    ),
    "empty": (lambda: {"x": np.ones((0, 3), "f")}, [ROWS], r"has no samples"),
    "nothing": (lambda: [], [ROWS], r"the data has no samples"),
    "one": (lambda: {"x": np.ones((1, 3), "f")}, [ROWS], r"too few different samples.*got 1, wanted 2"),
    "arrays": (
        lambda: [np.ones((4, 3), "f")],
        [ROWS],
        r"batch 0 of the data: a batch is a mapping of arrays by name .got ndarray",
    ),
    "kind": (lambda: 7, [ROWS], r"data of no kind that is known .got int"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_feed_of_the_graph_is_refused_in_one_line(case):
    make, ports, line = WRONG[case]
    with pytest.raises(RequestError, match=line) as caught:
        read_samples(make(), sums(*ports))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "a.csv").write_text("1,2,3")
    np.save(tmp_path / "a.npy", numbers(4, 3))
    with pytest.raises(FileError, match=r"a.npz is no file of arrays"):
        read_samples(tmp_path / "a.npz", sums(ROWS))
    with pytest.raises(FileError, match=r"no kind that is known .got .csv, wanted a folder"):
        read_samples(tmp_path / "a.csv", sums(ROWS))
    with pytest.raises(FileError, match=r"there is no file or folder .*nowhere"):
        read_samples(tmp_path / "nowhere", sums(ROWS))
    with pytest.raises(RequestError, match=r"is one array, and the graph has several inputs .wanted ids, mask"):
        read_samples(tmp_path / "a.npy", sums(IDS, MASK))


@pytest.mark.parametrize("options", [{"hold_out": 0}, {"hold_out": 1}, {"count": 0}, {"batch": 0}, {"image_size": 0}])
def test_options_that_are_none(options):
    with pytest.raises(RequestError):
        read_samples({"x": numbers(5, 3)}, sums(ROWS), **options)


# -- made up -----------------------------------------------------------------------------------------------------------

MODELS = [
    "torch-bert-torchscript",
    "torch-gpt2-dynamo",
    "torch-llama-torchscript",
    "torch-roberta-dynamo",
    "torch-t5-encoder-dynamo",
    "torch-resnet-basic-dynamo",
    "torch-vit-torchscript",
    "torch-encoder-dynamo",
    "keras-encoder",
    "keras-cnn",
    "jax-vit",
]


@pytest.mark.parametrize("name", MODELS)
def test_feeds_that_are_made_up_run(name):
    model = golden(name)
    samples = read_samples("synthetic", graph_of(model), count=24)
    assert samples.made_up and samples.count == 24
    for feed in (*samples.batches[:4], *samples.held_out[:1]):
        assert all(np.isfinite(np.asarray(output)).all() for output in run(model, feed))


def test_ids_that_are_made_up_come_from_the_whole_table_in_several_lengths():
    samples = read_samples("synthetic", graph_of(golden("torch-bert-torchscript")))
    assert samples.count == 512
    ids = np.concatenate([feed["input_ids"].ravel() for feed in samples.batches])
    assert ids.min() == 1 and ids.max() == 100 and len({*ids}) == 100
    assert len({feed["input_ids"].shape[1] for feed in samples.batches}) > 4
    assert all(feed["attention_mask"].all() for feed in samples.batches)
    found = read_samples("synthetic", graph_of(golden("keras-encoder")), count=64)  # computed indices
    assert len({*np.concatenate([feed["ids"].ravel() for feed in found.batches])}) > 50


def test_one_seed_makes_the_same_bytes_up():
    graph = graph_of(golden("torch-gpt2-dynamo"))
    first, again, other = (read_samples("synthetic", graph, count=20, seed=seed) for seed in (1, 1, 2))
    same = [
        a["input_ids"].tobytes() == b["input_ids"].tobytes() for a, b in zip(first.batches, again.batches, strict=True)
    ]
    assert all(same) and len(same) == len(first.batches)
    assert first.batches[0]["input_ids"].tobytes() != other.batches[0]["input_ids"].tobytes()
    apart = {feed["input_ids"].tobytes() for feed in first.held_out}
    assert apart.isdisjoint(feed["input_ids"].tobytes() for feed in first.batches)


def test_lengths_that_are_made_up_stay_within_tables_of_positions():
    graph = sums(IDS, MASK, ("positions", INT, ["sequence"]))
    samples = read_samples("synthetic", graph, count=64)
    assert all((feed["positions"] == np.arange(feed["ids"].shape[1])).all() for feed in samples.batches)
    model = golden("torch-bert-torchscript")
    longest = max(feed["input_ids"].shape[1] for feed in read_samples("synthetic", graph_of(model)).batches)
    with pytest.raises(Exception, match=r"RUNTIME|INVALID|FAIL"):
        run(model, {name: np.ones((1, 4 * longest), np.int64) for name in ("input_ids", "attention_mask")})


def test_lengths_are_tried_where_weights_lie_beside_the_graph():
    """As those of what grew first do: a length that the source does not run on is no length."""
    session = Session(golden("torch-gpt2-torchscript"))
    grown = Graph(session.resized(Request(depth_mult=1.5, method="lossless")))
    lengths = [
        max(feed["input_ids"].shape[1] for feed in read_samples("synthetic", graph).batches)
        for graph in (session.graph, grown)
    ]
    assert lengths[0] == lengths[1] < 64


def test_pictures_that_are_made_up_are_smooth_and_their_channels_go_together():
    samples = read_samples("synthetic", sums(("image", FLOAT, ["batch", 3, 32, 48])), count=64)
    found = np.concatenate([feed["image"] for feed in samples.batches])
    assert found.shape == (64, 3, 32, 48)
    assert found.std((1, 2, 3)) == pytest.approx(np.ones(64), abs=1e-3)
    assert found.mean((1, 2, 3)).std() > 0.3
    near = found - found.mean((2, 3), keepdims=True)
    near /= near.std((2, 3), keepdims=True)
    assert (near[..., 1:] * near[..., :-1]).mean() > 0.4
    assert (near[:, 0] * near[:, 1]).mean() > 0.4
    last = read_samples("synthetic", sums(("image", BYTE, ["batch", 32, 48, 3])), count=8).batches[0]["image"]
    assert last.shape == (8, 32, 48, 3) and last.dtype == np.uint8 and last.std() > 30


def test_sequences_that_are_made_up_change_slowly():
    graph = graph_of(golden("torch-encoder-dynamo"))
    for feed in read_samples("synthetic", graph, count=32).batches:
        rows = feed["src"]
        if rows.shape[1] >= 16:
            assert (rows[:, 1:] * rows[:, :-1]).mean() > 0.2 > abs((rows[:, :, 1:] * rows[:, :, :-1]).mean())


def test_sizes_that_are_sums_of_others_follow_them():
    model = model_of(
        IDS,
        ("mask", INT, ["batch", "past + sequence"]),
        ("past.key", FLOAT, ["batch", 2, "past", 4]),
        ("past.value", FLOAT, ["batch", 2, "past", 4]),
    )
    samples = read_samples("synthetic", graph_of(model), count=32)
    assert any(feed["past.key"].shape[2] != feed["ids"].shape[1] for feed in samples.batches)
    for feed in samples.batches:
        assert feed["mask"].shape[1] == feed["ids"].shape[1] + feed["past.key"].shape[2]
        run(model, feed)


def test_what_is_held_out_of_few_possible_samples_is_none_of_the_others():
    graph = sums(("ids", INT, ["batch", 2]), rows=20)  # 361 to 400 of them, drawn 512 times
    samples = read_samples("synthetic", graph)
    kept, apart = (rows(samples, "ids") for rows in (rows_of, rows_apart))
    assert len(kept) == 512 and 0 < len(apart) < 51 and {*kept}.isdisjoint(apart)
    with pytest.raises(RequestError, match=r"would all be alike.*got mask"):
        read_samples("synthetic", sums(("mask", INT, ["batch", 5])))


def test_a_graph_that_runs_at_no_length_is_refused():
    model = model_of(("x", FLOAT, ["batch", "length", 3]))
    shape = numpy_helper.from_array(np.array([5, 7, 11]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("Reshape", ["x", "shape"], ["x.shaped"]))
    model.graph.node[1].input[0] = "x.shaped"
    with pytest.raises(RequestError, match=r"does not run on inputs that are made up"):
        read_samples("synthetic", graph_of(model))


def test_rows_that_are_made_up_are_as_many_as_asked_for():
    samples = read_samples("synthetic", graph_of(mlp()), count=300, batch=128)
    assert [len(feed["x"]) for feed in samples.batches] == [128, 128, 44]
    assert sum(len(feed["x"]) for feed in samples.held_out) == 30


def test_pictures_made_up_have_edges() -> None:
    """Differences of neighbours are mostly small and sometimes large, as in what is recorded; clouds' are Gaussian."""

    def tails(pictures: np.ndarray) -> float:
        steps = np.diff(pictures, axis=-1).astype(np.float64)
        steps = steps / steps.std((1, 2, 3), keepdims=True)
        return float((steps**4).mean((1, 2, 3)).mean())

    pictures = picture_like(np.random.default_rng(0), (64, 3, 32, 32), (2, 3))
    clouds = coloured(np.random.default_rng(0), (64, 3, 32, 32), 2)
    assert tails(pictures) > 1.3 * tails(clouds)
    assert np.abs(pictures.std((1, 2, 3)) - 1).max() < 1e-3


@pytest.mark.parametrize("first", [True, False])
def test_ids_that_are_moved_to_their_stretch_of_a_table_stay_within_it(first: bool) -> None:
    """Features with a stretch of one table each: what is fed is below the table's end less the largest offset."""
    net = Net(random.Random(0))
    ids, offsets = net.input(["batch", 2], np.int64), net.ints(0, 6)
    moved = net.add("Add", *((ids, offsets) if first else (offsets, ids)))
    model = net.model(net.add("MatMul", net.add("Gather", net.weight(14, 4), moved), net.weight(4, 3)))
    fed = [synthetic_inputs(Graph(read_model(model)), {}, seed)[ids] for seed in range(20)]
    assert max(int(array.max()) for array in fed) == 7


def classifier() -> onnx.ModelProto:
    """Pictures to three logits that random directions give."""
    directions = np.random.default_rng(3).normal(size=(3 * 8 * 8, 3)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["image"], ["row"]), helper.make_node("MatMul", ["row", "w"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", FLOAT, ["batch", 3])],
        [numpy_helper.from_array(directions, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("batch", [None, 4])
def test_of_pictures_made_up_for_a_classifier_those_are_taken_that_it_is_sure_of(batch: int | None) -> None:
    model = classifier()
    if batch is not None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    samples = read_samples("synthetic", graph_of(model), count=120)
    chosen = np.concatenate([feed["image"] for feed in (*samples.batches, *samples.held_out)])
    drawn = picture_like(np.random.default_rng(9), (512, 3, 8, 8), (2, 3))
    logits = [np.sort(pictures.reshape(len(pictures), -1) @ weights(model), axis=1) for pictures in (chosen, drawn)]
    sure, plain = (np.median(rows[:, -1] - rows[:, -2]) for rows in logits)
    assert samples.count == 120 and {len(feed["image"]) for feed in samples.batches} <= {4, 32, 24}
    assert sure > 1.5 * plain
    counts = np.bincount((chosen.reshape(len(chosen), -1) @ weights(model)).argmax(1))
    assert counts.min() > 0.9 * counts.max()
    again = read_samples("synthetic", graph_of(model), count=120)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(samples.batches, again.batches, strict=True))


def weights(model: onnx.ModelProto) -> np.ndarray:
    """Its only weight."""
    return numpy_helper.to_array(model.graph.initializer[0])


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_ids_of_a_vocabulary_are_drawn_as_words_are_used(kind: type) -> None:
    """The first of those that were learned most; those that were not lie near the mean, and are left out."""
    net, rng = Net(random.Random(0)), np.random.default_rng(0)
    table = 1 + rng.normal(size=(3000, 8))
    table[100:400] = 1 + 0.02 * rng.normal(size=(300, 8))
    net.add("Gather", net.const(table.astype(kind)), net.input(["batch", "length"], np.int64, "ids"))
    net.nodes[-1].output[0] = "out"
    samples = read_samples("synthetic", graph_of(net.model("out")), count=400)
    ids = np.concatenate([feed["ids"].ravel() for feed in samples.batches])
    assert ids.min() == 1 and ids.max() < 3000 and not np.any((ids >= 100) & (ids < 400))
    ranks = np.where(ids < 100, ids, ids - 300)
    shares = [np.mean((low <= ranks) & (ranks < high)) for low, high in ((1, 100), (100, 1000), (1000, 2700))]
    wanted = [
        np.log((high + 30) / (low + 30)) / np.log(2730 / 31) for low, high in ((1, 100), (100, 1000), (1000, 2700))
    ]
    assert shares == pytest.approx(wanted, abs=0.05)


def test_ids_of_a_table_of_which_nothing_can_be_told_are_uniform() -> None:
    """Few entries, or a table that is added to before it is looked into."""
    for rows, shifted in ((900, False), (3000, True)):
        net = Net(random.Random(0))
        ids = net.input(["batch", "length"], np.int64, "ids")
        net.add("Gather", net.weight(rows, 8), net.add("Add", ids, net.const(5, np.int64)) if shifted else ids)
        net.nodes[-1].output[0] = "out"
        samples = read_samples("synthetic", graph_of(net.model("out")), count=400)
        found = np.concatenate([feed["ids"].ravel() for feed in samples.batches])
        assert np.median(found) == pytest.approx(rows / 2, rel=0.1)
