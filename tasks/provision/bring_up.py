"""The Nornir task that brings one machine up: create it, start it, and wait until it is ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nornir.core.task import Result, Task

from labrun.errors import CommandError, LabrunError, UnreachableError
from labrun.hypervisor import connect, translated
from labrun.outcome import OUT_OF_BAND, Outcome, Status
from labrun.ports import Transport
from labrun.progress import report
from labrun.state import LabState
from labrun.tasks.guest.facts.authorized_keys import GIVEN, USERS
from labrun.tasks.guest.jump_host import JUMP_HOST
from labrun.tasks.guest.reason import Reason
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.provision.domains import find_domain, state_of
from labrun.tasks.provision.driver import Driver, MachineSpec
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.insight import Insight
from labrun.tasks.provision.machines import USER
from labrun.tasks.provision.objects import Plan
from labrun.tasks.provision.readdress import OtherWayIn
from labrun.tasks.provision.ready import Ready, ready_inside, wait_until_ready
from labrun.tasks.provision.rows import done_row, failure_row, kept_row
from labrun.tasks.provision.state_reasons import reason_of

__all__ = ["Lease", "MachineJob", "provision_machine"]

_known_hosts = threading.Lock()
# TCP retries after 1, 3 and 7 s: a new attempt notices a guest that comes up in between sooner.
_DIAL = 2.0
_FIRST_LOOK, _FIRST_LOOK_AT_A_BOOT = 3.0, 12.0
_ASK_AGAIN = 1.0


class Lease(NamedTuple):
    """Where the address of a host that a DHCP server gives one appears: the NIC, its networks in libvirt.

    On a network that libvirt does not serve, it is only known inside the guest.
    """

    mac: str
    networks: tuple[str, ...]
    is_inside: bool = False
    version: int = 4


@dataclass(frozen=True, slots=True)
class MachineJob:
    """What there is to do about one machine, in its Nornir host's data under ``up``.

    ``old`` is the driver and URI of a machine to be replaced, ``timeout`` in seconds. ``addresses`` are
    those that the guest must have, by MAC; ``lease`` is None for a host with an address of its own.
    ``no_way`` is why nothing leads to it, by the file or because its jump host does not run, empty if
    something does; ``through`` are the jump hosts on the way, ``lost`` collects the hosts of this run that do
    not get ready. ``state`` is the state directory;
    ``recover`` = install the lab's key without a login; ``login_keys`` are those of people. ``host_key`` has
    the addresses and the public key of a machine that is created, else None. ``network`` is what
    ``configure`` sets of its network; ``configures`` = it does so next. ``behind`` names a network of the
    host that still has another subnet than in the file, so that the host cannot be as the file says either.
    ``given`` are the addresses that the file gives the host. ``look`` tells why a login at an address fails,
    given what SSH said.
    """

    spec: MachineSpec
    plan: Plan
    driver: str
    uri: str
    old: tuple[str, str]
    wait: bool
    timeout: float
    addresses: Mapping[str, tuple[str, ...]]
    lease: Lease | None
    no_way: str
    state: str
    recover: bool
    login_keys: tuple[str, ...]
    host_key: tuple[Sequence[str], str] | None
    network: Mapping[str, Any]
    configures: bool = False
    behind: str = ""
    given: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    lost: set[str] = field(default_factory=set)
    look: Callable[[str | None, str], Reason | None] | None = None


def provision_machine(task: Task) -> Result:
    """Create, change or start one machine and wait until it is ready.

    Reads the MachineJob in ``host.data["up"]``. The result is a list of Outcomes, sections ``machine`` and
    ``ready``.
    """
    host = task.host.name
    job: MachineJob = task.host.data["up"]
    driver = driver_for(job.driver, job.uri)
    began = time.monotonic()
    try:
        row = _make(driver, job, began)
    except LabrunError as error:
        job.lost.add(host)
        rows = [failure_row(error, host, "machine", host, began)]
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why="there is no machine to wait for"))
        return Result(host=task.host, result=rows, failed=True)
    rows = [row]
    if job.behind:
        why = f"the network {job.behind} is not as the file says yet"
        rows.append(Outcome(host, "ready", host, Status.PENDING, "ready", why=why))
    elif row.status is Status.PENDING or not job.wait:
        why = "--no-wait" if not job.wait else "the machine is not as the file says"
        rows.append(Outcome(host, "ready", host, Status.SKIPPED, why=why))
    else:
        rows.append(_ready_row(task, driver, job))
        if rows[-1].status in (Status.FAILED, Status.UNREACHABLE):
            job.lost.add(host)
    return Result(host=task.host, result=rows, changed=row.status is Status.CHANGED)


def _make(driver: Driver, job: MachineJob, began: float) -> Outcome:
    spec, plan = job.spec, job.plan
    if plan.kept:
        return kept_row(spec.host, "machine", plan, plan.kept)
    report(spec.host, plan.action if plan.action != "none" else "running")
    if plan.action == "recreate":
        _retire(driver, job)
    if plan.action in ("create", "recreate"):
        _put_on_record(job)
        driver.create(spec)
        report(spec.host, "defined")
    elif plan.action == "update" and not _update(driver, spec, plan):
        why = f"only a new machine can carry this: labrun up --recreate --hosts {spec.host}"
        return kept_row(spec.host, "machine", plan, why)
    if plan.start:
        driver.start(spec)
    report(spec.host, "started")
    if plan.action == "update" and USER in plan.item.differences:
        report(spec.host, "user", spec.user)
        _put_keys_in(driver, job)
        # On record only when the user is there: a run that was killed before is made up for by the next.
        driver.update(spec, (USER,))
    owed = driver.restart_owed(spec.domain) if plan.action in ("none", "update") else ()
    row = done_row(spec.host, "machine", plan, began)
    return replace(
        row,
        expected="running",
        actual="running" if plan.action == "none" else row.actual,
        why=f"from its next start on: {', '.join(owed)}" if owed else None,
    )


def _update(driver: Driver, spec: MachineSpec, plan: Plan) -> bool:
    """Carry out what differs but for the login user, who is made in the running guest."""
    others = tuple(key for key in plan.item.differences if key != USER)
    before = plan.item.have.get(USER, spec.user)
    return not others or driver.update(replace(spec, user=before), others)


def _retire(driver: Driver, job: MachineJob) -> None:
    """Remove the machine to be replaced, once it is certain that a new one can be created."""
    spec = job.spec
    driver.rehearse(spec)
    if job.old == (driver.name, driver.uri()):
        driver.retire(spec.lab, spec.domain)
    else:
        # The new driver does not replace the old driver's files, so remove them here.
        driver_for(*job.old).remove(spec.lab, spec.host, spec.domain)


def _put_on_record(job: MachineJob) -> None:
    """Record the new machine's host key while neither the old machine nor the new one exists.

    Wherever this run is killed, the recorded key belongs to the defined machine, or no machine is defined
    and the next run creates one with a new key.
    """
    if job.host_key is not None:
        with _known_hosts:
            LabState(Path(job.state), job.spec.lab).remember_host_keys({job.spec.host: job.host_key})


def _ready_row(task: Task, driver: Driver, job: MachineJob) -> Outcome:
    from labrun.tasks.guest.transport import transport_of

    spec, began, note = job.spec, time.monotonic(), ""
    leased = job.lease.mac if job.lease is not None else None
    inside = OtherWayIn(spec.host, job.network, leased, lambda: driver.out_of_band(spec.domain))

    look_up = _looking_up(task, job)

    def address() -> str | None:
        found = look_up()
        if found is None:
            _inside(job, inside)
        return found

    def login(_found: str) -> Transport:
        # A lease may have been asked for again meanwhile.
        look_up()
        try:
            return transport_of(task.host, dial=_DIAL)
        except UnreachableError:
            if not _inside(job, inside):
                raise
            look_up()
            return transport_of(task.host, dial=_DIAL)

    try:
        if job.recover:
            _put_keys_in(driver, job)
            note = "the lab's keys were lost: a new one was put in without a login"
        if job.no_way:
            note = f"{job.no_way}: {OUT_OF_BAND}"
            ready = ready_inside(
                spec.host,
                timeout=job.timeout,
                transport=lambda: driver.out_of_band(spec.domain),
                expected=job.addresses,
                alive=lambda: _is_running(driver, spec),
            )
            return _as_row(driver, job, ready, "", note)
        ready = wait_until_ready(
            spec.host,
            timeout=job.timeout,
            address=address,
            login=login,
            expected=job.addresses,
            alive=lambda: _is_running(driver, spec),
            insight=_insight(task, job),
        )
    except LabrunError as error:
        return failure_row(error, spec.host, "ready", spec.host, began)
    if inside.note and not ready.error:
        # Or `configure` would hold that it still has the former ones, and give them to nobody else.
        with _known_hosts:
            LabState(Path(job.state), spec.lab).remember_addresses({spec.host: job.given})
    return _as_row(driver, job, ready, task.host.hostname or "", note or inside.note)


def _inside(job: MachineJob, inside: OtherWayIn) -> bool:
    """Try another way in to a machine that was there before: a new one has its addresses from the start."""
    return job.host_key is None and inside.try_it()


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
            # Why that does not answer is seen there, and this one cannot show it.
            return None
        return look(str(task.host.hostname) if task.host.hostname else None, error)

    return Insight(reason, first)


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
        leases = LibvirtLeases(job.uri, agents=False).leases(awaited.networks)
    of_nic = (lease.address for lease in leases if lease.mac == awaited.mac)
    usable = [str(ip) for ip in of_nic if ip.version == awaited.version and not ip.is_link_local]
    # A lease from before the network's subnet changed is on record as long as it lasts.
    reserved = {text.partition("/")[0] for text in job.addresses.get(awaited.mac, ())}
    return next((ip for ip in usable if ip in reserved), next(iter(usable), None))


def _is_running(driver: Driver, spec: MachineSpec) -> bool:
    # Polled ten times a second for each booting host: read one domain's state, not every domain's XML.
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
        way = f"through {' and '.join(job.through)} " if job.through else ""
        at = f"at {ready.address} {way}" if ready.address else ""
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


def _put_keys_in(driver: Driver, job: MachineJob) -> None:
    """Let the lab's key and those of people log in as the user, and read the host key in the process.

    The guest is entered without a login: the key is lost, or the user does not exist yet.
    """
    spec, state = job.spec, LabState(Path(job.state), job.spec.lab)
    keys = "\n".join((state.public_key, *job.login_keys))
    values: dict[str, str | int | bool] = {"user": spec.user, "keys": keys, "given": GIVEN, "users": USERS}
    script = assigned(values) + "".join(map(guest_script, ("keys_files", "keys_apply", "put_key")))
    deadline = time.monotonic() + job.timeout
    while True:
        try:
            done = _out_of_band(driver, spec).run(script, timeout=30)
        except UnreachableError as error:
            # A guest agent answers only when the guest has booted far enough.
            if time.monotonic() >= deadline:
                raise
            report(spec.host, "recover", error.reason)
            time.sleep(0.5)
            continue
        break
    if done.exit_status != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CommandError(said[-1] if said else "no answer", host=spec.host, step=f"login as {spec.user}")
    addresses = [text.partition("/")[0] for found in job.addresses.values() for text in found]
    with _known_hosts:
        state.remember_host_keys({spec.host: (addresses, done.stdout.strip().splitlines()[-1])})


def _out_of_band(driver: Driver, spec: MachineSpec) -> Transport:
    transport = driver.out_of_band(spec.domain)
    if transport is None:
        raise UnreachableError("no way in without a login yet", host=spec.host, step="recover")
    return transport
