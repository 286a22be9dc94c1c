"""What the task of each machine is given that is to be made, or that is waited for until it is ready."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labrun.inventory.hosts.locate import file_addresses
from labrun.inventory.model import Lab
from labrun.inventory.topology.jump_hosts import entrance, jump_chain, jumps, no_login
from labrun.inventory.topology.vlans import is_on_vlan
from labrun.key_pairs import make_host_key
from labrun.runner.cli.terminal import say
from labrun.runner.engine.session import Session
from labrun.tasks.provision.planning import PlannedMachine

if TYPE_CHECKING:
    from labrun.tasks.provision.machine_job import Lease, Led, MachineJob

__all__ = ["MARGIN", "awaited_lease", "machine_jobs"]

MARGIN = 60.0
"""Seconds that a task may take beyond its limit before it is given up."""


def machine_jobs(
    session: Session, machines: Sequence[PlannedMachine], *, wait: bool, configures: bool
) -> dict[str, MachineJob]:
    """Create missing lab keys, and return the job for each host's task."""
    from labrun.runner.engine.out_of_band import looker
    from labrun.tasks.configure.resources import host_spec
    from labrun.tasks.provision.machine_job import MachineJob
    from labrun.tasks.provision.ready import limits_of
    from labrun.tasks.provision.specs import seeded

    lab, state = session.lab, session.state
    state.ensure_keys()
    known = state.host_keys()
    no_ways = _no_ways(session, [item.spec.host for item in machines])
    jobs: dict[str, MachineJob] = {}
    lost: set[str] = set()
    seen: dict[str, frozenset[str] | None] = {}
    for item in machines:
        host = lab.hosts[item.spec.host]
        spec, name = item.spec, item.spec.host
        made = item.plan.action in ("create", "recreate")
        on_record = None
        if made:
            host_key = make_host_key(name)
            on_record = (file_addresses(host), host_key.public)
            logins = (state.public_key, *host.ssh_keys)
            spec = seeded(
                spec,
                lab,
                instance=f"i-{uuid.uuid4()}",
                host_key=host_key,
                login_keys=logins,
                password=state.console_password(name),
            )
        limits = limits_of(item.kind, session.invocation.timeout)
        recover = not made and name not in known
        if recover:
            say(f"{name}: the lab's keys are lost; a new one is installed without a login")
        jobs[name] = MachineJob(
            spec,
            item.plan,
            item.kind,
            item.uri,
            old=(item.seen.kind, item.seen.uri) if item.seen else (item.kind, item.uri),
            wait=wait,
            timeout=limits.total,
            limits=limits,
            addresses=_addresses(session, name),
            lease=awaited_lease(lab, name),
            no_way=no_ways[name],
            lost=lost,
            led=_led(lab, name),
            seen=seen,
            state=str(state.root),
            recover=recover,
            login_keys=lab.hosts[name].ssh_keys,
            host_key=on_record,
            look=looker(session, name, item.kind, item.uri),
            network=host_spec(lab, name),
            configures=configures,
            given=tuple(file_addresses(lab.hosts[name])),
            home=session.way_uri(name) if session.span is not None else "",
        )
    return jobs


def _addresses(session: Session, name: str) -> dict[str, tuple[str, ...]]:
    # What router advertisements and DHCPv6 give may come later than the rest.
    return {
        nic.mac: tuple(str(each) for each in nic.addresses if each.version == 4 or not nic.ipv6_method)
        for nic in session.lab.hosts[name].interfaces
        # A VLAN has its own MAC only once `configure` has given it one.
        if not is_on_vlan(session.lab, nic)
    }


def awaited_lease(lab: Lab, name: str) -> Lease | None:
    """Return where to find the lease that makes a host reachable; None if the file gives it an address.

    It is that of the NIC through which the hypervisor, or a jump host, reaches the host.
    """
    from labrun.tasks.provision.machine_job import Lease

    way = entrance(lab, lab.hosts[name])
    nic = lab.hosts[name].nic(way.nic) if way.nic is not None else None
    if nic is None or not any(nic.leases(version) for version in way.versions):
        return None
    version = next(version for version in way.versions if nic.leases(version))
    is_inside = lab.networks[nic.network].is_beyond
    return Lease(nic.mac, (lab.libvirt_name(nic.network),), is_inside, version)


def _led(lab: Lab, name: str) -> Led | None:
    from labrun.tasks.provision.machine_job import Led

    jump = jumps(lab).get(name)
    if jump is None or jump.client is None:
        return Led(jump.via) if jump is not None else None
    fixed = (
        nic
        for nic in lab.hosts[jump.via].interfaces
        if jump.client in (each.ip for each in nic.addresses)
        # Any other address may still come by itself.
        and not (nic.dhcp if jump.client.version == 4 else nic.ipv6_method)
    )
    nic = next(fixed, None)
    return Led(jump.via, str(jump.client), nic.name) if nic is not None else Led(jump.via)


def _no_ways(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Return why each of these hosts cannot be reached, empty if it can be, or will be in this run."""
    lab = session.lab
    whys = {name: no_login(lab, name) for name in names}
    # Waiting for a jump host is in vain if it is not running and this run does not start it.
    others = {
        each
        for name in names
        for each in jump_chain(lab, name)
        if each not in names and lab.hosts[each].machine is not None
    }
    machines = session.machines() if others else {}
    for name in names:
        for jump in others.intersection(jump_chain(lab, name)):
            seen = machines.get(jump)
            if seen is None or seen.machine.state != "running":
                state = "is not running" if seen else "does not exist"
                whys[name] = f"the hypervisor has no way to {name}: its jump host {jump} {state}"
    return whys
