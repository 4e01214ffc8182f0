"""Shared fixtures: one cache of zoo exports, kept from run to run and shared by parallel workers."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def zoo_cache(pytestconfig) -> Path:
    """The folder of exported zoo models; files are named by what they depend on, so it never goes stale."""
    if not pytestconfig.pluginmanager.hasplugin("cacheprovider"):  # pytest -p no:cacheprovider
        folder = Path(tempfile.gettempdir()) / "front-onnx-zoo"
        folder.mkdir(exist_ok=True)
        return folder
    return pytestconfig.cache.mkdir("zoo")
