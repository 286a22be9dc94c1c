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
from labrun.ports import Completed, Transport
from labrun.progress import report
from labrun.tasks.guest.facts.links import parse_links
from labrun.tasks.guest.scripts import assigned, guest_script

__all__ = ["Ready", "wait_until_ready"]

_POLL = 0.1
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
) -> Ready:
    """Go through the stages ``address``, ``ssh``, ``cloud-init`` within ``timeout`` seconds in all.

    ``address()`` looks once for the host's current address; ``login(address)`` opens an SSH session or
    raises a TransportError; ``expected`` maps each MAC to the addresses (with prefix length) that the guest
    must have; ``alive()`` tells whether the machine is still running.
    """
    began = time.monotonic()
    deadline = began + timeout

    def spent() -> float:
        return time.monotonic() - began

    report(host, "address")
    found = _poll_address(address, alive, deadline)
    if found is None:
        why = f"no address after {spent():.0f} s" if alive() else "the machine stopped while booting"
        return Ready("address", spent(), "unreachable", why)
    report(host, "ssh", found)
    transport, why = _poll_login(lambda: login(found), alive, deadline)
    if transport is None:
        return Ready("ssh", spent(), "unreachable", f"no login at {found} after {spent():.0f} s: {why}")
    report(host, "cloud-init")
    answered = str(getattr(transport, "address", found))
    # At a former address, the guest does not have the expected ones yet.
    ready = _finish(host, transport, deadline, expected if answered == found else {}, spent)
    return replace(ready, address=answered)


def _poll_address(
    address: Callable[[], str | None], alive: Callable[[], bool], deadline: float
) -> str | None:
    while True:
        found = address()
        if found is not None or time.monotonic() >= deadline or not alive():
            return found
        time.sleep(_POLL)


def _poll_login(
    login: Callable[[], Transport], alive: Callable[[], bool], deadline: float
) -> tuple[Transport | None, str]:
    why = ""
    refusals = 0
    while True:
        pause = _POLL
        try:
            return login(), ""
        except HostKeyError as error:
            # Waiting does not change a key.
            return None, error.reason
        except AuthenticationError as error:
            why = error.reason
            refusals += 1
            # The first refusal may be a boot that has not installed the key yet.
            pause = min(_AFTER_REFUSAL, 1.0 * 2 ** (refusals - 1))
        except TransportError as error:
            why = error.reason
        if not alive():
            return None, "the machine stopped while booting"
        if time.monotonic() + pause >= deadline:
            return None, why
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
        return Ready("cloud-init", spent(), "unreachable", f"cloud-init is not done after {spent():.0f} s")
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
    addresses = {link.mac: tuple(str(each.interface) for each in link.held) for link in found}
    result = read_json(head, "cloud-init")
    if result is None:
        return None, addresses
    version = as_object(as_object(result, "cloud-init").get("v1"), "cloud-init")
    errors = as_list(version.get("errors") or [], "cloud-init")
    return [str(each)[:_LONGEST_ERROR] for each in errors], addresses
