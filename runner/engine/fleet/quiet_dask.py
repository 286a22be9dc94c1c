"""Dask's scheduler and worker without their web servers: those would listen where nobody looks."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["without_web"]

T = TypeVar("T")


def without_web(kind: type[T]) -> type[T]:
    """Return the class of a scheduler or worker that listens on its one port, and serves no pages."""
    return type(f"Quiet{kind.__name__}", (kind,), {"start_http_server": _start_none})


def _start_none(_self: object, *_arguments: Any, **_settings: Any) -> None:
    pass
