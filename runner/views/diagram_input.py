"""The input of `graph` and `report`: the lab, and the results of its last verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError, NoLibvirtError
from labrun.inventory.drawing.diagram import Diagram, diagram
from labrun.moments import dated
from labrun.outcome import Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.terminal import say
from labrun.runner.history.reading import answer_of

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.runner.history.reading import History, Run

__all__ = ["DrawnLab", "LastVerify", "draw", "drawn_lab", "last_verify"]


@dataclass(frozen=True, slots=True)
class LastVerify:
    """One verify: its run ID, the SHA-256 of its lab file, its duration in seconds, and its rows.

    ``began`` in seconds since the epoch.
    """

    run: str
    digest: str
    seconds: float
    rows: tuple[Outcome, ...]
    began: float = 0.0

    def is_of(self, lab: Lab) -> bool:
        """Return whether the lab file is unchanged since this verify."""
        return self.digest == lab.digest


def last_verify(history: History | None, uri: str) -> LastVerify | None:
    """Return the last verify on this hypervisor since the lab was created, None if there is none."""
    run = history.last("verify", uri=uri) if history is not None else None
    if history is None or run is None:
        return None
    return LastVerify(run.run, run.digest or "", run.seconds or 0.0, history.outcomes(run), run.began)


@dataclass(frozen=True, slots=True)
class DrawnLab:
    """A lab, the selected hosts, the last verify if there is one, and the newest runs if requested."""

    lab: Lab
    hosts: tuple[str, ...]
    last: LastVerify | None
    runs: tuple[Run, ...] = ()

    @property
    def verified(self) -> str | None:
        """Return the time of the last verify, and a note if it used a different lab file."""
        if self.last is None:
            return None
        changed = "" if self.last.is_of(self.lab) else ", before the lab file was changed"
        return f"verified {dated(self.last.began)}{changed}"


def drawn_lab(invocation: Invocation, *, runs: int = 0) -> DrawnLab:
    """Load the lab, its last verify and its newest ``runs`` runs.

    Without a hypervisor only the file is used, and stderr says so. Raises LabFileError, UsageError.
    """
    from labrun.runner.engine.session import open_session

    try:
        session = open_session(invocation)
    except HypervisorError as error:
        if invocation.lab == "-":  # stdin has been read already
            raise
        if not isinstance(error, NoLibvirtError):  # then no lab was verified that has one
            say(f"the last verify cannot be located: {error.reason}")
        return _of_file(invocation)
    lab, hosts = session.lab, session.hosts

    def from_history(history: History) -> DrawnLab:
        last = last_verify(history, session.uri)
        return DrawnLab(lab, hosts, last, tuple(history.runs(limit=runs) if runs else ()))

    return answer_of(session.history(), from_history, DrawnLab(lab, hosts, None))


def _of_file(invocation: Invocation) -> DrawnLab:
    from labrun.inventory.file.lab_cache import remembered_lab
    from labrun.runner.cli.lab_file import path_of
    from labrun.runner.cli.selection import select_hosts

    lab = remembered_lab(path_of(invocation), allow_outside=invocation.allow_outside)
    return DrawnLab(lab, select_hosts(lab, invocation.hosts), None)


def draw(drawn: DrawnLab) -> Diagram:
    """Return the coloured diagram of the selected hosts and their networks."""
    from labrun.runner.views.health import HealthOf, health_of

    health = health_of(drawn.lab, drawn.last.rows) if drawn.last is not None else HealthOf()
    lab = _only(drawn.lab, drawn.hosts) if len(drawn.hosts) < len(drawn.lab.hosts) else drawn.lab
    return diagram(lab, hosts=health.hosts, links=health.links, verified=drawn.verified)


def _only(lab: Lab, names: Sequence[str]) -> Lab:
    hosts = {name: lab.hosts[name] for name in names}
    networks_used = {nic.network for host in hosts.values() for nic in host.interfaces}
    networks = {name: network for name, network in lab.networks.items() if name in networks_used}
    return replace(lab, hosts=hosts, networks=networks)
