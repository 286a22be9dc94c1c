"""The Nornir task that looks inside a host that labrun cannot log in to, for five seconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from nornir.core.task import Result, Task

from labrun.errors import ConnectionLostError, LabrunError, TransportError, UnreachableError
from labrun.hypervisor import connect, translated
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.collect.capture import RawRound
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.evidence import AFTER, BEFORE
from labrun.tasks.collect.script import collect_probes
from labrun.tasks.collect.task import raw_capture
from labrun.tasks.guest.facts import links, routes
from labrun.tasks.guest.facts.login import probe
from labrun.tasks.guest.scripts import assigned
from labrun.tasks.guest.shell import Probe, gather_script, marker
from labrun.tasks.out_of_band.attempt import Attempt, Outside
from labrun.tasks.out_of_band.hypervisor_side import client_towards, outside_of
from labrun.tasks.provision.console import ConsoleTransport, Login
from labrun.tasks.provision.domains import state_of
from labrun.tasks.provision.driver import Driver
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.state_reasons import reason_of

__all__ = ["LOOK", "MOST_SECONDS", "Glimpse", "LookJob", "look", "look_at"]

LOOK = "look"
"""The ``host.data`` key of the :class:`LookJob`."""
_SECONDS = 5.0
"""How long one host is looked at, all scripts together."""
_EMULATED = 6
"""How many times as long a guest takes that is emulated."""
MOST_SECONDS = _SECONDS * _EMULATED + 10.0
"""After this a look has ended by itself."""
_LEAST = 0.5
_CONSOLE_LINES = 200
_NOTHING = CollectSpec()


@dataclass(frozen=True, slots=True)
class LookJob:
    """What to look at: a machine in libvirt, and the login that failed.

    ``networks`` maps libvirt's names to the lab's. ``rows`` are the probes of the settings that are expected
    of the host, ``spec`` has its paths and checks; None = only why. ``login`` is the lab's own at the
    machine's console, the last resort; None = there is none. An emulated guest may take ``seconds`` for all
    scripts together, if that is more than the usual.
    """

    kind: str
    uri: str
    domain: str
    attempt: Attempt
    networks: Mapping[str, str]
    rows: Sequence[Probe] = ()
    spec: CollectSpec | None = None
    login: Login | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What was seen of one host; the parts of a look that failed are missing, ``failure`` says why.

    ``reason`` is certain without looking inside: the machine does not run. ``inside`` (why), ``rows``
    (settings) and ``paths`` are raw results for ``read_capture``. ``console`` is the end of what a VM printed
    since its start, None where that could not be read.
    """

    attempt: Attempt
    reason: str = ""
    outside: Outside = field(default_factory=Outside)
    inside: RawRound | None = None
    rows: RawRound | None = None
    paths: RawRound | None = None
    failure: str = ""
    console: str | None = None


def look(task: Task) -> Result:
    """Look inside one host; the result is a :class:`Glimpse`. Nothing is changed, and no error is raised."""
    job: LookJob = task.host.data[LOOK]
    report(task.host.name, "looking inside")
    glimpse = look_at(job)
    # The look is done; the host is what it was.
    report(task.host.name, "unreachable")
    return Result(host=task.host, result=glimpse)


def look_at(job: LookJob) -> Glimpse:
    """Look inside one machine, and at the hypervisor's side of it."""
    address = job.attempt.address
    attempt = job.attempt
    if not attempt.through:
        attempt = replace(attempt, client=client_towards(address) if address is not None else None)
    glimpse = Glimpse(attempt)
    try:
        driver = driver_for(job.kind, job.uri)
        with translated("observe", attempt.host):
            domain = connect(job.uri).lookupByName(job.domain)
            state = state_of(domain)
            if state != "running":
                why = reason_of(domain)
                return replace(glimpse, reason=f"the machine is {state}{f' ({why})' if why else ''}")
            emulated = "<domain type='qemu'" in domain.XMLDesc(0)
        glimpse = replace(glimpse, outside=outside_of(job.uri, domain, job.networks, address))
        if job.kind == "qemu":
            glimpse = replace(glimpse, console=_console(driver, job.domain))
        deadline = time.monotonic() + (max(_SECONDS * _EMULATED, job.seconds) if emulated else _SECONDS)
        transport, inside = _first_answer(job, driver, attempt, deadline)
        glimpse = replace(glimpse, inside=inside)
    except LabrunError as error:
        return replace(glimpse, failure=error.reason)
    if job.spec is None:
        return glimpse
    # Why it does not answer is known already, whatever becomes of the rest.
    try:
        rows = partial(_gathered, attempt, job.rows)
        glimpse = replace(glimpse, rows=_asked(transport, rows, _NOTHING, deadline))
        paths = partial(_gathered, attempt, collect_probes(job.spec.without_settings()))
        return replace(glimpse, paths=_asked(transport, paths, job.spec, deadline))
    except LabrunError:
        return glimpse


def _console(driver: Driver, domain: str) -> str | None:
    try:
        return driver.console_tail(domain, _CONSOLE_LINES)
    except LabrunError:
        return None


def _first_answer(
    job: LookJob, driver: Driver, attempt: Attempt, deadline: float
) -> tuple[Transport, RawRound]:
    """Return the first way in that answers, and what decides about logins; raises the first way's error."""
    script = _why_script(attempt)
    transport = driver.out_of_band(job.domain)
    no_answer: LabrunError = UnreachableError("its guest agent does not answer", host=attempt.host)
    if transport is not None:
        try:
            return transport, _asked(transport, script, _NOTHING, deadline)
        except TransportError as error:
            # If it was only slow, no time is left.
            no_answer = error
    if job.login is None:
        raise no_answer
    console = ConsoleTransport(attempt.host, job.uri, job.domain, job.login)
    try:
        return console, _asked(console, script, _NOTHING, deadline)
    except LabrunError as error:
        raise UnreachableError(f"{no_answer.reason}; {error.reason}", host=attempt.host) from error


def _gathered(attempt: Attempt, probes: Sequence[Probe], mark: str) -> str:
    return _as_login(attempt) + gather_script(probes, mark)


def _why_script(attempt: Attempt) -> Callable[[str], str]:
    client, server = (
        str(each) if each is not None else "127.0.0.1" for each in (attempt.client, attempt.address)
    )
    state = probe(attempt.user, attempt.key, client, server, attempt.port)
    return lambda mark: gather_script([links.PROBE, routes.PROBE6, *BEFORE, state, *AFTER], mark)


def _as_login(attempt: Attempt) -> str:
    """Return the line by which a script takes itself for one of the login that failed."""
    if attempt.client is None or attempt.address is None:
        return ""
    ends = f"{attempt.client} 40000 {attempt.address} {attempt.port}"
    return "export " + assigned({"SSH_CONNECTION": ends})


def _asked(
    transport: Transport, script: Callable[[str], str], spec: CollectSpec, deadline: float
) -> RawRound:
    mark, left = marker(), deadline - time.monotonic()
    if left < _LEAST:
        raise ConnectionLostError("no time was left to look inside")
    return raw_capture(spec, mark, transport.run(script(mark), timeout=left, sudo=True))
