"""Load shared_fixtures.py, except in the controller of pytest-xdist, which runs no test: torch takes long to import."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "no":  # a worker, or pytest without workers
        config.pluginmanager.import_plugin("shared_fixtures")
