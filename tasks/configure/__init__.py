"""Host configuration: gather facts, plan, apply."""

from __future__ import annotations

from labrun.tasks.configure.resources import SECTIONS, explain, host_spec

__all__ = ["SECTIONS", "explain", "host_spec"]
