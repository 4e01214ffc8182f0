"""Options of the command line and keywords of the Python functions: which is which, in one place.

Refusals are written with options, as one types them. `in_keywords` says the same to those who call from Python.
"""

from __future__ import annotations

import re

__all__ = ["in_keywords"]

_FLAGS = {
    "align": "align=True",
    "dry-run": "dry_run=True",
    "exact": "exact=True",
    "from-scratch": "from_scratch=True",
    "no-validate": "validate=False",
    "order": "order=True",
    "restart": "restart=True",
    "resume": "resume=True",
}
_SETTINGS = "CalibrationSettings"
_OTHERS = {  # whose keyword is not the option itself
    "hold-out": f"{_SETTINGS}.hold_out",
    "lambda": "lam",
    "map": "mapping",
    "memory": f"{_SETTINGS}.memory",
    "ridge": f"{_SETTINGS}.ridges",
    "samples": f"{_SETTINGS}.samples",
    "set": "dims",
}
_ALIKE = (
    "accumulate at band batch-size block clip data depth depth-mult device distill-weight epochs every freeze gamma "
    "gamma-depth head-dim heads into label-smoothing labels like loss lr mask-share mask-token method methods output "
    "output-name params plot ratio reduction residual round-to scale seed seeds size skip symmetry teacher temperature "
    "train treat validation warmup weight-decay width width-mult work amp"
).split()
_KEYWORDS = {**{name: name.replace("-", "_") for name in _ALIKE}, **_OTHERS}
_WORDS = ("best", "calibrated", "cpu", "lossless", "synthetic")  # values that look like any other word
_VALUE = rf"'[^']*'|[^\s,;()']*[\d=:/.][^\s;()']*[^\s.,;()']|\d+|[A-Z][A-Z]+|N|{'|'.join(_WORDS)}"
_OPTION = re.compile(rf"(?<![^\s(])(?:--([a-z]+(?:-[a-z]+)*)|(-o))(?![\w-])(?: ((?:{_VALUE})(?![\w=])))?")
_COMMAND = re.compile(r"\bfront-onnx (compare|extract|init|inspect|refine|resize|validate)\b")
_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?|[A-Z]+")  # or what stands for one


def in_keywords(text: str) -> str:
    """A text with the keywords of the functions in the place of options; what is no option stays."""
    return _COMMAND.sub(r"front_onnx.\1", _OPTION.sub(_keyword, text))


def _keyword(found: re.Match[str]) -> str:
    name, value = found[1] or "output", found[3]
    if name in _FLAGS:
        return _FLAGS[name] + (f" {value}" if value else "")
    if name not in _KEYWORDS:
        return found[0]
    keyword = _KEYWORDS[name]
    if value is None:
        return keyword
    if name in ("set", "treat") and "=" in value:
        dim, _, held = value.rpartition("=")
        return f'{keyword}={{"{dim}": {held if name == "set" else _quoted(held)}}}'
    return f"{keyword}={_quoted(value)}"


def _quoted(value: str) -> str:
    return value if _NUMBER.fullmatch(value) or value.startswith("'") else f'"{value}"'
