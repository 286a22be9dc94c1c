"""The one script that a host runs for drift: what configure compares, what verify collects, the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labrun.tasks.collect.script import collect_probes
from labrun.tasks.configure.applied import PROBE as APPLIED
from labrun.tasks.configure.resources import probes
from labrun.tasks.guest.shell import gather_script

__all__ = ["drift_script"]


def drift_script(configure: Mapping[str, Any], verify: Mapping[str, Any], mark: str) -> str:
    """Return the shell text for a host's spec of ``configure`` (host_spec) and of ``verify`` (collect_spec).

    Nothing is asked twice: kernel and sshd settings, addresses and routes are among configure's
    facts already.
    """
    first = probes(configure)
    text = "".join(probe.script for probe in first)
    known = {name for name in ("route4", "route6") if f"capture {name} " in text}
    known |= {"address"} if "capture link " in text else set()
    return gather_script([APPLIED, *first, *collect_probes({**verify, "settings": {}}, known)], mark)
