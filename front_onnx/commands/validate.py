"""front-onnx validate"""

from __future__ import annotations

import json
import sys
import zipfile

import click
import numpy as np

from front_onnx.api import validate
from front_onnx.check.apart import start_ahead
from front_onnx.commands.help import Command
from front_onnx.commands.output import print_steps
from front_onnx.commands.progress import shown
from front_onnx.commands.tables import print_validation
from front_onnx.errors import FileError
from front_onnx.report.steps import after_validate
from front_onnx.summary import describe_validation

__all__ = ["validate_command"]

CODES = "0 all checks passed, 1 one failed or the work did, 2 wrong request, 130 interrupted"


@click.command("validate", cls=Command, codes=CODES)
@click.argument("model", type=click.Path())
@click.option("--like", type=click.Path(), help="Also compare inputs and outputs with this model's.")
@click.option("--inputs", type=click.Path(), help="Run on these arrays (.npz, named as the graph's inputs).")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For the inputs that are made up."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def validate_command(model: str, like: str | None, inputs: str | None, seed: int, as_json: bool) -> None:
    """Check MODEL: full checker, strict shape inference, an onnxruntime session, a run, finite outputs.

    Exit code 1 if a check fails. Interface differences (--like) are listed and are no failure.

    \b
    front-onnx validate model-d6.onnx
    front-onnx validate model-d6.onnx --like model.onnx --inputs real.npz
    """
    start_ahead()
    with shown(quiet=as_json) as progress:
        progress("validate", 0, 1)
        about = describe_validation(validate(model, like=like, inputs=_arrays(inputs), seed=seed))
    assert about is not None
    if as_json:
        click.echo(json.dumps(about, indent=2))
    else:
        print_validation(about)
        print_steps(after_validate(model, about["passed"]))
    sys.exit(0 if about["passed"] else 1)


def _arrays(path: str | None) -> dict[str, np.ndarray] | None:
    if path is None:
        return None
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise FileError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} is no .npz file: {error}") from None
