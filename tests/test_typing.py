"""The package as users' type checkers and `import *` see it."""

import inspect
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import front_onnx
from front_onnx import errors
from front_onnx.errors import FrontError, RequestError
from front_onnx.learngenes import init
from front_onnx.types import MatchOptions, ResizeOptions

ROOT = Path(__file__).parent.parent


@pytest.mark.slow  # mypy reads all of the package
def test_a_users_script_is_checked_strictly(tmp_path):
    pytest.importorskip("mypy")
    shutil.copytree(ROOT / "front_onnx", tmp_path / "front_onnx", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "typed" / "user_script.py", tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "user_script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "options, function", [(ResizeOptions, front_onnx.resize), (MatchOptions, front_onnx.init_into)]
)
def test_options_are_those_of_the_function(options, function):
    parameters = inspect.signature(function).parameters
    names = {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    if options is ResizeOptions:
        names -= {name for name, p in inspect.signature(init).parameters.items() if p.kind is p.KEYWORD_ONLY}
        names -= {"data", "calibration"}  # a learngene has no source to calibrate against
        assert set(options.__annotations__) == names
    for name, kind in options.__annotations__.items():
        written = kind.__forward_arg__ if isinstance(kind, typing.ForwardRef) else kind
        assert parameters[name].annotation == written, name


def test_everything_public_is_there():
    assert sorted(front_onnx.__all__) == front_onnx.__all__
    assert all(hasattr(front_onnx, name) for name in front_onnx.__all__)
    assert set(errors.__all__) <= set(front_onnx.__all__)


def test_importing_brings_no_framework_along():
    slow = ("torch", "matplotlib", "onnx_graphsurgeon", "keras", "jax", "transformers")
    script = f"import sys, front_onnx; print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", errors.__all__)
def test_a_hint_keeps_the_class_and_all_else(name):
    error = getattr(errors, name)("no size", node="a", dim="heads", got=3, wanted=4)
    told = error.with_hint("try 4")
    assert type(told) is type(error) and told.exit_code == error.exit_code and isinstance(told, FrontError)
    assert str(told) == "no size (node a, dim heads, got 3, wanted 4); try 4"
    assert str(error) == "no size (node a, dim heads, got 3, wanted 4)"


def test_exit_codes_are_those_of_the_classes():
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__}
    assert codes == {
        "FrontError": 1,
        "RequestError": 2,
        "UnsupportedError": 2,
        "UntrainableError": 1,
        "FileError": 2,
        "DamagedError": 1,
        "OutputError": 1,
    }


def test_errors_are_caught_by_class(tmp_path):
    digits = ROOT / "models" / "digits" / "digits.onnx"
    with pytest.raises(RequestError, match="possible nearby"):
        front_onnx.resize(digits, width=50, dry_run=True)
    with pytest.raises(front_onnx.FileError):
        front_onnx.inspect(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(front_onnx.FileError):
        front_onnx.inspect(tmp_path / "text.onnx")
