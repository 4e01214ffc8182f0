"""Operators of other packages: the example of the documentation is installed in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiers import few

ROOT = Path(__file__).parent.parent
GROUP = "front_onnx.operators"


def example(language: str) -> str:
    """The one block of code in that language in docs/operators.md."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "operators.md").read_text(), re.DOTALL)
    return block


def install(folder: Path, name: str, module: str, source: str) -> Path:
    """A package as an installer leaves it: a module, and a folder that says what it registers."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = {module}\n")
    (folder / f"{module}.py").write_text(source)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two dense layers with an operator of a domain of its own between them."""
    rng = np.random.default_rng(0)
    shapes = {"embed": (5, 8), "mix": (8, 6), "scale": (6,), "head": (6, 3)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "embed"], ["a"], "embed"),
        helper.make_node("ScaledLinear", ["a", "mix", "scale"], ["b"], "mix", domain="my.domain"),
        helper.make_node("Relu", ["b"], ["c"], "activation"),
        helper.make_node("MatMul", ["c", "head"], ["y"], "head"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", size]) for n, size in (("x", 5), ("y", 3))]
    graph = helper.make_graph(nodes, "mixed", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.domain", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def resize(model: Path, *packages: Path) -> subprocess.CompletedProcess[str]:
    """Twice the width, on the command line, with packages in reach."""
    path = os.pathsep.join(map(str, packages))
    command = [sys.executable, "-m", "front_onnx", "resize", model.name, "--width-mult", "2", "--no-validate"]
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1"}
    run = [*command, "--output", "wide.onnx"]
    return subprocess.run(run, cwd=model.parent, env=environment, capture_output=True, text=True, check=False)


def test_an_operator_of_another_package_is_resized(model: Path, tmp_path: Path) -> None:
    (module,) = tomllib.loads(example("toml"))["project"]["entry-points"][GROUP].values()
    said = resize(model, install(tmp_path / "site", "my-operators", module, example("python")))
    assert said.returncode == 0, said.stderr
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(model.parent / "wide.onnx").graph.initializer}
    assert shapes == {"embed": (5, 16), "mix": (16, 12), "scale": (12,), "head": (12, 3)}


def test_without_the_package_the_operator_is_in_the_way(model: Path) -> None:
    said = resize(model)
    assert said.returncode != 0
    assert "ScaledLinear mix cannot be followed" in said.stderr
    assert not (model.parent / "wide.onnx").exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    few(
        [
            ("import no_such_module", "No module named 'no_such_module'"),
            ("from front_onnx.operators import Weather", "cannot import name 'Weather'"),
            (
                "from front_onnx.operators import operator\n\noperator('Relu')(lambda ctx: ctx.out(ctx.axes(0)))\n",
                "Relu of ai.onnx has a record already",
            ),
        ],
        1,
        mark="slow",
    ),
)
def test_a_broken_package_is_named_in_one_line(model: Path, tmp_path: Path, source: str, reason: str) -> None:
    said = resize(model, install(tmp_path / "site", "broken-one", "broken_one", source))
    assert said.returncode != 0
    (line,) = said.stderr.strip().splitlines()
    assert f"operators of the package broken-one cannot be loaded: {reason}" in line
    assert "Traceback" not in said.stderr
    assert not (model.parent / "wide.onnx").exists()
