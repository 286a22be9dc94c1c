"""Look inside the hosts that labrun could not log in to, all at once, after the others were read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from labrun.errors import HostKeyChangedError, LabrunError, TransportError, WorkerLostError
from labrun.inventory.hosts.connections import access_of
from labrun.inventory.hosts.locate import first_hop
from labrun.inventory.topology.jump_hosts import jumps
from labrun.inventory.topology.vlans import is_on_vlan
from labrun.outcome import HYPERVISOR
from labrun.runner.engine.channels import console_login
from labrun.runner.engine.hypervisor_engine import hypervisor_engine
from labrun.runner.engine.session import Session

if TYPE_CHECKING:
    from nornir.core.task import AggregatedResult

    from labrun.inventory.hosts.locate import Located
    from labrun.inventory.model import Address
    from labrun.tasks.collect.collect_spec import CollectSpec
    from labrun.tasks.guest.reason import Reason
    from labrun.tasks.guest.shell import Probe
    from labrun.tasks.out_of_band.attempt import Attempt
    from labrun.tasks.out_of_band.look import Glimpse, LookJob

__all__ = ["Rows", "explain_failures", "look_inside", "looker", "reasons_inside"]

_AT_ONCE = 8
# Of a limit that is given, how much the looks may take: the rest is for what is around them.
_OF_TIMEOUT = 0.8


@dataclass(frozen=True, slots=True)
class Rows:
    """What a host is read for besides the reason: probes of its settings, then ``spec`` with its paths."""

    probes: Sequence[Probe]
    spec: CollectSpec


def look_inside(
    session: Session,
    located: Mapping[str, Located],
    results: Mapping[str, object],
    rows: Callable[[str], Rows] | None = None,
) -> dict[str, Glimpse]:
    """Return what was seen of each machine whose result is a failed login; existing machines are left out.

    ``results`` are those of a task on the hosts; ``rows`` tells what to read besides the reason.
    """
    failed = {
        host: error
        for host, error in results.items()
        if isinstance(error, TransportError)
        # The login is not what failed there.
        and not isinstance(error, WorkerLostError)
        and session.lab.hosts[host].machine is not None
    }
    if not failed or not session.uri or session.invocation.interruption.came:
        return {}
    from labrun.tasks.out_of_band.look import LOOK, MOST_SECONDS, Glimpse, look

    try:
        machines = session.machines()
    except LabrunError:
        return {}
    data = {}
    for host, error in failed.items():
        seen = machines.get(host)
        if seen is not None:
            attempt = _failed_attempt(session, located[host], host, error)
            wanted = rows(host) if rows is not None else None
            job = _job(session, host, seen.kind, seen.uri, attempt, wanted)
            data[host] = {LOOK: replace(job, seconds=(session.invocation.timeout or 0.0) * _OF_TIMEOUT)}
    from labrun.runner.engine.results import results_of

    budget = session.budget(MOST_SECONDS, reads=True)
    # Each look has its own seconds, and takes place on this machine's processors: few at a time are quicker.
    budget = replace(budget, workers=min(budget.workers, _AT_ONCE))
    with hypervisor_engine(session.uri, data, budget=budget) as nornir:
        found = results_of(nornir.run(look), Glimpse)
    return {host: glimpse for host, glimpse in found.items() if isinstance(glimpse, Glimpse)}


def reasons_inside(
    session: Session, located: Mapping[str, Located], results: Mapping[str, object]
) -> dict[str, str]:
    """Return why the login to each machine with a failed login in ``results`` failed, for its rows."""
    glimpses = look_inside(session, located, results)
    if not glimpses:
        return {}
    from labrun.tasks.out_of_band.captures import told

    return {host: told(session.lab, glimpse) for host, glimpse in glimpses.items()}


def explain_failures(session: Session, located: Mapping[str, Located], results: AggregatedResult) -> None:
    """Put the reason that was seen inside into each failed login of a task's results."""
    from labrun.runner.engine.results import cause_of

    errors = {host: cause_of(result) for host, result in results.items()}
    for host, why in reasons_inside(session, located, errors).items():
        error = errors[host]
        if isinstance(error, LabrunError):
            # The login's own reason is part of this one.
            error.reason, error.step, error.hint = why, None, None


def looker(session: Session, host: str, kind: str, uri: str) -> Callable[[str | None, str], Reason | None]:
    """Return what looks inside a machine whose login at an address (None = none is known) fails so far."""
    from labrun.tasks.out_of_band.captures import reason_in
    from labrun.tasks.out_of_band.look import look_at

    interfaces = session.lab.hosts[host].interfaces

    def look(address: str | None, error: str) -> Reason | None:
        at = _address(address)
        nics = [
            nic for nic in interfaces if at in [own.ip for own in (nic.ipv4, nic.ipv6) if own is not None]
        ]
        # A lease is that of the first DHCP NIC.
        nics = nics or [nic for nic in interfaces if nic.dhcp] or list(interfaces)
        attempt = _attempt(session, host, error, at, nics[0].name if nics else None)
        return reason_in(session.lab, look_at(_job(session, host, kind, uri, attempt)))

    return look


def _job(
    session: Session, host: str, kind: str, uri: str, attempt: Attempt, rows: Rows | None = None
) -> LookJob:
    from labrun.tasks.out_of_band.look import LookJob

    lab = session.lab
    return LookJob(
        kind,
        uri,
        lab.libvirt_name(host),
        attempt,
        # libvirt has none of a VLAN.
        {
            lab.libvirt_name(nic.network): nic.network
            for nic in lab.hosts[host].interfaces
            if not is_on_vlan(lab, nic)
        },
        tuple(rows.probes) if rows is not None else (),
        rows.spec if rows is not None else None,
        # The namespaces of a container always answer.
        console_login(session, host) if kind == "qemu" and session.state.has_console_secret else None,
    )


def _failed_attempt(session: Session, where: Located, host: str, error: LabrunError) -> Attempt:
    nic = where.nic or next(iter(where.missing), None)
    attempt = _attempt(session, host, error.reason, _address(where.address), nic)
    return replace(
        attempt,
        refused=isinstance(error.__cause__, ConnectionRefusedError),
        strange_key=isinstance(error, HostKeyChangedError),
        hint=error.hint or "",
    )


def _attempt(session: Session, host: str, error: str, address: Address | None, nic: str | None) -> Attempt:
    from labrun.tasks.out_of_band.attempt import Attempt

    lab_host = session.lab.hosts[host]
    access = access_of(session.lab, lab_host, session.state)
    jump = jumps(session.lab).get(host)
    remote = HYPERVISOR if first_hop(session.lab, session.way_uri(host), host) is not None else ""
    on_record = session.state.host_keys().get(host)
    return Attempt(
        host,
        error,
        address=address,
        nic=nic,
        user=access.user or lab_host.user,
        port=access.port,
        key=session.state.public_key.split()[1] if session.state.has_keys else "",
        host_keys=frozenset({on_record}) if on_record else frozenset(),
        client=jump.client if jump is not None else None,
        through=jump.via if jump is not None else remote,
    )


def _address(text: str | None) -> Address | None:
    try:
        return ip_address(text) if text is not None else None
    except ValueError:
        return None
