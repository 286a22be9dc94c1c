"""What has to be the same in the controller and in its workers, and the refusal if it is not."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import labrun
from labrun.errors import EngineError
from labrun.runner.engine.shards.messages import Versions

__all__ = ["own_versions", "refuse_others"]

_PACKAGES: Final = ("nornir", "netmiko", "paramiko")


def own_versions() -> Versions:
    """Return what this process runs with: labrun, Python as in ``3.11``, and the packages that tasks use."""
    python = ".".join(platform.python_version_tuple()[:2])
    return Versions(labrun.__version__, python, {name: _version(name) for name in _PACKAGES})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def refuse_others(
    workers: Mapping[str, Versions],
    own: Versions | None = None,
    hint: str = "install the same labrun, with the same Python, on every machine",
) -> None:
    """Raise EngineError if a worker has other versions than this process; every difference is named.

    ``own`` are those to have, by default :func:`own_versions`.
    """
    own = own or own_versions()
    wrong = [f"{name} has {each}" for name, has in workers.items() for each in own.differences(has)]
    if wrong:
        raise EngineError("; ".join(wrong), step="engine", hint=hint)
