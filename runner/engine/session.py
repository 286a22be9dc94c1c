"""What nearly every command starts from: the lab, where it lives, its state, and Nornir over its hosts."""

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
    """One command at work on one lab; ``hosts`` are those asked for, in file order.

    ``uri`` is empty for a lab of existing machines only: nothing asks libvirt then.
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
        """Return the lab's history, None where there is none or where it cannot be read, which is said."""
        from labrun.runner.history.reading import remembered

        return remembered(self.invocation, self.lab.name)

    @property
    def place(self) -> str:
        """Return, for a person, on which hypervisor the lab is and why."""
        return f"on {self.uri}: {self.why_uri}" if self.uri else self.why_uri

    def machines(self) -> dict[str, SeenMachine]:
        """Return every machine that libvirt has of the lab, by host name. Raises HypervisorError."""
        from labrun.tasks.provision.planning import see_machines

        return see_machines(self.lab.name, self.uri) if self.uri else {}

    def locate(self, *, leases: bool = True) -> Mapping[str, Located]:
        """Return where each host answers; without ``leases`` as far as the file alone knows it."""
        from labrun.inventory.hosts.leases import LibvirtLeases
        from labrun.inventory.hosts.locate import locate

        return locate(self.lab, LibvirtLeases(self.uri) if leases and self.uri else None)

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
        """Lend a Nornir over the hosts asked for; ``data`` is put into each host's data, by host.

        ``data`` maps a host's name to what is added, such as ``{"up": {...}}``; ``deadline`` in
        seconds per host, ``rollout`` who begins when. With ``reads`` a signal has the run return what
        it has; else hosts at work are waited for until they have ``until`` (a participle).
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
    """Load the lab, find its hypervisor and enter the network its guests are in.

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
    """Lend a Nornir whose one host is the hypervisor, or with ``hosts`` these by name with their data.

    Its tasks talk libvirt, never SSH. ``until`` as for :meth:`Session.engine`.
    """
    from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory

    from labrun.runner.engine.nornir import engine
    from labrun.runner.engine.runner_plugin import Budget, Leaving

    named = hosts if hosts is not None else {HYPERVISOR: {}}
    members = Hosts({name: Host(name=name, hostname=uri, data=dict(data)) for name, data in named.items()})
    inventory = Inventory(hosts=members, groups=Groups(), defaults=Defaults())
    with engine(inventory, Budget(leaving=Leaving(until))) as nornir:
        yield nornir
