"""Load shared_fixtures.py, except in the controller of pytest-xdist: it runs no test, and would import torch for nothing."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "no":  # a worker, or pytest without workers
        config.pluginmanager.import_plugin("shared_fixtures")
