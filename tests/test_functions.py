"""Local functions: the inlined model computes what onnxruntime makes of the functions, and no weight is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper, parser
from small import constants, feed, run

from front_onnx.api import inspect, resize
from front_onnx.commands import main
from front_onnx.errors import FrontError
from front_onnx.read.functions import inline_functions
from front_onnx.read.model_file import read_model

WIDTH, INNER = 20, 40
HEADER = '<ir_version: 9, opset_import: ["" : 18, "local" : 1]>'
FUNCTION = '<domain: "local", opset_import: ["" : 18, "local" : 7]>'  # a version that nothing else gives the domain


def model(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A model in ONNX's text form with random initializers of the given shapes."""
    proto = parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return proto


def layered(depth: int) -> onnx.ModelProto:
    """Residual layers that are calls of one function with weights of their own, and one that all share inside."""
    calls = "".join(f"h{i + 1} = Layer (h{i}, up{i}, down{i})\n" for i in range(depth))
    for i in range(depth):
        calls = calls.replace(f"h{i + 1} = Layer", f"h{i + 1} = local.Layer", 1)
    gain = ", ".join(f"{1 + 0.01 * i * i:.2f}" for i in range(WIDTH))
    text = f"""{HEADER}
    layered (float[batch, 9] x) => (float[batch, 5] y) {{
        h0 = MatMul (x, stem)
        {calls}
        y = MatMul (h{depth}, head)
    }}
    {FUNCTION}
    Layer (h, up, down) => (out) {{
        gain = Constant <value = float[{WIDTH}] {{{gain}}}> ()
        scaled = Mul (h, gain)
        inner = local.Activated <alpha = 0.2> (scaled, up)
        mixed = MatMul (inner, down)
        out = Add (h, mixed)
    }}
    {FUNCTION}
    Activated <alpha> (x, w) => (y) {{
        product = MatMul (x, w)
        y = LeakyRelu <alpha: float = @alpha> (product)
    }}"""
    shapes: dict[str, tuple[int, ...]] = {"stem": (9, WIDTH), "head": (WIDTH, 5)}
    shapes |= {f"up{i}": (WIDTH, INNER) for i in range(depth)} | {f"down{i}": (INNER, WIDTH) for i in range(depth)}
    return model(text, **shapes)


def assert_same_outputs(proto: onnx.ModelProto, inlined: onnx.ModelProto) -> None:
    assert not inlined.functions
    onnx.checker.check_model(inlined, full_check=True)
    given = feed(proto)
    for wanted, got in zip(run(proto, given), run(inlined, given), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_nested_calls_compute_the_same():
    proto = layered(3)
    before = proto.SerializeToString()
    inlined, names = inline_functions(proto)
    assert proto.SerializeToString() == before
    assert names == ["Layer", "Activated"]
    assert [(o.domain, o.version) for o in inlined.opset_import] == [("", 18)]
    assert_same_outputs(proto, inlined)


def test_a_model_without_functions_is_not_even_copied():
    plain, _ = inline_functions(layered(2))
    assert inline_functions(plain) == (plain, [])


OPTIONAL = f"""{HEADER}
optional (float[2, 3] x) => (float[2, 3] a, float[2, 3] b, float[2, 3] c) {{
    a, b = local.Both <shift = 2.0> (x)
    c = local.Both <low = 0.1> (x)
}}
{FUNCTION}
Both <shift: float = 1.0, low> (x, top) => (out, x) {{
    inner = Constant <value_float: float = @shift> ()
    shifted = Add (x, inner)
    out = Clip (shifted, inner, top)
}}"""


def test_left_out_inputs_outputs_and_attributes():
    """An optional input, an output that is an input, an output nobody takes, and a default that one call keeps."""
    proto = parser.parse_model(OPTIONAL)
    inlined, _ = inline_functions(proto)
    onnx.checker.check_model(inlined, full_check=True)
    given = feed(proto)
    a, b, c = run(inlined, given)
    np.testing.assert_array_equal(a, np.maximum(given["x"] + 2, 2))
    np.testing.assert_array_equal(b, given["x"])
    np.testing.assert_array_equal(c, np.maximum(given["x"] + 1, 1))


BRANCHES = f"""{HEADER}
branches (float[2, 3] x, bool flag) => (float[2, 3] y) {{
    h = local.Branch (x, flag)
    y = If (flag) <
        then_branch = yes () => (float[2, 3] t) {{ t = local.Branch (h, flag) }},
        else_branch = no () => (float[2, 3] e) {{ e = Neg (h) }}
    >
}}
{FUNCTION}
Branch (x, flag) => (y) {{
    two = Constant <value = float {{2}}> ()
    twice = Mul (x, two)
    y = If (flag) <
        then_branch = yes () => (float[2, 3] t) {{ t = Add (twice, two) }},
        else_branch = no () => (float[2, 3] t) {{ u = Neg (twice)
                                                 t = Add (u, two) }}
    >
}}"""


@pytest.mark.parametrize("flag", [True, False])
def test_branches_inside_functions_and_calls_inside_branches(flag):
    proto = parser.parse_model(BRANCHES)
    inlined, _ = inline_functions(proto)
    onnx.checker.check_model(inlined, full_check=True)
    given = {**feed(proto), "flag": np.array(flag)}
    np.testing.assert_array_equal(run(inlined, given), run(proto, given))


def test_a_function_for_another_opset_stays_and_freezes_what_it_touches():
    proto = layered(2)
    proto.functions[1].opset_import[0].version = 17
    structure = inspect(proto)
    assert [f.name for f in structure.graph.model.proto.functions] == ["Layer", "Activated"]
    assert structure.analysis.troubles[0].reason == "operator Activated of local has no rule"
    with pytest.raises(FrontError, match="the width cannot change"):
        resize(proto, width=10)


def test_a_function_that_calls_itself_is_refused():
    proto = parser.parse_model(f"""{HEADER}
    circle (float[2] x) => (float[2] y) {{ y = local.Around (x) }}
    {FUNCTION}
    Around (x) => (y) {{ y = local.Around (x) }}""")
    with pytest.raises(FrontError, match="Around calls itself"):
        read_model(proto)


@pytest.mark.parametrize("external", [False, True])
def test_identity_keeps_every_weight_and_reads_none_early(tmp_path: Path, external: bool):
    proto = layered(3)
    path = tmp_path / "source.onnx"
    onnx.save(proto, path, save_as_external_data=external, location="data", size_threshold=100)
    proto = layered(3)
    source = read_model(path)
    assert source.missing() >= {"up0", "down2"}
    assert not any(t.raw_data for t in source.proto.graph.initializer if t.name in ("up0", "down2"))
    result = resize(path, output=tmp_path / "out.onnx")
    assert result.validation is not None and result.validation.passed
    written = constants(onnx.load(tmp_path / "out.onnx"))
    for tensor in proto.graph.initializer:
        assert written[tensor.name].tobytes() == numpy_helper.to_array(tensor).tobytes()
    assert_same_outputs(proto, onnx.load(tmp_path / "out.onnx"))


def test_calls_are_layers_and_what_they_share_stays_shared(tmp_path: Path):
    path = tmp_path / "source.onnx"
    onnx.save(layered(3), path)
    result = resize(path, depth=5, width=30, output=tmp_path / "out.onnx")
    assert result.validation is not None and result.validation.passed
    made, native = onnx.load(tmp_path / "out.onnx"), layered(5)
    assert sorted(w.shape for w in constants(made).values()) == sorted(
        [(30,), (9, 30), (30, 5), *[(30, 60)] * 5, *[(60, 30)] * 5]
    )
    assert [n.op_type for n in made.graph.node] == [n.op_type for n in inline_functions(native)[0].graph.node]


@pytest.mark.parametrize("command", [["inspect"], ["resize", "--dry-run", "--depth", "2"]])
def test_the_commands_say_so(tmp_path: Path, command: list[str]):
    path = tmp_path / "source.onnx"
    onnx.save(layered(3), path)
    out = CliRunner().invoke(main, [command[0], str(path), *command[1:]], catch_exceptions=False).output
    assert "local functions were inlined (Layer, Activated)" in " ".join(out.split())
