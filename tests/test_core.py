"""Promises about the package itself."""

import subprocess
import sys


def test_the_core_never_imports_torch() -> None:
    code = "import sys, front_onnx, front_onnx.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
