"""Wait until a machine that was started is ready: find its address, log in, and report the row."""

from __future__ import annotations

import time
from collections.abc import Callable

from nornir.core.task import Task

from labrun.errors import LabrunError, TransportError, UnreachableError
from labrun.hypervisor import connect, translated
from labrun.libvirt_events import follow
from labrun.outcome import OUT_OF_BAND, Fault, Outcome, Status
from labrun.ports import Transport
from labrun.tasks.guest.jump_host import JUMP_HOST
from labrun.tasks.guest.reason import Reason
from labrun.tasks.provision.console_watch import ConsoleWatch, slow_because
from labrun.tasks.provision.domains import find_domain, state_of
from labrun.tasks.provision.driver import Driver, MachineSpec
from labrun.tasks.provision.insight import Insight
from labrun.tasks.provision.machine_job import Lease, MachineJob
from labrun.tasks.provision.machine_login import put_keys_in, record_addresses
from labrun.tasks.provision.readdress import OtherWayIn
from labrun.tasks.provision.ready import OTHER_NICS, Ready, ready_inside, wait_until_ready
from labrun.tasks.provision.rows import failure_row
from labrun.tasks.provision.standing import MachineStanding
from labrun.tasks.provision.state_reasons import reason_of
from labrun.tasks.state.sections import NMCLI

__all__ = ["ready_row"]

# TCP retries after 1, 3 and 7 s: a new attempt notices a guest that comes up in between sooner.
_DIAL = 2.0
_FIRST_LOOK, _FIRST_LOOK_AT_A_BOOT = 3.0, 12.0
_ASK_AGAIN = 1.0


class _NotLedYetError(Exception):
    """The host that leads to this one has to be configured first: waiting is in vain."""


def ready_row(task: Task, driver: Driver, job: MachineJob) -> Outcome:
    """Wait until the machine is ready; return the row that says so, or what keeps it."""
    from labrun.tasks.guest.transport import transport_of

    spec, began, note = job.spec, time.monotonic(), ""
    standing = MachineStanding(follow(driver.uri(), spec.domain), lambda: _is_running(driver, spec))
    leased = job.lease.mac if job.lease is not None else None
    is_new = job.host_key is not None
    inside = OtherWayIn(
        spec.host, job.network, leased, lambda: driver.out_of_band(spec.domain), is_new=is_new
    )

    watch = ConsoleWatch(
        spec.host, lambda: driver.console_tail(spec.domain, 1), slow_because(job.driver, driver)
    )
    look_up = _looking_up(task, job)

    def address() -> str | None:
        found = look_up()
        if found is None:
            inside.try_it()
        return found

    def login(found: str) -> Transport:
        try:
            return dial(found)
        except TransportError as error:
            if _is_led(job):
                raise
            raise _NotLedYetError from error

    def dial(_found: str) -> Transport:
        # A lease may have been asked for again meanwhile.
        look_up()
        try:
            return transport_of(task.host, dial=_DIAL)
        except UnreachableError:
            if not inside.try_it():
                raise
            look_up()
            return transport_of(task.host, dial=_DIAL)

    try:
        if job.recover:
            put_keys_in(driver, job)
            note = "the lab's keys were lost: a new one was installed without a login"
        if job.no_way:
            note = f"{job.no_way}: {OUT_OF_BAND}"
            ready = ready_inside(
                spec.host,
                limits=job.limits,
                transport=lambda: driver.out_of_band(spec.domain),
                expected=job.addresses,
                standing=standing,
                watch=watch,
            )
            return _as_row(driver, job, ready, "", note)
        ready = wait_until_ready(
            spec.host,
            limits=job.limits,
            address=address,
            login=login,
            expected=job.addresses,
            standing=standing,
            insight=_insight(task, job),
            watch=watch,
            # What runs, and is configured next, gets its further addresses by that.
            other_nics=0.0 if job.configures and _was_up(job) else OTHER_NICS,
        )
    except _NotLedYetError:
        return _not_led(job, began)
    except LabrunError as error:
        return failure_row(error, spec.host, "ready", spec.host, began)
    # One that boots may have its VLANs a moment later.
    if ready.addresses is not None and (_was_up(job) or (ready.error and job.host_key is None)):
        found = (text.partition("/")[0] for each in ready.addresses.values() for text in each)
        job.seen[spec.host] = frozenset(found)
    if inside.note and not ready.error:
        record_addresses(job)
    return _as_row(driver, job, ready, task.host.hostname or "", note or inside.note)


def _was_up(job: MachineJob) -> bool:
    return job.host_key is None and not job.plan.start


def _is_led(job: MachineJob) -> bool:
    """Tell whether the host that leads to this one may do so, as far as this run has seen."""
    if job.led is None or job.led.by not in job.seen:
        return True
    addresses = job.seen[job.led.by]
    return addresses is not None and (not job.led.address or job.led.address in addresses)


def _not_led(job: MachineJob, began: float) -> Outcome:
    host, led = job.spec.host, job.led
    assert led is not None
    if job.seen[led.by] is None:
        what, fault = (
            f"{led.by}, which leads to it, is not configured yet",
            Fault(led.by, "not configured yet"),
        )
    else:
        missing = f"does not have {led.address} on {led.nic} yet"
        what = f"{led.by}, which leads to it, {missing}: `labrun configure` sets it"
        fault = Fault(led.by, missing, NMCLI.name, led.nic)
    job.seen[host] = None
    spent = time.monotonic() - began
    return Outcome(host, "ready", host, Status.PENDING, "ready", "started", what, fault=fault, seconds=spent)


def _insight(task: Task, job: MachineJob) -> Insight:
    look = job.look
    if look is None:
        return Insight(None, 0.0)
    # A machine that starts in this run has its boot before it.
    first = _FIRST_LOOK if job.plan.action == "none" and not job.plan.start else _FIRST_LOOK_AT_A_BOOT

    def reason(error: str) -> Reason | None:
        lost = next((each for each in job.through if each in job.lost), None)
        if lost is not None:
            return Reason(f"its jump host {lost} is not ready")
        if JUMP_HOST in error:
            return None
        return look(str(task.host.hostname) if task.host.hostname else None, error)

    # Why a jump host does not answer is seen there, and this one cannot show it.
    return Insight(reason, first, lambda error: JUMP_HOST in error and not job.lost.intersection(job.through))


def _looking_up(task: Task, job: MachineJob) -> Callable[[], str | None]:
    """Return what looks once for the host's address: static ones are known, a lease has to appear first."""
    asked = 0.0

    def look_up() -> str | None:
        nonlocal asked
        if job.lease is None:
            return str(task.host.hostname) if task.host.hostname else None
        found = None
        # To look into a guest takes longer than to ask libvirt for its leases.
        if not job.lease.is_inside or time.monotonic() - asked > _ASK_AGAIN:
            found = _leased(job, job.lease)
            asked = time.monotonic()
        if found is not None:
            task.host.hostname = found
            task.host.data.pop("labrun_unreachable", None)
        return found

    return look_up


def _leased(job: MachineJob, awaited: Lease) -> str | None:
    from labrun.inventory.hosts.leases import LibvirtLeases, addresses_of_guest

    if awaited.is_inside:
        leases = addresses_of_guest(job.uri, job.spec.domain)
    else:
        leases = LibvirtLeases(job.home or job.uri, agents=False).leases(awaited.networks)
    of_nic = (lease.address for lease in leases if lease.mac == awaited.mac)
    usable = [str(ip) for ip in of_nic if ip.version == awaited.version and not ip.is_link_local]
    # A lease from before the network's subnet changed is on record as long as it lasts.
    reserved = {text.partition("/")[0] for text in job.addresses.get(awaited.mac, ())}
    return next((ip for ip in usable if ip in reserved), next(iter(usable), None))


def _is_running(driver: Driver, spec: MachineSpec) -> bool:
    with translated("observe", spec.host):
        domain = find_domain(connect(driver.uri()), spec.domain, spec.lab)
        return domain is not None and state_of(domain) == "running"


def _standing(driver: Driver, spec: MachineSpec) -> str:
    """Return the state of a machine that does not run and libvirt's reason for it, empty if there is none."""
    with translated("observe", spec.host):
        domain = find_domain(connect(driver.uri()), spec.domain, spec.lab)
        reason = "" if domain is None else reason_of(domain)
        return f"{state_of(domain)}: {reason}" if reason else ""


def _as_row(driver: Driver, job: MachineJob, ready: Ready, address: str, note: str) -> Outcome:
    spec, host = job.spec, job.spec.host
    if ready.stage == "address" and ready.error == "failed" and job.host_key is None:
        # It was there before, and is asked for an address that it was not made with.
        status = Status.OK if job.configures else Status.PENDING
        why = f"{ready.why}: {'configured next' if job.configures else '`labrun configure` sets it'}"
        actual = f"answers at {ready.address} in {ready.seconds:.1f} s"
        return Outcome(host, "ready", host, status, "ready", actual, why, seconds=ready.seconds)
    if not ready.error:
        through = f"through {' and '.join(job.through)} " if job.through else ""
        at = f"at {ready.address} {through}" if ready.address else ""
        actual = f"ready {at}in {ready.seconds:.1f} s"
        if ready.address and ready.address != address:
            note = f"that is its former address; `labrun configure` gives it {address or 'the new one'}"
        return Outcome(host, "ready", host, Status.OK, "ready", actual, note or None, seconds=ready.seconds)
    status = Status.UNREACHABLE if ready.error == "unreachable" else Status.FAILED
    tail = driver.console_tail(spec.domain)
    standing = _standing(driver, spec)
    why = f"{ready.why} ({standing})" if standing else ready.why
    if tail:
        why = f"{why}\nlast lines of its console:\n{tail}"
    return Outcome(
        host,
        "ready",
        host,
        status,
        expected="ready",
        actual=f"stage {ready.stage}",
        why=why,
        seconds=ready.seconds,
    )
