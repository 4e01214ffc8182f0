"""Files made to hurt: each ends in an answer or in one line that names the cause, in seconds, whatever it holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from small import DIGITS, mlp
from tiers import few

import front_onnx
from front_onnx.check.apart import ApartError, apart
from front_onnx.commands import main
from front_onnx.errors import DamagedError

FOLDER = Path(__file__).parent / "attack"
CAUSES = {
    "AttributeError_einsum_terms.onnx": "Einsum lacks its attribute equation",
    "IndexError_restores.onnx": "Cast has an attribute to of another type",
    "IndexError__init__.onnx": "Constant has 0 outputs",
    "ZeroDivisionError_grouped.onnx": "Conv has a number below 1 in its attribute group",
    "ZeroDivisionError_slide.onnx": "AveragePool has a number below 1 in its attribute strides",
    "TypeError_describe_structure.onnx": "a name is no text",
    "AssertionError_topological.onnx": "made twice",
    "bad-1.safetensors": "its header has no proper entry source",
    "bad-4.safetensors": "its header has no proper entry stacks",
    "bad-8.safetensors": "its header has no proper entry source.chains",
}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _is_an_answer(result: Result) -> None:
    assert result.exit_code in (0, 1, 2), result.output
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "is a bug" not in result.output and "Traceback" not in result.output, result.output


LONG = ("hang-check.onnx", "einsum_50k_dots.onnx")  # for seconds, until they are stopped


@pytest.mark.parametrize(
    "path",
    few(
        [pytest.param(path, id=path.name) for path in sorted(FOLDER.iterdir())],
        lambda p: p.name not in LONG,
        mark="slow",
    ),
)
def test_every_file_gets_an_answer(path: Path, tmp_path: Path) -> None:
    found = _run("inspect", path)
    _is_an_answer(found)
    assert CAUSES.get(path.name, "") in found.stderr
    if path.suffix == ".onnx":
        _is_an_answer(_run("resize", path, "--width-mult", "1", "-o", tmp_path / "out.onnx"))
    else:
        _is_an_answer(_run("init", path, "--dry-run"))


def test_a_crash_of_onnxruntime_is_told_in_one_line() -> None:
    found = _run("validate", FOLDER / "segfault-in-onnxruntime.onnx")
    assert found.exit_code == 1 and "it crashed" in found.output
    assert _run("validate", DIGITS).exit_code == 0  # another process is there for the next


def test_what_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONT_ONNX_CHECK_SECONDS", "0.5")
    with pytest.raises(ApartError, match="stopped"):
        apart().ask("check", path=str(FOLDER / "hang-check.onnx"))
    assert not apart()._process.poll()


def _saved(path: Path, *nodes: onnx.NodeProto, shape: list[int | str], weights: tuple = (), **more: object) -> Path:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*nodes], "g", [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, None)], [*weights]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8, **more).SerializeToString())
    return path


def test_functions_that_call_each_other_twice_are_refused_before_they_are_written_out(tmp_path: Path) -> None:
    functions = []
    for level in range(40):
        called, domain = ("Relu", "") if level == 0 else (f"f{level - 1}", "own")
        nodes = [helper.make_node(called, [a], [b], domain=domain) for a, b in ("ab", "bc")]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"f{level}", ["a"], ["c"], nodes, opsets))
    call = helper.make_node("f39", ["x"], ["y"], domain="own")
    with pytest.raises(DamagedError, match="too many nodes"):
        front_onnx.inspect(_saved(tmp_path / "m.onnx", call, shape=["b", 4], functions=functions))


def test_a_concat_of_very_many_inputs_is_one_sum(tmp_path: Path) -> None:
    node = helper.make_node("Concat", ["x"] * 5000, ["y"], axis=1)
    structure = front_onnx.inspect(_saved(tmp_path / "m.onnx", node, shape=["b", 2]))
    assert not structure.analysis.troubles


@pytest.mark.parametrize("op", ["Mul", "Add", "Pow"])
def test_whole_numbers_wrap_at_64_bits(tmp_path: Path, op: str) -> None:
    """What shape arithmetic computes is what onnxruntime computes, be it too large for 64 bits."""
    start = numpy_helper.from_array(np.array([7], np.int64), "n0")
    nodes = [helper.make_node(op, [f"n{i}", f"n{i}"], [f"n{i + 1}"]) for i in range(3 if op == "Pow" else 70)]
    last = f"n{len(nodes)}"
    shape = helper.make_node("ConstantOfShape", ["some"], ["y"])
    low = numpy_helper.from_array(np.array([15], np.int64), "low")
    ends = [helper.make_node("Mod", [last, "low"], ["some"]), shape]
    path = _saved(tmp_path / "m.onnx", *nodes, *ends, shape=["b", 2], weights=(start, low))
    analysis = front_onnx.inspect(path).analysis
    value = np.array([7], np.int64)
    with np.errstate(over="ignore"):
        for _ in nodes:
            value = value**value if op == "Pow" else value * value if op == "Mul" else value + value
    assert analysis.facts[last].value[0].value == value[0]


# -- what is printed ------------------------------------------------------------------------------------------


def _named(path: Path, name: str) -> Path:
    """The digits, with a node of a name made to hurt, and an operator that nobody knows to be told of it."""
    model = onnx.load(DIGITS)
    relu = next(node for node in model.graph.node if node.op_type in ("Relu", "Gelu", "Erf", "Softmax"))
    relu.op_type, relu.domain, relu.name = "Odd", "own", name
    model.opset_import.add(domain="own", version=1)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", ["\x1b[2J\x07gone", "a\nb\rc", "\u202eright to left", "\x9b31m"])
def test_terminals_are_given_nothing_to_obey(tmp_path: Path, name: str) -> None:
    found = _run("inspect", _named(tmp_path / "m.onnx", name))
    assert found.exit_code == 0
    assert all(sign == "\n" or sign.isprintable() for sign in found.output), repr(found.output)


def test_lines_are_no_longer_than_anyone_reads(tmp_path: Path) -> None:
    found = _run("inspect", _named(tmp_path / "m.onnx", "n" * 50_000))
    assert found.exit_code == 0 and max(map(len, found.output.splitlines())) < 2000
    assert "(50000 characters)" in found.output


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    found = _run("resize", DIGITS, "--depth", "0", "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == told["exit_code"] == 2
    assert told["kind"] == "RequestError" and "depth" in told["error"]
    assert json.loads(_run("inspect", tmp_path / "none.onnx", "--json").stdout)["kind"] == "FileError"


def test_nothing_is_wrapped_in_a_pipe_and_any_encoding_does() -> None:
    """A process of its own: its streams are what is tried."""
    clean = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    call = [sys.executable, "-c", "from front_onnx.commands import main; main()", "inspect", str(DIGITS)]
    found = subprocess.run(
        call, capture_output=True, env={**clean, "PYTHONIOENCODING": "ascii", "LANG": "C"}, check=True
    )
    first = found.stdout.decode("ascii").splitlines()[0]
    assert str(DIGITS) in first and "opset" in first


def test_a_map_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target.onnx"
    onnx.save(mlp(), target)
    (tmp_path / "map.json").write_text(json.dumps({"layers.0.wieght": None}))
    found = _run("init", "--from", target, "--into", target, "--map", tmp_path / "map.json", "--dry-run")
    assert found.exit_code == 2 and "layers.0.wieght" in found.stderr and "layers.0.weight" in found.stderr


def test_a_depth_that_no_memory_holds_is_refused() -> None:
    found = _run("resize", DIGITS, "--depth", "100000000")
    assert found.exit_code == 2 and "nodes" in found.stderr
