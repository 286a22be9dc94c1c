"""Wait until a machine is ready, stage by stage, and report why if it does not get there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from labrun.bounded import as_list, as_object, objects, read_json
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
from labrun.ports import Completed, Transport
from labrun.progress import report
from labrun.tasks.guest.facts.links import nics_by_mac, parse_links
from labrun.tasks.guest.reason import Reason
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.provision.insight import Insight

__all__ = ["Ready", "ready_inside", "wait_until_ready"]

_POLL = 0.1
_INSIDE_POLL = 0.5
# How long the NICs other than the one of the login may take to get their addresses, in seconds.
_OTHER_NICS = 20.0
_NO_ADDRESS = "no address is known"
_BLIND = Insight(None, 0.0)
_LONGEST_ERROR = 400
# Since OpenSSH 9.8 every failed login costs the client a penalty, and three in a row lock it out.
_AFTER_REFUSAL = 5.0


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
    timeout: float,
    address: Callable[[], str | None],
    login: Callable[[str], Transport],
    expected: Mapping[str, tuple[str, ...]],
    alive: Callable[[], bool],
    insight: Insight = _BLIND,
) -> Ready:
    """Go through the stages ``address``, ``ssh``, ``cloud-init`` within ``timeout`` seconds in all.

    ``address()`` looks once for the host's current address; ``login(address)`` opens an SSH session or
    raises a TransportError; ``expected`` maps each MAC to the addresses (with prefix length) that the guest
    must have; ``alive()`` tells whether the machine is still running. ``insight`` ends the wait for what
    waiting does not fix.
    """
    began = time.monotonic()
    deadline = began + timeout

    def spent() -> float:
        return time.monotonic() - began

    report(host, "address")
    found, why = _poll_address(address, alive, deadline, insight)
    if found is None:
        if not alive():
            return Ready("address", spent(), "unreachable", "the machine stopped while booting")
        reason = why or insight.last(_NO_ADDRESS)
        return Ready("address", spent(), "unreachable", _told(f"no address after {spent():.0f} s", reason))
    report(host, "ssh", found)
    transport, error, why = _poll_login(lambda: login(found), alive, deadline, insight)
    if transport is None:
        reason = why or (insight.last(error) if alive() else None)
        failure = f"no login at {found} after {spent():.0f} s: {error}"
        return Ready("ssh", spent(), "unreachable", _told(failure, reason))
    report(host, "cloud-init")
    answered = str(getattr(transport, "address", found))
    # At a former address, the guest does not have the expected ones yet.
    wanted = expected if answered == found else {}
    ready = _settled(lambda: _finish(host, transport, deadline, wanted, spent), alive, deadline)
    return replace(ready, address=answered)


def ready_inside(
    host: str,
    *,
    timeout: float,
    transport: Callable[[], Transport | None],
    expected: Mapping[str, tuple[str, ...]],
    alive: Callable[[], bool],
) -> Ready:
    """Go through the stages ``inside`` and ``cloud-init`` of a machine that cannot be logged in to.

    ``transport()`` returns a way in without a login, None as long as there is none.
    """
    began = time.monotonic()
    deadline = began + timeout
    report(host, "inside")
    while (entered := transport()) is None:
        if time.monotonic() >= deadline or not alive():
            why = "no way in without a login" if alive() else "the machine stopped while booting"
            return Ready("inside", time.monotonic() - began, "unreachable", why)
        time.sleep(_INSIDE_POLL)
    report(host, "cloud-init")
    return _settled(
        lambda: _finish(host, entered, deadline, expected, lambda: time.monotonic() - began), alive, deadline
    )


def _settled(finish: Callable[[], Ready], alive: Callable[[], bool], deadline: float) -> Ready:
    """Finish, and again for a while if an address is missing: a NIC may still wait for its DHCP server."""
    ready = finish()
    until = min(deadline, time.monotonic() + _OTHER_NICS)
    while ready.stage == "address" and ready.error == "failed" and time.monotonic() < until and alive():
        time.sleep(_INSIDE_POLL)
        ready = finish()
    return ready


def _told(failure: str, reason: Reason | None) -> str:
    return failure if reason is None else f"{reason.text}; {OUT_OF_BAND}, over SSH: {failure}"


def _poll_address(
    address: Callable[[], str | None], alive: Callable[[], bool], deadline: float, insight: Insight
) -> tuple[str | None, Reason | None]:
    while True:
        found = address()
        if found is not None or time.monotonic() >= deadline or not alive():
            return found, None
        reason = insight.lasting(_NO_ADDRESS)
        if reason is not None:
            return None, reason
        time.sleep(_POLL)


def _poll_login(
    login: Callable[[], Transport], alive: Callable[[], bool], deadline: float, insight: Insight
) -> tuple[Transport | None, str, Reason | None]:
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
        if not alive():
            return None, "the machine stopped while booting", None
        if time.monotonic() + pause >= deadline:
            return None, error_text, None
        reason = insight.lasting(error_text)
        if reason is not None:
            return None, error_text, reason
        time.sleep(pause)


def _finish(
    host: str,
    transport: Transport,
    deadline: float,
    expected: Mapping[str, tuple[str, ...]],
    spent: Callable[[], float],
) -> Ready:
    left = max(1.0, deadline - time.monotonic())
    # All that a machine is asked after login, in one channel: the end of cloud-init, then its addresses.
    script = assigned({"tenths": int(left * 10)}) + guest_script("ready")
    try:
        done = transport.run(script, timeout=left + 10)
    except (UnreachableError, ConnectionLostError) as error:
        return Ready("cloud-init", spent(), "unreachable", error.reason)
    try:
        result, addresses = _read(done)
    except UnreadableError as error:
        raise LabrunError(
            f"unexpected answer: {(done.stderr or done.stdout).strip()[-200:]}", host=host, step="cloud-init"
        ) from error
    if result is None:
        return Ready(
            "cloud-init", spent(), "unreachable", f"cloud-init has not finished after {spent():.0f} s"
        )
    if result:
        return Ready("cloud-init", spent(), "failed", f"cloud-init: {'; '.join(result)}", addresses)
    for mac, wanted in expected.items():
        missing = [text for text in wanted if text not in addresses.get(mac, ())]
        if missing:
            has = " ".join(addresses.get(mac, ())) or "no address"
            why = f"the NIC {mac} should have {' '.join(missing)} and has {has}"
            return Ready("address", spent(), "failed", why, addresses)
    report(host, "ready")
    return Ready("ready", spent(), addresses=addresses)


def _read(done: Completed) -> tuple[list[str] | None, dict[str, tuple[str, ...]]]:
    """Return cloud-init's errors, None if it is not done yet, and the addresses by MAC."""
    head, _, tail = done.stdout.partition("==addresses==")
    found = parse_links(objects(read_json(tail, "ip address"), "ip address", "links"))
    nics = nics_by_mac(found)
    addresses: dict[str, tuple[str, ...]] = {}
    # What stands on a NIC may hold its addresses (a bridge), or others under the same MAC (a VLAN).
    for link in (*nics.values(), *(each for each in found if each not in nics.values())):
        held = tuple(str(each.interface) for each in link.held)
        addresses[link.mac] = addresses.get(link.mac, ()) + held
    result = read_json(head, "cloud-init")
    if result is None:
        return None, addresses
    version = as_object(as_object(result, "cloud-init").get("v1"), "cloud-init")
    errors = as_list(version.get("errors") or [], "cloud-init")
    return [str(each)[:_LONGEST_ERROR] for each in errors], addresses
