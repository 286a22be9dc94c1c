"""Dask's scheduler and worker without their web servers: those would listen where nobody looks."""

from __future__ import annotations

from typing import Any

from distributed import Scheduler, Worker

__all__ = ["QuietScheduler", "QuietWorker"]


class QuietScheduler(Scheduler):
    """A scheduler that listens on its one port."""

    def start_http_server(self, *_arguments: Any, **_settings: Any) -> None:
        """Start none."""


class QuietWorker(Worker):
    """A worker that listens on its one port."""

    def start_http_server(self, *_arguments: Any, **_settings: Any) -> None:
        """Start none."""
