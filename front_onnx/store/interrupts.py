"""Hold interruptions back over the few steps that must not be left half done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["SIGNALS", "uninterrupted"]

SIGNALS = tuple(found for name in ("SIGINT", "SIGTERM", "SIGHUP") if (found := getattr(signal, name, None)) is not None)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Deliver signals that would end the program only after the block.

    For blocks of microseconds: making a folder that has to be removed again, moving files into place. Outside the
    main thread, where Python runs no signal handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, frame: Any) -> None:
        arrived.append(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    held = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in held:
            signal.signal(number, remember)
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
