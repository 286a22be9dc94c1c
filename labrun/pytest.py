"""The pytest plugin, by the name that users load: ``pytest_plugins = ["labrun.pytest"]``."""

from __future__ import annotations

from labrun.runner.api.pytest_plugin import lab, lab_file, pytest_addoption, pytest_configure

__all__ = ["lab", "lab_file", "pytest_addoption", "pytest_configure"]
