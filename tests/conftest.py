"""What all tests share: the cache of zoo exports, and which tests run when.

A test that exports with torch is marked `export`, by hand or because it takes `zoo_cache`; one that takes long for
another reason is marked `slow`, or listed in `long.txt`, which `durations.py` writes. The quick run leaves out both.
Whoever forgets the mark is told: without it, torch's exporter fails. A case that is more of the same is marked `more`,
and the whole run leaves it out; a test of which all cases are has to give the mark a reason.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from zoo.cache import FOLDER

LONG = Path(__file__).with_name("long.txt")


@pytest.fixture(scope="session")
def zoo_cache() -> Path:
    """The folder of exported zoo models; files are named by what they depend on, so it never goes stale."""
    FOLDER.mkdir(exist_ok=True)
    return FOLDER


def pytest_configure() -> None:
    """Heed the signals that nohup and background jobs ignore: processes that tests start are told to end by them.

    And let no test fail by how long it takes: a machine may be busy with something else.
    """
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark whatever takes exported models, and see that no kind of test is left to `make test-more` unsaid."""
    long = {line for line in LONG.read_text().splitlines() if not line.startswith("+ ")}
    for item in items:
        if "zoo_cache" in getattr(item, "fixturenames", ()):
            item.add_marker("export")
        if item.nodeid in long:
            item.add_marker("slow")
    if any("[" in argument for argument in config.args):  # single cases were asked for
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, cases in tests.items():
        later = [mark for item in cases if (mark := item.get_closest_marker("more"))]
        if len(later) == len(cases) and not all(mark.kwargs.get("reason") for mark in later):
            raise pytest.UsageError(f"{name}: every case is marked `more`, and no reason says what has its kind")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Keep tests without the mark from exporting."""
    if item.get_closest_marker("export") or "torch" not in sys.modules:
        return (yield)
    with mock.patch("torch.onnx.export", lambda *_, **__: pytest.fail("this test exports: pytest.mark.export")):
        return (yield)
