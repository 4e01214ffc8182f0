"""What commands import only when they need it: a package that is missing ends in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from front_onnx.errors import FrontError, RequestError

__all__ = ["needing_torch"]

_INSTALL = "pip install 'front-onnx[torch]'"


@contextlib.contextmanager
def needing_torch(what: str) -> Iterator[None]:
    """Import adapters within this: where PyTorch is missing, say that something needs it, and how it is installed.

    Raises:
        RequestError: it is missing.
    """
    try:
        yield
    except FrontError as error:
        raise error.with_hint(_INSTALL) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise RequestError(f"{what} needs PyTorch", hint=_INSTALL) from None
