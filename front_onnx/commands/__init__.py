"""The command line. It only parses, calls and prints."""

from __future__ import annotations

import click

from front_onnx.commands.compare import compare_command
from front_onnx.commands.extract import extract_command
from front_onnx.commands.init import init_command
from front_onnx.commands.inspect import inspect_command
from front_onnx.commands.refine import refine_command
from front_onnx.commands.resize import resize_command
from front_onnx.commands.run import CommandGroup
from front_onnx.commands.validate import validate_command

__all__ = ["main"]


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="front-onnx")
def main() -> None:
    """Resize trained ONNX models: deeper or shallower, wider or narrower, weights carried over.

    \b
    front-onnx inspect model.onnx
    front-onnx resize model.onnx --depth 6 --width 384
    front-onnx compare model.onnx --depth 6 --data s.npz
    front-onnx extract model.onnx --ratio 0.5
    front-onnx init model-r0.5.safetensors --depth 3
    front-onnx refine small.onnx --teacher model.onnx --data s.npz
    front-onnx validate model-d6-w384.onnx
    """


main.add_command(compare_command)
main.add_command(extract_command)
main.add_command(init_command)
main.add_command(inspect_command)
main.add_command(refine_command)
main.add_command(resize_command)
main.add_command(validate_command)
