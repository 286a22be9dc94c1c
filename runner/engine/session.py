"""The starting point of nearly every command: a lab, its hypervisor, its state, and Nornir on its hosts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from labrun.errors import UsageError
from labrun.hypervisor import enter_network, require_daemon
from labrun.runner.cli.invocation import THREADS, Invocation
from labrun.runner.cli.lab_file import lab_path, load, say_notices
from labrun.runner.cli.selection import select_hosts
from labrun.runner.engine.budget import CONFIRM_SECONDS, Budget, OnSignal
from labrun.runner.engine.gone import GoneMachines
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout
from labrun.runner.engine.unmanaged import NO_HYPERVISOR
from labrun.runner.history.paths import is_unheard_of
from labrun.state import LabState
from labrun.state_members import SEVERAL

if TYPE_CHECKING:
    from nornir.core import Nornir
    from nornir.core.inventory import Inventory

    from labrun.inventory.hosts.locate import Located
    from labrun.inventory.model import Lab
    from labrun.inventory.topology.segments import SegmentTrial
    from labrun.json_values import JsonObject
    from labrun.runner.cli.scene import Scene
    from labrun.runner.engine.shards.shard_runner import ShardRunner
    from labrun.runner.engine.span import Member, Span
    from labrun.runner.history.reading import History
    from labrun.tasks.provision.planning import SeenMachine
    from labrun.tasks.provision.strays import Stray

__all__ = ["Session", "TaskData", "open_session"]

TaskData: TypeAlias = Mapping[str, object]
"""The input of a task for one host, by its key in ``host.data``. Only the task knows the values' types."""


@dataclass(frozen=True, slots=True)
class Session:
    """One command's work on one lab; ``hosts`` are the selected hosts, in file order.

    ``uri`` is empty for a lab of existing machines only; then libvirt is never contacted. ``span`` is None
    unless the lab has several hypervisors; then ``uri`` is the first one that answers.
    """

    invocation: Invocation
    lab: Lab
    hosts: tuple[str, ...]
    uri: str
    why_uri: str
    state: LabState
    span: Span | None = None

    def history(self) -> History | None:
        """Return the lab's history, None if there is none or, after a message, if it cannot be read."""
        from labrun.runner.history.reading import readable_history

        return readable_history(self.invocation, self.lab.name)

    @property
    def place(self) -> str:
        """Return, for people, the lab's hypervisor and why it was chosen."""
        if self.span is not None:
            return "\n".join(self.span.notes())
        return f"hypervisor: {self.uri} ({self.why_uri})" if self.uri else self.why_uri

    def measured(self) -> Session:
        """Return the session with the MTUs that the ways between its hypervisors have now.

        Raises HypervisorError.
        """
        if self.span is None:
            return self
        from labrun.runner.engine.span_paths import measured

        span = measured(self.span)
        return replace(self, lab=span.lab, span=span)

    def place_json(self) -> JsonObject:
        """Return the hypervisor, or all of them and where the hosts are, as in a command's document."""
        if self.span is None:
            return {"hypervisor": self.uri or None}
        return {
            "hypervisors": {name: each.uri for name, each in self.lab.hypervisors.items()},
            "placement": {
                host: {"hypervisor": place.hypervisor, "why": place.why}
                for host, place in self.span.placement.places.items()
            },
        }

    def members(self) -> tuple[Member, ...]:
        """Return the hypervisors that answer, with what of the lab is on each; none without one."""
        from labrun.runner.engine.span import Member

        if self.span is not None:
            return self.span.members
        return (Member("", self.uri, self.lab),) if self.uri else ()

    def segments(self) -> tuple[SegmentTrial, ...]:
        """Return the trials of full segments over the networks that span hypervisors."""
        if self.span is None:
            return ()
        from labrun.inventory.topology.segments import segment_trials

        return tuple(segment_trials(self.lab, self.span.placement))

    def lost(self) -> dict[str, str]:
        """Return the hosts whose hypervisor does not answer, with the reason."""
        return self.span.lost() if self.span is not None else {}

    def scene(self, **settings: Any) -> Scene:
        """Return what the command looks at, for its screen; ``settings`` are the scene's further fields."""
        from labrun.runner.cli.scene import Scene

        place = self.uri if self.span is None else ", ".join(member.uri for member in self.span.members)
        existing = frozenset(name for name, host in self.lab.hosts.items() if host.machine is None)
        sizes = tuple(self.lab.hosts), len(self.lab.networks)
        return Scene(self.lab.name, *sizes, place, existing=existing, **settings)

    def machines(self) -> dict[str, SeenMachine]:
        """Return every machine of the lab in libvirt, by host name. Raises HypervisorError."""
        from labrun.tasks.provision.planning import see_machines

        found: dict[str, SeenMachine] = {}
        for member in self.members():
            found |= see_machines(self.lab.name, member.uri)
        return found

    def strays(self) -> tuple[Stray, ...]:
        """Return the copies and renamed objects that carry the lab's tag. Raises HypervisorError."""
        from labrun.tasks.provision.strays import see_strays

        return tuple(stray for member in self.members() for stray in see_strays(self.lab.name, member.uri))

    def absent(self, seen: Collection[str]) -> dict[str, str]:
        """Return, by host, why a machine of the file is not among those ``seen`` in libvirt.

        Raises HypervisorError.
        """
        from labrun.tasks.provision.strays import renamed_machines, why_absent

        machines = (host.name for host in self.lab.hosts.values() if host.machine is not None)
        missing = [name for name in machines if name not in seen]
        renamed = renamed_machines(self.strays()) if missing else {}
        return {name: why_absent(name, renamed) for name in missing}

    def locate(self, *, leases: bool = True) -> Mapping[str, Located]:
        """Return where each host can be reached; without ``leases`` only as far as the file knows."""
        from labrun.inventory.hosts.leases import LibvirtLeases
        from labrun.inventory.hosts.locate import locate

        if self.span is not None:
            from labrun.runner.engine.span import SpanLeases

            source = SpanLeases(self.span.uris) if leases else None
            return self.span.through(locate(self.lab, source))
        return locate(self.lab, LibvirtLeases(self.uri) if leases and self.uri else None, self.uri)

    def way_uri(self, host: str) -> str:
        """Return the URI of the hypervisor through which a host is reached."""
        return self.span.way_uri(host) if self.span is not None else self.uri

    def budget(
        self,
        seconds: float,
        *,
        reads: bool = False,
        until: str = "finished",
        rollout: Rollout = ALL_AT_ONCE,
        confirm: int | None = CONFIRM_SECONDS,
    ) -> Budget:
        """Return the limits of a run: ``seconds`` for each host, unless ``--timeout`` gives another limit.

        With ``reads``, a signal makes the run return the results so far; otherwise the run waits for the
        hosts in progress until they have ``until`` (a participle). ``confirm`` as in :class:`Budget`. In a
        large lab logins do not outlast their host's task.
        """
        from labrun.inventory.topology.targets import is_large

        invocation = self.invocation
        on_signal = OnSignal(until, invocation.interruption if reads else None, invocation.quiet)
        deadline = invocation.timeout or seconds
        return Budget(
            invocation.workers,
            deadline=deadline,
            confirm=confirm,
            rollout=rollout,
            on_signal=on_signal,
            keeps_logins=not is_large(self.lab),
        )

    def dial_ahead(self, located: Mapping[str, Located]) -> None:
        """Begin to connect to the hosts that a run begins with: their sshd starts while more is imported."""
        from labrun.inventory.hosts.connections import access_of
        from labrun.runner.engine.shards.choice import chosen
        from labrun.tasks.guest.tcp import begin_to_dial

        require_daemon(self.uri)
        if chosen(self.invocation.engine, len(self.hosts)) != THREADS:
            return  # the workers do
        for name in self.hosts[: self.invocation.workers]:
            address = located[name].address
            # A host behind a jump host does not answer here, or something else does.
            if address is not None and not located[name].hops:
                begin_to_dial(address, access_of(self.lab, self.lab.hosts[name], self.state).port)

    def dial_later(self, located: Mapping[str, Located], hosts: Iterable[str]) -> None:
        """Drop what :meth:`dial_ahead` has begun to some hosts: what they wait for may break it."""
        from labrun.inventory.hosts.connections import access_of
        from labrun.tasks.guest.tcp import stop_dialling

        for name in hosts:
            address = located[name].address
            if address is not None:
                stop_dialling(address, access_of(self.lab, self.lab.hosts[name], self.state).port)

    @contextmanager
    def engine(
        self,
        located: Mapping[str, Located],
        budget: Budget,
        data: Mapping[str, TaskData] | None = None,
        *,
        hosts: Sequence[str] | None = None,
        dry_run: bool = False,
        watched: bool = False,
    ) -> Iterator[Nornir]:
        """Yield a Nornir over the selected hosts, or over ``hosts``, and close its connections afterwards.

        ``data`` is added to the data of each host, by host. A machine that cannot be logged in to gets its
        channel. With ``watched``, a host whose machine stops meanwhile is not waited for.
        """
        from labrun.inventory.hosts.connections import JUMP
        from labrun.inventory.hosts.locate import other_addresses
        from labrun.inventory.hosts.plugin import inventory_of
        from labrun.inventory.topology.jump_hosts import jumps
        from labrun.runner.engine.channels import openers_inside
        from labrun.runner.engine.nornir import build_nornir, closing_connections
        from labrun.tasks.guest.inside import OPENER

        require_daemon(self.uri)
        inventory = inventory_of(self.lab, located, self.state)
        openers = openers_inside(self, located)
        others = other_addresses(self.lab, located, self.state.host_addresses())
        for name, host in inventory.hosts.items():
            host.data.update(others[name])
            if name in openers:
                host.data[OPENER] = openers[name]
            host.data.update((data or {}).get(name, {}))
        for name, jump in jumps(self.lab).items():
            inventory.hosts[name].data[JUMP] = inventory.hosts[jump.via]
        chosen = frozenset(self.hosts if hosts is None else hosts)
        gone = GoneMachines(self.lab.name, chosen if watched else (), self.machines)
        budget = replace(budget, gone=gone.why)
        with closing_connections(inventory), gone.watching(), self._workers(budget, chosen) as runner:
            try:
                yield build_nornir(inventory, budget, dry_run=dry_run, runner=runner).filter(
                    filter_func=lambda host: host.name in chosen
                )
            finally:
                self._remember_ports(inventory)

    @contextmanager
    def _workers(self, budget: Budget, hosts: Collection[str]) -> Iterator[ShardRunner | None]:
        """Yield the runner over workers, and end these afterwards; None where there are none."""
        from labrun.runner.engine.shards.choice import chosen, engine_of, shard_size

        name = chosen(self.invocation.engine, len(hosts))
        if name == THREADS:
            yield None
            return
        from labrun.runner.engine.shards.shard_runner import ShardRunner

        size = shard_size()
        engine = engine_of(name, len(hosts), size, self.invocation.state_dir)
        if engine is None:
            yield None
            return
        try:
            yield ShardRunner(budget, engine, size, self.state.host_keys(), self.invocation.run)
        finally:
            engine.close()

    def _remember_ports(self, inventory: Inventory) -> None:
        """Record where the logins of a run have worked; an sshd may have moved with the lab file."""
        from labrun.tasks.guest.transport import port_of

        for name, host in inventory.hosts.items():
            port = port_of(host)
            if port is not None and self.lab.hosts[name].machine is not None:
                self.state.remember_port(name, port)


_LOOKING = frozenset({"plan", "status", "inventory", "graph", "report", "net"})
"""Commands that leave no state directory behind for a lab that has none."""


def open_session(invocation: Invocation, *, single: str = "") -> Session:
    """Load the lab, find its hypervisor and enter the guests' network.

    A lab of existing machines only has neither. ``single`` is the command that works only in a lab of one
    hypervisor. Raises LabFileError, UsageError for unknown hosts, HypervisorError.
    """
    from labrun.tasks.provision.hypervisor_choice import choose_hypervisor

    lab = load(invocation, quiet=invocation.silent)
    hosts = select_hosts(lab, invocation.hosts)
    invocation.interruption.lab, invocation.interruption.hosts = lab.name, hosts
    looks = invocation.command in _LOOKING
    if not (looks and is_unheard_of(invocation, lab.name)):
        invocation.recording.begin(invocation, lab.name, lab.digest)
    if not lab.needs_hypervisor:
        state = LabState.open(lab.name, NO_HYPERVISOR, invocation.state_dir, create=not looks)
        return Session(invocation, lab, hosts, "", "no hypervisor: every host is an existing machine", state)
    if lab.hypervisors:
        if single:
            what = f"`labrun {single}` works only in a lab of one hypervisor"
            names = ", ".join(lab.hypervisors)
            hint = f"the lab file has {names}; `hypervisor` in place of `hypervisors` puts all on one"
            raise UsageError(what, hint=hint)
        return _open_several(invocation, lab, hosts, create=not looks)
    choice = choose_hypervisor(lab)
    if choice.uri.startswith("lxc") and not invocation.silent:
        say_notices(lab, "lxc")
    invocation.recording.uri = choice.uri
    enter_network(choice.uri)
    state = LabState.open(lab.name, choice.uri, invocation.state_dir, create=not looks)
    if state.root.is_dir() and (path := lab_path(invocation.lab)) != "-":
        state.remember_lab_file(Path(path).resolve())
    return Session(invocation, lab, hosts, choice.uri, choice.why, state)


def _open_several(invocation: Invocation, lab: Lab, hosts: tuple[str, ...], *, create: bool) -> Session:
    from labrun.runner.engine.span import open_span

    state = LabState.open(lab.name, SEVERAL, invocation.state_dir, create=create)
    span = open_span(lab, state)
    invocation.recording.uri = span.uris[0]
    if state.root.is_dir() and (path := lab_path(invocation.lab)) != "-":
        state.remember_lab_file(Path(path).resolve())
    return Session(invocation, span.lab, hosts, span.uris[0], "set in the lab file", state, span)
