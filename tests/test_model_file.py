"""Reading and writing models: nothing lost, nothing half-written, nothing read that is not the model's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import front_onnx
from front_onnx.errors import DamagedError, FrontError
from front_onnx.read.model_file import ModelFile, read_model
from front_onnx.read.wire import Hole, cut, splice
from front_onnx.store.atomic import atomic_write
from front_onnx.store.model_writer import ModelWriter, ProtoWriter

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
CORPUS = sorted(DATA.rglob("*.onnx"))[::3]
FEW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "big": rng.standard_normal((40, 50)).astype(np.float32),
        "half": rng.standard_normal((30, 70)).astype(np.float16),
        "brain": rng.standard_normal((33, 31)).astype(ml_dtypes.bfloat16),
        "small": np.arange(3, dtype=np.float32),
        "ids": np.arange(500, dtype=np.int64),
        "flag": np.array(True),
        "empty": np.zeros((0, 4), np.float32),
        "four": (np.arange(4001) % 8).astype(ml_dtypes.int4),
    }


def small_model() -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    tensors[0].doc_string = "a weight"  # field 12: stands after raw_data
    graph = helper.make_graph(
        [helper.make_node("Identity", [tensor.name], [f"{tensor.name}_out"]) for tensor in tensors],
        "graph",
        [],
        [helper.make_tensor_value_info("big_out", TensorProto.FLOAT, [40, 50])],
        tensors,
    )
    model = helper.make_model(graph, producer_name="test", doc_string="told")
    helper.set_model_props(model, {"key": "value"})
    # An unknown field (number 999, four bytes) as a later release of onnx may write it.
    return onnx.ModelProto.FromString(model.SerializeToString() + b"\xba\x3e\x04abcd")


def saved(folder: Path, *, external: bool = False) -> Path:
    path = folder / "model.onnx"
    if external:
        onnx.save(small_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    else:
        onnx.save(small_model(), path)
    return path


def copy(model: ModelFile, path: Path, *, pending: set[str] | None = None, **options: Any) -> None:
    pending = model.missing() if pending is None else pending
    with atomic_write(path) as staged, ModelWriter(model.proto, staged, pending=pending, **options) as writer:
        for tensor in reversed(model.proto.graph.initializer):
            if tensor.name in pending:
                writer.put(tensor.name, model.array(tensor))


def without_location(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnx.load leaves an explicit DEFAULT where external data were."""
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")
    return model


# Reading


@pytest.mark.parametrize("external", [False, True])
def test_arrays_are_the_weights(tmp_path: Path, external: bool) -> None:
    model = read_model(saved(tmp_path, external=external))
    assert model.external is external
    assert {"big", "half", "brain", "ids"} <= model.missing()
    assert model.size == sum(file.stat().st_size for file in tmp_path.iterdir())
    for tensor in model.proto.graph.initializer:
        array, wanted = model.array(tensor), weights()[tensor.name]
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(array, wanted)
        assert not array.flags.writeable


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path))
    big = next(tensor for tensor in model.proto.graph.initializer if tensor.name == "big")
    assert not big.HasField("raw_data")
    assert model.proto.ByteSize() < 2500 < model.size
    array = model.array(big)
    model.forget()
    np.testing.assert_array_equal(array, weights()["big"])


def test_proto_is_taken_as_it_is() -> None:
    proto = small_model()
    before = proto.SerializeToString()
    model = read_model(proto)
    assert model.proto is proto
    assert (model.path, model.external, model.size) == (None, False, len(before))
    for tensor in proto.graph.initializer:
        np.testing.assert_array_equal(model.array(tensor), weights()[tensor.name])
    assert proto.SerializeToString() == before


def test_typed_fields() -> None:
    for kind, values in [
        (TensorProto.FLOAT, [1.5, 2.0]),
        (TensorProto.DOUBLE, [1.5, 2.0]),
        (TensorProto.FLOAT16, [1.5, 2.0]),
        (TensorProto.BFLOAT16, [1.5, 2.0]),
        (TensorProto.INT64, [1, -2]),
        (TensorProto.INT8, [1, -2]),
        (TensorProto.BOOL, [True, False]),
        (TensorProto.UINT64, [1, 2]),
    ]:
        tensor = helper.make_tensor("t", kind, [2], values)
        assert not tensor.HasField("raw_data")
        out = read_model(small_model()).array(tensor)
        assert out.dtype == helper.tensor_dtype_to_np_dtype(kind)
        np.testing.assert_array_equal(out, np.array(values, out.dtype))


# Writing


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.parent.name)
def test_copies_of_real_models_are_equal(path: Path, tmp_path: Path) -> None:
    model = read_model(path)
    raw = {tensor.name for tensor in model.proto.graph.initializer if tensor.HasField("raw_data")}
    copy(model, tmp_path / "copy.onnx", external=False, pending=model.missing() | raw)
    assert onnx.load(tmp_path / "copy.onnx") == onnx.load(path)


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize("everything", [False, True])
def test_copy_is_equal(tmp_path: Path, source: bool, target: bool, everything: bool) -> None:
    model = read_model(saved(tmp_path, external=source))
    before = model.proto.SerializeToString()
    pending = set(weights()) if everything else None
    out = tmp_path / "out.onnx"
    copy(model, out, external=target, pending=pending)
    assert without_location(onnx.load(out)) == without_location(onnx.load(tmp_path / "model.onnx"))
    if source == target and not everything:
        assert onnx.load(out) == onnx.load(tmp_path / "model.onnx")
    assert (tmp_path / "out.onnx.data").exists() is target
    assert model.proto.SerializeToString() == before
    assert not list(tmp_path.glob(".*"))
    onnx.checker.check_model(out)


def test_internal_copy_has_protobufs_own_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    copy(read_model(path), tmp_path / "out.onnx", external=False)
    wanted = onnx.load(path).SerializeToString(deterministic=True)
    assert (tmp_path / "out.onnx").read_bytes() == wanted


def test_proto_writer_is_the_same_in_memory(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path))
    writer = ProtoWriter(model.proto, model.missing())
    with pytest.raises(FrontError, match="never given"):
        writer.result()
    for tensor in model.proto.graph.initializer:
        if tensor.name in model.missing():
            writer.put(tensor.name, model.array(tensor))
    assert writer.result() == small_model()


def test_new_shape_and_type_replace_old_values(tmp_path: Path) -> None:
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(small_model())
    first = skeleton.graph.initializer[0]
    del first.dims[:]
    first.dims.extend([2, 300])
    first.data_type = TensorProto.DOUBLE
    values = np.random.default_rng(1).standard_normal((2, 300))
    with (
        atomic_write(tmp_path / "o.onnx") as staged,
        ModelWriter(skeleton, staged, external=False, pending={"big"}) as writer,
    ):
        writer.put("big", values.T.copy().T)  # not contiguous
    loaded = onnx.load(tmp_path / "o.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), values)


def test_over_the_limit_goes_to_a_data_file(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path))
    copy(model, tmp_path / "out.onnx", external=False, largest=10_000)
    entries = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in onnx.load(tmp_path / "out.onnx", load_external_data=False).graph.initializer
        if tensor.external_data
    }
    assert set(entries) == model.missing()
    assert all(entry["location"] == "out.onnx.data" for entry in entries.values())
    assert int(entries["big"]["offset"]) % 4096 == 0
    assert without_location(onnx.load(tmp_path / "out.onnx")) == small_model()


def test_in_place(tmp_path: Path) -> None:
    for external in (False, True):
        path = saved(tmp_path, external=external)
        for _ in range(2):
            copy(read_model(path), path, external=external)
        assert without_location(onnx.load(path)) == small_model()


def test_put_is_checked(tmp_path: Path) -> None:
    big = weights()["big"]
    with (
        atomic_write(tmp_path / "o.onnx") as staged,
        ModelWriter(small_model(), staged, external=False, pending={"big"}) as writer,
    ):
        for name, array, reason in [
            ("small", weights()["small"], "not pending"),
            ("nowhere", big, "not pending"),
            ("big", big.astype(np.float64), "another element type"),
            ("big", big.T, "another shape"),
        ]:
            with pytest.raises(FrontError, match=reason):
                writer.put(name, array)
        writer.put("big", big)
        with pytest.raises(FrontError, match="given twice"):
            writer.put("big", big)
    with pytest.raises(FrontError, match="pending name 'nowhere'"):
        ProtoWriter(small_model(), {"nowhere"})


@given(st.dictionaries(st.sampled_from(sorted(weights())), st.integers(0, 300)))
@FEW
def test_splice_undoes_cut(lengths: dict[str, int]) -> None:
    """For any lengths: filling the holes gives a message with exactly those raw_data."""
    model = small_model()
    names = [tensor.name for tensor in model.graph.initializer]
    for tensor in model.graph.initializer:
        if tensor.name in lengths:
            tensor.ClearField("raw_data")
    layout = splice(model.SerializeToString(), {names.index(name): size for name, size in lengths.items()})
    out = bytearray(layout.size)
    for offset, piece in layout.pieces:
        out[offset : offset + len(piece)] = piece
    for ordinal, hole in layout.holes.items():
        out[hole.offset : hole.offset + hole.length] = bytes([ordinal]) * hole.length
    for ordinal, tensor in enumerate(model.graph.initializer):
        if tensor.name in lengths:
            tensor.raw_data = bytes([ordinal]) * lengths[tensor.name]
    assert onnx.ModelProto.FromString(bytes(out)) == model
    holes = cut(bytes(out), 0)[1]
    assert all(holes[ordinal] == hole for ordinal, hole in layout.holes.items() if hole.length)


def test_cut_keeps_the_rest() -> None:
    data = small_model().SerializeToString()
    skeleton, holes = cut(data, 1024)
    model = onnx.ModelProto.FromString(skeleton)
    for tensor, hole in zip(model.graph.initializer, holes, strict=True):
        if isinstance(hole, Hole):
            tensor.raw_data = data[hole.offset : hole.offset + hole.length]
    assert model == small_model()


# Files that are no models, or not whole


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04" + bytes(99), b"\x08\x08", b"{}", b"\xff" * 50])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(FrontError) as caught:
        read_model(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert "m.onnx" in str(caught.value)


def test_missing_folder_and_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match="there is no file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(FrontError, match="folder"):
        read_model(tmp_path)
    with pytest.raises(FrontError, match="a model is a path"):
        read_model(3)  # type: ignore[arg-type]
    with pytest.raises(FrontError):
        read_model(str(tmp_path / "nul\0byte"))


def test_models_without_a_graph_or_nodes() -> None:
    with pytest.raises(FrontError, match="no graph"):
        read_model(onnx.ModelProto(ir_version=8))
    empty = small_model()
    del empty.graph.node[:]
    with pytest.raises(FrontError, match="without nodes"):
        read_model(empty)


def read_everything(path: Path) -> None:
    """Read the model and all of its weights, or raise FrontError: anything else is a defect."""
    try:
        model = read_model(path)
        for tensor in model.proto.graph.initializer:
            model.array(tensor)
    except FrontError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("twice", ["two nodes", "a node and a weight", "a node and an input", "two weights"])
def test_a_name_made_twice_is_told(twice: str) -> None:
    model = small_model()
    graph = model.graph
    name = graph.initializer[0].name
    if twice == "two nodes":
        graph.node[1].output[0] = name = graph.node[0].output[0]
    elif twice == "two weights":
        graph.initializer.append(graph.initializer[0])
    else:
        graph.node[1].output[0] = name
    if twice == "a node and an input":
        graph.node[1].output[0] = name = "given"
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]))
    for ask in (front_onnx.inspect, lambda m: front_onnx.resize(m, width_mult=2)):
        with pytest.raises(DamagedError, match=f"'{name}' is made twice"):
            ask(model)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    data, path = saved(tmp_path).read_bytes(), tmp_path / "cut.onnx"
    tail = len(small_model().graph.SerializeToString())
    for length in [*range(1, 400), *range(400, len(data), 37)]:
        path.write_bytes(data[:length])
        if length < tail:  # inside the graph: it cannot be whole
            with pytest.raises(FrontError):
                read_model(path)
        read_everything(path)


@given(st.binary(min_size=1, max_size=300))
@FEW
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    read_everything(tmp_path / "m.onnx")


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=8))
@settings(FEW, max_examples=300)
def test_damaged_bytes(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(small_model().SerializeToString())
    for place, value in changes:  # mostly in the header, the nodes and the tensors' own headers
        data[place % (len(data) if place % 3 else 600)] = value
    (tmp_path / "m.onnx").write_bytes(data)
    read_everything(tmp_path / "m.onnx")


def test_wrong_byte_lengths_name_the_tensor(tmp_path: Path) -> None:
    for place, name, change in [(0, "big", 1), (0, "big", -1), (3, "small", 1), (3, "small", -1)]:
        model = small_model()
        model.graph.initializer[place].dims[0] += change
        onnx.save(model, tmp_path / "m.onnx")
        with pytest.raises(FrontError, match=rf"{name!r}.*byte length"):
            read_model(tmp_path / "m.onnx")
    model = small_model()
    model.graph.initializer[0].data_type = 99
    with pytest.raises(FrontError, match=r"'big'.*element type"):
        read_model(model)
    typed = small_model()
    typed.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [2], [1, 2]))
    typed.graph.initializer[-1].dims[0] = 5
    with pytest.raises(FrontError, match="'typed'"):
        read_model(typed)


# External data: only the model's own files


def external_model(folder: Path, location: str, **more: str) -> Path:
    tensor = TensorProto(name="w", dims=[300], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [tensor])
    folder.mkdir(exist_ok=True)
    (folder / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return folder / "m.onnx"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(np.ones(300, np.float32).tobytes())
    return tmp_path / "secret"


def test_data_beside_and_below_the_model(tmp_path: Path, secret: Path) -> None:
    for location in ("w.bin", "sub/w.bin", "sub/../w.bin"):
        path = external_model(tmp_path / "model", location)
        (path.parent / "sub").mkdir(exist_ok=True)
        (path.parent / location).write_bytes(secret.read_bytes())
        model = read_model(path)
        np.testing.assert_array_equal(model.array(model.proto.graph.initializer[0]), np.ones(300))


@pytest.mark.parametrize("location", ["../secret", "sub/../../secret", "/etc/passwd", "C:\\x", "\\x", "", "a\0b", "."])
def test_data_elsewhere_are_refused(tmp_path: Path, secret: Path, location: str) -> None:
    with pytest.raises(FrontError, match="'w'"):
        read_model(external_model(tmp_path / "model", location))


def test_absolute_path_of_an_existing_file_is_refused(tmp_path: Path, secret: Path) -> None:
    with pytest.raises(FrontError, match="absolute"):
        read_model(external_model(tmp_path / "model", str(secret)))


def test_link_out_of_the_folder_is_refused(tmp_path: Path, secret: Path) -> None:
    path = external_model(tmp_path / "model", "w.bin")
    (path.parent / "w.bin").symlink_to(secret)
    with pytest.raises(FrontError, match="leads out"):
        read_model(path)


def test_linked_folder_out_of_the_folder_is_refused(tmp_path: Path, secret: Path) -> None:
    path = external_model(tmp_path / "model", "sub/secret")
    (path.parent / "sub").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(FrontError, match="leads out"):
        read_model(path)


def test_cache_with_model_and_data_as_links_is_accepted(tmp_path: Path, secret: Path) -> None:
    (blobs := tmp_path / "blobs").mkdir()
    (snapshot := tmp_path / "snapshots").mkdir()
    external_model(tmp_path / "made", "m.onnx_data").rename(blobs / "abc")
    secret.rename(blobs / "def")
    (snapshot / "m.onnx").symlink_to("../blobs/abc")
    (snapshot / "m.onnx_data").symlink_to("../blobs/def")
    model = read_model(snapshot / "m.onnx")
    np.testing.assert_array_equal(model.array(model.proto.graph.initializer[0]), np.ones(300))


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    path = external_model(tmp_path / "model", "w.bin")
    os.mkfifo(path.parent / "w.bin")
    with pytest.raises(FrontError, match="regular file"):
        read_model(path)


def test_missing_data_file_names_tensor_and_file(tmp_path: Path) -> None:
    with pytest.raises(FrontError, match=r"'w'.*w\.bin.*does not exist"):
        read_model(external_model(tmp_path / "model", "w.bin"))


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "4"},
        {"offset": "-4"},
        {"offset": "x"},
        {"offset": "9" * 30},
        {"length": "1196"},
        {"length": "1204"},
        {"offset": "18446744073709551615"},
        {"length": "1_200"},
    ],
)
def test_range_outside_the_data_file(tmp_path: Path, secret: Path, entries: dict[str, str]) -> None:
    path = external_model(tmp_path / "model", "w.bin", **entries)
    (path.parent / "w.bin").write_bytes(secret.read_bytes())
    with pytest.raises(FrontError, match="'w'"):
        read_model(path)


def test_proto_with_data_elsewhere_says_what_to_do(tmp_path: Path) -> None:
    path = saved(tmp_path, external=True)
    model = read_model(onnx.load(path, load_external_data=False))
    assert model.external
    with pytest.raises(FrontError, match="give the path"):
        model.array(model.proto.graph.initializer[0])


def test_data_of_nested_tensors_come_inside(tmp_path: Path) -> None:
    model = small_model()
    value = numpy_helper.from_array(np.arange(600, dtype=np.float32), "value")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w", size_threshold=100, convert_attribute=True)
    read = read_model(path)
    nested = read.proto.graph.node[-1].attribute[0].t
    np.testing.assert_array_equal(numpy_helper.to_array(nested), np.arange(600))
    copy(read, tmp_path / "o.onnx", external=True)
    assert onnx.load(tmp_path / "o.onnx") == onnx.load(path)
