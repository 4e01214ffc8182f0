"""Shared fixtures: one cache of zoo exports, kept from run to run and shared by parallel workers."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def zoo_cache(pytestconfig) -> Path:
    """The folder of exported zoo models; files are named by what they depend on, so it never goes stale."""
    return pytestconfig.cache.mkdir("zoo")
