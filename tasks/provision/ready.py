"""Wait until a machine is ready, stage by stage, and report why if it does not get there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from labrun.errors import (
    AuthenticationError,
    ConnectionLostError,
    HostKeyError,
    LabrunError,
    TransportError,
    UnreachableError,
    UnreadableError,
)
from labrun.outcome import OUT_OF_BAND
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.guest.reason import Reason
from labrun.tasks.provision.console_watch import ConsoleWatch
from labrun.tasks.provision.insight import Insight
from labrun.tasks.provision.ready_answer import read_answer, ready_script, unaddressed

__all__ = ["OTHER_NICS", "Limits", "Ready", "Standing", "limits_of", "ready_inside", "wait_until_ready"]

_POLL = 0.1
_INSIDE_POLL = 0.5
OTHER_NICS = 20.0
"""How long the NICs other than the one of the login may take to get their addresses, in seconds."""
_NO_ADDRESS = "no address is known"
_STOPPED = "the machine stopped while booting"
_BLIND = Insight(None, 0.0)
_TOO_MANY_RESTARTS = 3
"""Some images restart once in their first boot; none does so three times."""
# Since OpenSSH 9.8 every failed login costs the client a penalty, and three in a row lock it out.
_AFTER_REFUSAL = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a machine may take for each stage, in seconds, and for all of them.

    ``boot`` ends with the first sign of life: an address where that has to be found, else a login. ``login``
    is for a login once an address was found, ``cloud_init`` for the end of cloud-init once there is a login.
    """

    boot: float
    login: float
    cloud_init: float
    total: float

    @classmethod
    def within(cls, seconds: float) -> Limits:
        """Return limits by which each stage may take all of the time that the stages have together."""
        return cls(seconds, seconds, seconds, seconds)


_LIMITS = {"lxc": Limits(120.0, 60.0, 60.0, 240.0), "qemu": Limits(600.0, 300.0, 300.0, 1200.0)}
"""Without KVM a VM alone takes half a minute, and many take minutes."""


def limits_of(kind: str, seconds: float | None) -> Limits:
    """Return the limits of a container (``lxc``) or VM (``qemu``), or ``seconds`` for all stages together."""
    return _LIMITS[kind] if seconds is None else Limits.within(seconds)


class Standing(Protocol):
    """Whether the machine runs, and how often it has restarted, without a question for each look."""

    def is_running(self) -> bool:
        """Tell whether the machine is still running."""
        ...

    def restarts(self) -> int:
        """Return how often it has restarted by itself since the wait began."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until something happens to the machine."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A machine's progress: ``stage`` is the last one reached or, with ``why``, the one it is stuck in.

    ``error`` is ``unreachable``, ``failed`` or empty; ``addresses`` maps MACs to the guest's addresses.
    ``address`` is where the login worked, which may be a former address if the file has changed it.
    """

    stage: str
    seconds: float
    error: str = ""
    why: str = ""
    addresses: Mapping[str, tuple[str, ...]] | None = None
    address: str = ""


def wait_until_ready(
    host: str,
    *,
    limits: Limits,
    address: Callable[[], str | None],
    login: Callable[[str], Transport],
    expected: Mapping[str, tuple[str, ...]],
    standing: Standing,
    insight: Insight = _BLIND,
    watch: ConsoleWatch | None = None,
    other_nics: float = OTHER_NICS,
) -> Ready:
    """Go through the stages ``address``, ``ssh``, ``cloud-init``, each within its limit.

    ``address()`` looks once for the host's current address; ``login(address)`` opens an SSH session or
    raises a TransportError; ``expected`` maps each MAC to the addresses (with prefix length) that the guest
    must have, those of its other NICs within ``other_nics`` seconds. ``insight`` ends the wait
    for what waiting does not fix, and so does a machine that stops, or restarts again and again.
    ``watch`` shows the stages.
    """
    wait = _Wait(host, limits, standing, insight, watch)
    wait.watch.enter("address", limit=limits.boot)
    found, why = wait.for_address(address)
    if found is None:
        if not standing.is_running():
            return Ready("address", wait.spent(), "unreachable", _STOPPED)
        reason = why or insight.last(_NO_ADDRESS)
        failure = f"no address after {wait.spent():.0f} s"
        return Ready("address", wait.spent(), "unreachable", _told(failure, reason))
    wait.watch.enter("ssh", found, wait.left_for_login)
    transport, error, why = wait.for_login(lambda: login(found))
    if transport is None:
        reason = why or (insight.last(error) if standing.is_running() else None)
        failure = f"no login at {found} after {wait.spent():.0f} s: {error}"
        return Ready("ssh", wait.spent(), "unreachable", _told(failure, reason))
    answered = str(getattr(transport, "address", found))
    # At a former address, the guest does not have the expected ones yet.
    awaited = expected if answered == found else {}
    return replace(wait.for_the_rest(transport, awaited, other_nics), address=answered)


def ready_inside(
    host: str,
    *,
    limits: Limits,
    transport: Callable[[], Transport | None],
    expected: Mapping[str, tuple[str, ...]],
    standing: Standing,
    watch: ConsoleWatch | None = None,
) -> Ready:
    """Go through the stages ``inside`` and ``cloud-init`` of a machine that cannot be logged in to.

    ``transport()`` returns a way in without a login, None as long as there is none.
    """
    wait = _Wait(host, limits, standing, _BLIND, watch)
    wait.watch.enter("inside", limit=limits.boot)
    deadline = wait.deadline(limits.boot)
    while (entered := transport()) is None:
        if time.monotonic() >= deadline or not standing.is_running():
            why = "no way in without a login" if standing.is_running() else _STOPPED
            return Ready("inside", wait.spent(), "unreachable", why)
        wait.watch.look()
        standing.pause(_INSIDE_POLL)
    return wait.for_the_rest(entered, expected)


def _told(failure: str, reason: Reason | None) -> str:
    return failure if reason is None else f"{reason.text}; {OUT_OF_BAND}, over SSH: {failure}"


class _Wait:
    """One machine's way through the stages: the clock of each, and what ends it early."""

    def __init__(
        self, host: str, limits: Limits, standing: Standing, insight: Insight, watch: ConsoleWatch | None
    ) -> None:
        self._host, self._limits, self._standing, self._insight = host, limits, standing, insight
        self.watch = watch or ConsoleWatch(host)
        self._began = time.monotonic()
        # A login at an address that was known beforehand shows the end of the boot.
        self._login_deadline = self.deadline(limits.boot)

    def spent(self) -> float:
        return time.monotonic() - self._began

    def deadline(self, seconds: float) -> float:
        """Return when a stage that begins now has to end."""
        return min(time.monotonic() + seconds, self._began + self._limits.total)

    def for_address(self, address: Callable[[], str | None]) -> tuple[str | None, Reason | None]:
        deadline, is_first = self.deadline(self._limits.boot), True
        while True:
            found = address()
            if found is not None and not is_first:
                self._login_deadline = self.deadline(self._limits.login)
            if found is not None or time.monotonic() >= deadline or not self._standing.is_running():
                return found, None
            reason = self._lasting(_NO_ADDRESS)
            if reason is not None:
                return None, reason
            self.watch.look()
            self._standing.pause(_POLL)
            is_first = False

    @property
    def left_for_login(self) -> float:
        """Return how many seconds there still are until there has to be a login."""
        return max(self._login_deadline - time.monotonic(), 0.0)

    def for_login(self, login: Callable[[], Transport]) -> tuple[Transport | None, str, Reason | None]:
        """Return the way in, else what SSH said last, and what was seen inside that ends the wait."""
        error_text = ""
        refusals = 0
        while True:
            pause = _POLL
            try:
                return login(), "", None
            except HostKeyError as error:
                # Waiting does not change a key.
                return None, error.reason, None
            except AuthenticationError as error:
                error_text = error.reason
                refusals += 1
                # The first refusal may be a boot that has not installed the key yet.
                pause = min(_AFTER_REFUSAL, 1.0 * 2 ** (refusals - 1))
            except TransportError as error:
                error_text = error.reason
            if not self._standing.is_running():
                return None, _STOPPED, None
            if time.monotonic() + pause >= self._login_deadline:
                return None, error_text, None
            reason = self._lasting(error_text)
            if reason is not None:
                return None, error_text, reason
            self.watch.look()
            self._standing.pause(pause)

    def _lasting(self, error: str) -> Reason | None:
        restarts = self._standing.restarts()
        if restarts < _TOO_MANY_RESTARTS:
            return self._insight.lasting(error)
        text = f"it restarts again and again, {restarts} times in {self.spent():.0f} s"
        seen = self._insight.last(error)
        return Reason(text if seen is None else f"{text}: {seen.text}")

    def for_the_rest(
        self,
        transport: Transport,
        expected: Mapping[str, tuple[str, ...]],
        other_nics: float = OTHER_NICS,
    ) -> Ready:
        """Wait for the end of cloud-init, then for a while for addresses: DHCP servers may be slower."""
        self.watch.enter("cloud-init", limit=self._limits.cloud_init)
        began = time.monotonic()
        deadline = self.deadline(self._limits.cloud_init)
        ready = self._finish(transport, deadline, expected, began)
        until = min(deadline, time.monotonic() + other_nics)
        while (
            ready.stage == "address"
            and ready.error == "failed"
            and time.monotonic() < until
            and self._standing.is_running()
        ):
            self._standing.pause(_INSIDE_POLL)
            ready = self._finish(transport, deadline, expected, began)
        return ready

    def _finish(
        self, transport: Transport, deadline: float, expected: Mapping[str, tuple[str, ...]], began: float
    ) -> Ready:
        stage = "cloud-init"
        left = max(1.0, deadline - time.monotonic())
        # All that a machine is asked after login, in one channel: the end of cloud-init, then its addresses.
        try:
            done = transport.run(ready_script(left), timeout=left + 10)
        except (UnreachableError, ConnectionLostError) as error:
            why = error.reason if self._standing.is_running() else _STOPPED
            return Ready(stage, self.spent(), "unreachable", why)
        try:
            answer = read_answer(done)
        except UnreadableError as error:
            raise LabrunError(
                f"unexpected answer: {(done.stderr or done.stdout).strip()[-200:]}",
                host=self._host,
                step=stage,
            ) from error
        addresses, boot = answer.addresses, answer.first_boot
        if boot.trouble:
            return Ready(stage, self.spent(), "failed", boot.trouble, addresses)
        if boot.errors is None:
            why = (
                f"cloud-init has not finished {time.monotonic() - began:.0f} s after the login{boot.waiting}"
            )
            return Ready(stage, self.spent(), "unreachable", why)
        if why := unaddressed(answer, expected):
            return Ready("address", self.spent(), "failed", why, addresses)
        report(self._host, "ready")
        return Ready("ready", self.spent(), addresses=addresses)
