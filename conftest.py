"""pytest's side of int8gate stands in its plugin, so that it also serves other repositories."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Without an installation pytest knows none of the options."""
    if not config.pluginmanager.hasplugin("int8gate.plugin.options"):
        raise pytest.UsageError(
            'int8gate is not installed here: run make, or pip install -e ".[all,dev]"'
        )
