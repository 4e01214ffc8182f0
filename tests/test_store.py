"""Results appear whole or not at all, replace what they may replace, and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small import DIGITS, mlp
from tiers import few

import front_onnx
from front_onnx import FrontError
from front_onnx.read.model_file import read_model
from front_onnx.store import atomic
from front_onnx.store.atomic import atomic_write
from front_onnx.store.interrupts import uninterrupted


def refusal(target: Path, **options) -> FrontError:
    with pytest.raises(FrontError) as caught, atomic_write(target, **options) as staged:
        staged.path.write_bytes(b"new")
    return caught.value


def write(target: Path, model: bytes = b"new", data: bytes | None = None, **options) -> None:
    with atomic_write(target, **options) as staged:
        staged.path.write_bytes(model)
        if data is not None:
            staged.data_path.write_bytes(data)


def pair(folder: Path, value: float, name: str = "out.onnx") -> None:
    """Write a model whose only weight is one value, in a data file, by the writer under test."""
    with atomic_write(folder / name) as staged:
        save_pair(staged.path, staged.data_name, value)


def save_pair(path: Path, data: str, value: float) -> None:
    weight = numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
    mark = numpy_helper.from_array(np.float32([value]), "mark")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "mark"], ["z"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xz"]
    model = helper.make_model(helper.make_graph(nodes, "pair", ends[:1], ends[1:], [weight, mark]))
    onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=100)


def values(path: Path) -> set[float]:
    """What a pair holds: one value, unless model and data are of two runs."""
    model = read_model(path)
    return {float(x) for tensor in model.proto.graph.initializer for x in np.unique(model.array(tensor))}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- targets ---------------------------------------------------------------------------------------------


def test_folders_devices_and_pipes_are_no_targets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-null").symlink_to("/dev/null")
    for target, reason in [
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "o.onnx", "does not exist"),
        (tmp_path / "pipe", "no regular file"),
        (Path("/dev/null"), "no regular file"),
        (tmp_path / "to-null", "no regular file"),
    ]:
        error = refusal(target)
        assert reason in str(error) and error.exit_code == 2 and ".front-onnx" not in str(error)
    assert names(tmp_path) == {"pipe", "to-null"} and (tmp_path / "to-null").is_symlink()


def test_a_name_that_ends_as_a_folder_does(tmp_path: Path) -> None:
    for target in ("", f"{tmp_path}/new/"):
        with pytest.raises(FrontError, match="is a folder; name a file") as caught:
            front_onnx.resize(DIGITS, depth=3, output=target)
        assert caught.value.exit_code == 2
    assert names(tmp_path) == set()


def test_a_name_that_leaves_no_room_for_that_of_a_data_file(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 246 + ".onnx")
    assert front_onnx.resize(DIGITS, depth=3, output=target).output == target
    with pytest.raises(FrontError, match="cannot be written: File name too long"):
        front_onnx.resize(DIGITS, depth=3, output=tmp_path / ("a" * 256 + ".onnx"))


@pytest.mark.slow  # processes
@pytest.mark.parametrize("command", ["resize {model} --depth 3", "extract {model}", "init {model} --into {model}"])
def test_every_command_refuses_a_device(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    model = str(DIGITS)
    arguments = command.replace("init {model}", "init --from {model}").format(model=model).split()
    for target in ("/dev/null", str(tmp_path / "pipe.safetensors")):
        done = subprocess.run(
            [sys.executable, "-m", "front_onnx", *arguments, "-o", target], capture_output=True, text=True
        )
        assert done.returncode == 2 and "Error: " in done.stderr and done.stderr.count("\n") == 1
    assert not Path("/dev/null").is_file()


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "model.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real/model.onnx")
    (tmp_path / "second.onnx").symlink_to("link.onnx")
    (tmp_path / "dangling.onnx").symlink_to("real/other.onnx")
    write(tmp_path / "second.onnx")
    write(tmp_path / "dangling.onnx", b"other")
    assert (tmp_path / "link.onnx").is_symlink() and (tmp_path / "second.onnx").is_symlink()
    assert (tmp_path / "real" / "model.onnx").read_bytes() == b"new"
    assert (tmp_path / "real" / "other.onnx").read_bytes() == b"other"
    assert names(tmp_path / "real") == {"model.onnx", "other.onnx"}


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("no/where.onnx")
    assert refusal(tmp_path / "a").exit_code == 2
    assert "does not exist" in str(refusal(tmp_path / "c"))


def test_no_data_beside_a_link_into_another_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.onnx").symlink_to("real/model.onnx")
    onnx.save(onnx.load(DIGITS), tmp_path / "a.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(FrontError, match=r"link into another folder.*; output=.*real.model\.onnx"):
        front_onnx.resize(tmp_path / "a.onnx", depth=3, output=tmp_path / "link.onnx")
    assert names(tmp_path / "real") == set()
    (tmp_path / "here.onnx").symlink_to("b.onnx")
    front_onnx.resize(tmp_path / "a.onnx", depth=3, output=tmp_path / "here.onnx")
    assert values(tmp_path / "here.onnx") and names(tmp_path) >= {"b.onnx", "b.onnx.data"}


def test_a_read_only_file_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"old")
    out.chmod(0o444)
    error = refusal(out)
    assert "read-only" in str(error) and error.exit_code == 2
    assert out.read_bytes() == b"old" and names(tmp_path) == {"out.onnx"}


# --- all or nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_exception_leaves_what_was_there(tmp_path: Path, stop: type[BaseException]) -> None:
    (tmp_path / "out.onnx").write_bytes(b"old")
    (tmp_path / "out.onnx.data").write_bytes(b"old data")
    with pytest.raises(stop), atomic_write(tmp_path / "out.onnx") as staged:
        staged.path.write_bytes(b"new")
        staged.data_path.write_bytes(b"new data")
        raise stop
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"out.onnx": b"old", "out.onnx.data": b"old data"}


@pytest.mark.parametrize("step", range(1, 12))
@pytest.mark.parametrize("existing", [False, True])
def test_whatever_move_fails_the_name_leads_to_a_whole_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, step: int
) -> None:
    """Fail at the first, second ... call to the system that changes the folder, as a full disk or a kill would."""
    if existing:
        pair(tmp_path, 1.0)
    before = names(tmp_path)
    calls = 0

    def counted(function):
        def failing(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == step:
                raise PermissionError(13, "not allowed")
            return function(*args, **kwargs)

        return failing

    monkeypatch.setattr(atomic.os, "replace", counted(os.replace))
    monkeypatch.setattr(atomic.os, "rename", counted(os.rename))
    monkeypatch.setattr(atomic.os, "link", counted(os.link))
    monkeypatch.setattr(atomic.Path, "unlink", counted(Path.unlink))
    try:
        pair(tmp_path, 2.0)
    except FrontError as error:
        assert "out.onnx cannot be written: not allowed" in str(error)
        monkeypatch.undo()
        assert names(tmp_path) == before and (not existing or values(tmp_path / "out.onnx") == {1.0})
    else:
        monkeypatch.undo()
        assert values(tmp_path / "out.onnx") == {2.0}
    assert not list(tmp_path.glob(".front-onnx*"))


def test_errors_of_the_system_name_the_target(tmp_path: Path) -> None:
    with pytest.raises(FrontError) as caught, atomic_write(tmp_path / "out.onnx") as staged, staged.writing():
        raise OSError(28, "No space left on device", str(staged.path))
    assert str(caught.value) == f"{tmp_path / 'out.onnx'} cannot be written: No space left on device"
    assert names(tmp_path) == set()


# --- data files ------------------------------------------------------------------------------------------


def test_a_pair_replaces_a_pair_and_keeps_its_names(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        pair(tmp_path, value)
        assert names(tmp_path) == {"out.onnx", "out.onnx.data"}
        assert values(tmp_path / "out.onnx") == {value}


def test_the_same_request_has_the_same_bytes_whatever_it_replaced(tmp_path: Path) -> None:
    onnx.save(onnx.load(DIGITS), tmp_path / "a.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    found = []
    for depth in (3, 5, 3):
        front_onnx.resize(tmp_path / "a.onnx", depth=depth, output=tmp_path / "out.onnx", validate=False)
        found.append([(tmp_path / name).read_bytes() for name in ("out.onnx", "out.onnx.data")])
    assert found[0] == found[2] != found[1]


def test_a_single_file_takes_the_old_data_along(tmp_path: Path) -> None:
    pair(tmp_path, 1.0)
    write(tmp_path / "out.onnx")
    assert names(tmp_path) == {"out.onnx"}


@pytest.mark.parametrize("existing", [False, True])
def test_data_of_others_are_never_replaced(tmp_path: Path, existing: bool) -> None:
    (tmp_path / "out.onnx.data").write_bytes(b"of somebody else")
    if existing:
        (tmp_path / "out.onnx").write_bytes(b"no model")
    for value in (1.0, 2.0):
        pair(tmp_path, value)
        assert values(tmp_path / "out.onnx") == {value}
        assert (tmp_path / "out.onnx.data").read_bytes() == b"of somebody else"
        assert names(tmp_path) == {"out.onnx", "out.onnx.data", "out.onnx.1.data"}


def test_data_that_a_model_of_another_name_refers_to_are_not_taken_for_its_own(tmp_path: Path) -> None:
    save_pair(tmp_path / "other.onnx", "out.onnx.data", 1.0)
    pair(tmp_path, 2.0)
    assert values(tmp_path / "other.onnx") == {1.0} and values(tmp_path / "out.onnx") == {2.0}


def test_links_among_the_data_are_left_alone(tmp_path: Path) -> None:
    pair(tmp_path, 1.0)
    (tmp_path / "out.onnx.data").rename(tmp_path / "elsewhere")
    (tmp_path / "out.onnx.data").symlink_to("elsewhere")
    pair(tmp_path, 2.0)
    assert (tmp_path / "elsewhere").exists() and (tmp_path / "out.onnx.data").is_symlink()
    assert values(tmp_path / "out.onnx") == {2.0}


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(atomic.os, "link", none)
    for value in (1.0, 2.0, 3.0):
        pair(tmp_path, value)
        assert values(tmp_path / "out.onnx") == {value} and len(names(tmp_path)) == 2


# --- what is read ----------------------------------------------------------------------------------------


def test_a_file_that_any_tensor_is_read_from_is_never_written_over(tmp_path: Path) -> None:
    """Initializers, constants, tensors in subgraphs and sparse tensors: all of them name files."""
    names_of = {}
    array = np.arange(36, dtype=np.float32).reshape(6, 6)
    for kind in ("constant", "subgraph", "sparse"):
        model = mlp()
        held = numpy_helper.from_array(array, "held")
        file = tmp_path / f"{kind}.onnx"
        file.write_bytes(held.raw_data)
        held.ClearField("raw_data")
        held.data_location = TensorProto.EXTERNAL
        held.external_data.add(key="location", value=file.name)
        if kind == "constant":
            model.graph.node.append(helper.make_node("Constant", [], ["held"], value=held))
        elif kind == "subgraph":
            body = helper.make_graph(
                [helper.make_node("Identity", ["held"], ["o"])],
                "body",
                [],
                [helper.make_tensor_value_info("o", TensorProto.FLOAT, [6, 6])],
                [held],
            )
            model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
            model.graph.node.append(helper.make_node("If", ["yes"], ["held2"], then_branch=body, else_branch=body))
        else:
            indices = numpy_helper.from_array(np.arange(36, dtype=np.int64), "indices")
            held.dims[:] = [36]
            sparse = onnx.SparseTensorProto(values=held, indices=indices, dims=[6, 6])
            model.graph.sparse_initializer.append(sparse)
        source = tmp_path / f"model-{kind}.onnx"
        onnx.save(model, source)
        names_of[kind] = source
    for kind, source in names_of.items():
        before = (tmp_path / f"{kind}.onnx").read_bytes()
        for target in (f"{kind}.onnx", f"./{kind}.onnx"):
            with pytest.raises(FrontError, match=r"replace the input's data") as caught:
                front_onnx.resize(source, output=tmp_path / target)
            assert caught.value.exit_code == 2
        assert (tmp_path / f"{kind}.onnx").read_bytes() == before


def test_the_input_by_another_name_is_the_input(tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    source.write_bytes(DIGITS.read_bytes())
    (tmp_path / "link.onnx").symlink_to("a.onnx")
    os.link(source, tmp_path / "hard.onnx")
    for target in ("link.onnx", "hard.onnx", "../" + tmp_path.name + "/a.onnx"):
        with pytest.raises(FrontError, match="the output is the input"):
            front_onnx.resize(source, depth=3, output=tmp_path / target)
    assert source.read_bytes() == DIGITS.read_bytes()


# --- interruptions ---------------------------------------------------------------------------------------

WAITING = """
import sys, time
from pathlib import Path
from front_onnx.commands.signals import raising_signals
from front_onnx.store.atomic import atomic_write
with raising_signals(), atomic_write(Path(sys.argv[1])) as staged:
    staged.path.write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("number", "code"), few([(signal.SIGTERM, 143), (signal.SIGHUP, 129)], 1, mark="slow"))
def test_told_to_end_while_writing(tmp_path: Path, number: int, code: int) -> None:
    (tmp_path / "out.onnx").write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path / "out.onnx")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code and told == b""
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"out.onnx": b"old"}


@pytest.mark.slow  # processes
def test_a_command_that_is_told_to_end_says_so_and_exits_as_shells_expect(tmp_path: Path) -> None:
    """The signal comes from within the work, so that it comes at a known moment."""
    lines = "import sys, os, signal; sys.argv[1:] = {}; import front_onnx.api as a, front_onnx.commands.resize as r\n"
    lines += "r.resize = lambda *x, **y: os.kill(os.getpid(), signal.{})\n"
    lines += "from front_onnx.commands import main; main()"
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
        command = lines.format(["resize", str(DIGITS), "--depth", "3", "-o", str(tmp_path / "o.onnx")], name)
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
        assert done.returncode == code and done.stderr == f"Error: ended by {name}\n"


def test_signals_wait_for_the_end_of_a_critical_step() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("handled"))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            assert seen == []
            seen.append("done")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == ["done", "handled"]


def test_two_runs_on_one_output_never_mix(tmp_path: Path) -> None:
    """Threads write pairs at once while another reads: what stands there at any moment is of one run."""
    seen: list[set[float]] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def work(value: float) -> None:
        try:
            for number in range(25):
                pair(tmp_path, value + number)
        except Exception as error:
            errors.append(error)

    def look() -> None:
        while not ended.is_set():
            try:
                before = (tmp_path / "out.onnx").read_bytes()
                found = values(tmp_path / "out.onnx")
                if (tmp_path / "out.onnx").read_bytes() == before:  # else it was replaced while it was read
                    seen.append(found)
            except (OSError, FrontError):
                time.sleep(0.001)  # not there yet, or replaced between two reads

    threads = [threading.Thread(target=work, args=(value,)) for value in (100.0, 200.0)]
    reader = threading.Thread(target=look)
    for thread in (*threads, reader):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    reader.join()
    assert not errors and seen and all(len(found) == 1 for found in seen)
    assert names(tmp_path) == {"out.onnx", "out.onnx.data"} and len(values(tmp_path / "out.onnx")) == 1
