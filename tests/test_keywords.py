"""Errors speak the language of who called: options on the command line, keywords in Python."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from small import DIGITS

import front_onnx
from front_onnx.commands import main
from front_onnx.errors import RequestError
from front_onnx.keywords import _FLAGS, _KEYWORDS, in_keywords

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--width-mult 0.5 scales", "width_mult=0.5 scales"),
        ("--width and --width-mult exclude each other", "width and width_mult exclude each other"),
        ("--block NODE..NODE names one by hand", 'block="NODE..NODE" names one by hand'),
        ("--set vocabulary=8000 keeps it", 'dims={"vocabulary": 8000} keeps it'),
        ("use --width-mult, or --set DIM=SIZE", 'use width_mult, or dims={"DIM": SIZE}'),
        ("--treat /a/w_0=fixed copies it", 'treat={"/a/w_0": "fixed"} copies it'),
        ("leave --exact out", "leave exact=True out"),
        ("--method best, or --data SAMPLES.", 'method="best", or data=SAMPLES.'),
        ("--lambda 0 trains without L_reg", "lam=0 trains without L_reg"),
        ("(--hold-out, --validation)", "(CalibrationSettings.hold_out, validation)"),
        ("-o with a name", "output with a name"),
        ("--residual /stem/Add:1 takes it", 'residual="/stem/Add:1" takes it'),
        ("front-onnx init makes models of it", "front_onnx.init makes models of it"),
        ("node /a/--b is no --spectrum", "node /a/--b is no --spectrum"),
        ("possible nearby: --width 48 or 60", "possible nearby: width=48 or 60"),
    ],
)
def test_options_become_keywords(typed: str, told: str) -> None:
    assert in_keywords(typed) == told
    error = RequestError(typed, wanted=typed, hint=typed)
    assert str(error) == f"{told} (wanted {told}); {told}" and (error.message, error.hint) == (told, told)
    assert error.typed_line == f"{typed} (wanted {typed}); {typed}"
    assert str(error.with_hint("--exact")) == f"{told} (wanted {told}); exact=True"
    assert error.about("x", "--skip y.onnx").hint == f'{told}; skip="y.onnx"'


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"width": 50}, "--width 50"),
        ({"width": 48, "width_mult": 0.5}, "--width 48 --width-mult 0.5"),
        ({"depth": 3, "block": "a..b"}, "--depth 3 --block a..b"),
        ({"heads": 5, "head_dim": 7, "width": 48}, "--heads 5 --head-dim 7 --width 48"),
        ({"dims": {"nothing": 3}}, "--set nothing=3"),
        ({"width": 24, "method": "lossless"}, "--width 24 --method lossless"),
        ({"width_mult": 0.4, "exact": True}, "--width-mult 0.4 --exact"),
    ],
)
def test_each_caller_reads_the_own_language(asked: dict, line: str) -> None:
    with pytest.raises(front_onnx.FrontError) as caught:
        front_onnx.resize(DIGITS, dry_run=True, **asked)
    assert not re.search(r"(?<!\S)--?[a-z]", str(caught.value)), caught.value
    done = CliRunner().invoke(main, ["resize", str(DIGITS), "--dry-run", *line.split()])
    assert done.exit_code == caught.value.exit_code and caught.value.typed_line in done.stderr


def test_every_option_that_the_core_names_has_a_keyword() -> None:
    """What is left is told by the command line alone."""
    raised: set[str] = set()
    for path in [*(ROOT / "front_onnx").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]:
        if path.is_relative_to(ROOT / "front_onnx" / "commands"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith("Error"):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        raised |= set(re.findall(r"(?<!\S)--([a-z-]+)(?!\S*\})", part.value))
    assert {"width", "set", "treat"} <= raised and raised <= {*_KEYWORDS, *_FLAGS, "report"}, raised
