"""Functions that users bring, by themselves or by an import path: what goes wrong in them is told as theirs."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from front_onnx.errors import FrontError, RequestError

__all__ = ["called", "imported", "iterated", "name_of"]


def imported(path: str) -> Callable[..., Any]:
    """A callable by its import path, "package.module:function"; modules of the current folder are found too.

    Raises:
        RequestError: there is no such module or function.
    """
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise RequestError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise RequestError(f"{path} is not callable", got=type(found).__name__)
    made: Callable[..., Any] = found
    return made


def name_of(function: Callable[..., Any]) -> str:
    """How messages name a callable."""
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(function).__name__)}"


def called(name: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a user's function returns.

    Raises:
        FrontError: it raised something; the message names the line.
    """
    try:
        return function(*given)
    except FrontError:
        raise
    except Exception as error:
        raise _theirs(name, error) from error


def iterated(name: str, items: Any) -> Iterator[Any]:
    """What a user's iterable yields.

    Raises:
        FrontError: it cannot be iterated over, or raised something; the message names the line.
    """
    try:
        iterator = iter(items)
    except TypeError as error:
        raise RequestError(f"{name} gives nothing to iterate over", got=type(items).__name__) from error
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except FrontError:
            raise
        except Exception as error:
            raise _theirs(name, error) from error
        yield item


def _theirs(name: str, error: Exception) -> FrontError:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return FrontError(f"{name} raised {type(error).__name__}: {error}", got=f"at {last.filename}:{last.lineno}")
