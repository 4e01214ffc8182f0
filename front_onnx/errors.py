"""The exceptions of the package: a refusal says where, what it met, what it wanted and what to do, in one line.

    FrontError              everything below, and work that failed: exit code 1
        RequestError        what was asked is wrong, or impossible for this model: exit code 2
        UnsupportedError    the model holds what cannot be followed or carried to other sizes: exit code 2
            UntrainableError    it holds what cannot be trained through: exit code 1
        FileError           a file that is missing, cannot be read or is not what it should be: exit code 2
            DamagedError        a file that opens as what it should be and does not hold together: exit code 1
        OutputError         the result finds no room or cannot be written: exit code 1

Who tries several sizes catches `RequestError` and goes on; who walks through many files catches `FileError` and
`UnsupportedError` as well. The class follows from who can mend it, the exit code is the class's.

Options are written as one types them ("--width-mult 0.5"); who calls from Python reads keywords (`width_mult=0.5`), see
`keywords.py`. The command line prints `typed_line`.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Self

from front_onnx.keywords import in_keywords

__all__ = [
    "DamagedError",
    "FileError",
    "FrontError",
    "OutputError",
    "RequestError",
    "UnsupportedError",
    "UntrainableError",
]


class FrontError(Exception):
    """Work that cannot be done, told in one line.

    Args:
        message: what went wrong, in one sentence without a full stop.
        node: the graph node in the way, by name.
        dim: the named dim in the way.
        got: what was found or asked for.
        wanted: what would have been right.
        hint: what the user can do about it (nearest possible sizes, an option to add).

    Attributes:
        message, hint, wanted: as given, with keywords in the place of options.
        typed_line, typed_hint: the whole line, and the hint, with options as one types them.
        exit_code: what the command line ends with: 2 if something else has to be given, 1 if the work failed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        dim: str | None = None,
        got: object = None,
        wanted: object = None,
        hint: str | None = None,
    ) -> None:
        self.node, self.dim, self.got = node, dim, got
        self._message, self._wanted, self.typed_hint = message, wanted, hint
        super().__init__(in_keywords(message))

    @property
    def message(self) -> str:
        """What went wrong."""
        return in_keywords(self._message)

    @property
    def wanted(self) -> object:
        """What would have been right."""
        return in_keywords(self._wanted) if isinstance(self._wanted, str) else self._wanted

    @property
    def hint(self) -> str | None:
        """What the user can do about it."""
        return None if self.typed_hint is None else in_keywords(self.typed_hint)

    @property
    def typed_line(self) -> str:
        """The line that the command line prints."""
        return self._line(self._message, self._wanted, self.typed_hint)

    def __str__(self) -> str:
        return self._line(self.message, self.wanted, self.hint)

    def _line(self, message: str, wanted: object, hint: str | None) -> str:
        details = [("node", self.node), ("dim", self.dim), ("got", self.got), ("wanted", wanted)]
        shown = ", ".join(f"{name} {value}" for name, value in details if value is not None)
        line = message + (f" ({shown})" if shown else "") + (f"; {hint}" if hint else "")
        return " ".join(line.split())

    def with_hint(self, hint: str | None) -> Self:
        """The same refusal, of the same class, with advice."""
        other = copy.copy(self)
        other.typed_hint = hint
        return other

    def about(self, what: str, hint: str) -> Self:
        """The same refusal, of the same class, of one of several things; with more advice."""
        other = copy.copy(self)
        other._message = f"{what}: {self._message}"
        other.typed_hint = f"{self.typed_hint}; {hint}" if self.typed_hint else hint
        return other


class RequestError(FrontError):
    """What was asked is wrong, or impossible for this model: another request would do."""

    exit_code = 2


class UnsupportedError(FrontError):
    """The model holds what cannot be followed or carried to other sizes; another export may do."""

    exit_code = 2


class UntrainableError(UnsupportedError):
    """The model holds an operator, or a form of one, that cannot be run and trained as a module."""

    exit_code = 1


class FileError(FrontError):
    """A file that is missing, cannot be read, or is not what it should be (no ONNX model, no learngene, no data)."""

    exit_code = 2


class DamagedError(FileError):
    """A model or learngene that opens and does not hold together: data that are missing, or of another length."""

    exit_code = 1


class OutputError(FrontError):
    """The result finds no room, or cannot be written."""
