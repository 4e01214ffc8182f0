"""How much memory there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["free_memory"]


def free_memory() -> int | None:
    """Bytes that a process can still get, as far as the system says; None if it does not."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None
