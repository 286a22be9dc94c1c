"""The starting point of nearly every command: a lab, its hypervisor, its state, and Nornir on its hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labrun.hypervisor import enter_network
from labrun.outcome import HYPERVISOR, Outcome
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.report import Report
from labrun.runner.cli.selection import select_hosts
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout
from labrun.runner.engine.unmanaged import NO_HYPERVISOR
from labrun.state import LabState

if TYPE_CHECKING:
    from nornir.core import Nornir

    from labrun.inventory.hosts.locate import Located
    from labrun.inventory.model import Lab
    from labrun.runner.history.reading import History
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["Session", "hypervisor_engine", "open_session"]


@dataclass(frozen=True, slots=True)
class Session:
    """One command's work on one lab; ``hosts`` are the selected hosts, in file order.

    ``uri`` is empty for a lab of existing machines only; then libvirt is never contacted.
    """

    invocation: Invocation
    lab: Lab
    hosts: tuple[str, ...]
    uri: str
    why_uri: str
    state: LabState

    def report(self, rows: Sequence[Outcome], **members: Any) -> Report:
        """Return the command's report."""
        return Report(self.lab.name, rows, **members)

    def history(self) -> History | None:
        """Return the lab's history, None if there is none or, after a message, if it cannot be read."""
        from labrun.runner.history.reading import remembered

        return remembered(self.invocation, self.lab.name)

    @property
    def place(self) -> str:
        """Return, for people, the lab's hypervisor and why it was chosen."""
        return f"on {self.uri}: {self.why_uri}" if self.uri else self.why_uri

    def machines(self) -> dict[str, SeenMachine]:
        """Return every machine of the lab in libvirt, by host name. Raises HypervisorError."""
        from labrun.tasks.provision.planning import see_machines

        return see_machines(self.lab.name, self.uri) if self.uri else {}

    def locate(self, *, leases: bool = True) -> Mapping[str, Located]:
        """Return where each host can be reached; without ``leases`` only as far as the file knows."""
        from labrun.inventory.hosts.leases import LibvirtLeases
        from labrun.inventory.hosts.locate import locate

        return locate(self.lab, LibvirtLeases(self.uri) if leases and self.uri else None)

    def dial_ahead(self, located: Mapping[str, Located]) -> None:
        """Begin to connect to the hosts that a run begins with: their sshd starts while more is imported."""
        from labrun.inventory.hosts.connections import access_of
        from labrun.tasks.guest.tcp import begin_to_dial

        for name in self.hosts[: self.invocation.workers]:
            address = located[name].address
            if address is not None:
                begin_to_dial(address, access_of(self.lab, self.lab.hosts[name], None).port)

    @contextmanager
    def engine(
        self,
        located: Mapping[str, Located],
        data: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        hosts: Sequence[str] | None = None,
        deadline: float | None = None,
        dry_run: bool = False,
        rollout: Rollout = ALL_AT_ONCE,
        reads: bool = False,
        until: str = "finished",
    ) -> Iterator[Nornir]:
        """Yield a Nornir over the selected hosts; ``data`` is added to each host's data, by host.

        ``data`` maps a host's name to the additions, such as ``{"up": {...}}``; ``deadline`` is in seconds
        per host; ``rollout`` sets which host begins when. With ``reads``, a signal makes the run return the
        results so far; otherwise the run waits for the hosts in progress until they have ``until`` (a
        participle).
        """
        from labrun.inventory.hosts.locate import beside
        from labrun.inventory.hosts.plugin import inventory_of
        from labrun.runner.engine.nornir import engine
        from labrun.runner.engine.runner_plugin import Budget, Leaving

        inventory = inventory_of(self.lab, located, self.state)
        for name, others in beside(self.lab, located, self.state.host_addresses()).items():
            if name in inventory.hosts:
                inventory.hosts[name].data.update(others)
        for name, added in (data or {}).items():
            if name in inventory.hosts:
                inventory.hosts[name].data.update(added)
        limit = self.invocation.timeout if deadline is None else deadline
        leaving = Leaving(until, self.invocation.interruption if reads else None, self.invocation.quiet)
        budget = Budget(self.invocation.workers, deadline=limit, rollout=rollout, leaving=leaving)
        chosen = frozenset(self.hosts if hosts is None else hosts)
        with engine(inventory, budget, dry_run=dry_run) as nornir:
            yield nornir.filter(filter_func=lambda host: host.name in chosen)


def open_session(invocation: Invocation, *, safely: bool = True) -> Session:
    """Load the lab, find its hypervisor and enter the guests' network.

    A lab of existing machines only has neither. Raises LabFileError, UsageError for unknown hosts,
    HypervisorError.
    """
    from labrun.tasks.provision.hypervisor_choice import choose_hypervisor

    lab = load(invocation, safely=safely)
    hosts = select_hosts(lab, invocation.hosts)
    invocation.interruption.lab, invocation.interruption.hosts = lab.name, hosts
    invocation.recording.begin(invocation, lab.name, lab.digest)
    if not lab.needs_hypervisor:
        state = LabState.open(lab.name, NO_HYPERVISOR, invocation.state_dir)
        return Session(invocation, lab, hosts, "", "no hypervisor: every host is an existing machine", state)
    choice = choose_hypervisor(lab)
    invocation.recording.uri = choice.uri
    enter_network(choice.uri)
    state = LabState.open(lab.name, choice.uri, invocation.state_dir)
    return Session(invocation, lab, hosts, choice.uri, choice.why, state)


@contextmanager
def hypervisor_engine(
    uri: str, hosts: Mapping[str, Mapping[str, Any]] | None = None, *, until: str = "finished"
) -> Iterator[Nornir]:
    """Yield a Nornir whose only host is the hypervisor, or with ``hosts`` these, by name with their data.

    Its tasks use libvirt, never SSH. ``until`` as for :meth:`Session.engine`.
    """
    from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory

    from labrun.runner.engine.nornir import engine
    from labrun.runner.engine.runner_plugin import Budget, Leaving

    named = hosts if hosts is not None else {HYPERVISOR: {}}
    members = Hosts({name: Host(name=name, hostname=uri, data=dict(data)) for name, data in named.items()})
    inventory = Inventory(hosts=members, groups=Groups(), defaults=Defaults())
    with engine(inventory, Budget(leaving=Leaving(until))) as nornir:
        yield nornir
