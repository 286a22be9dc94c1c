"""Whether an address that a bridge should get is somebody else's already: here, or on the NIC's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labrun.errors import HostBridgeError
from labrun.tasks.guest.claims import claims_here
from labrun.tasks.host_bridge.model import Device, Interface

__all__ = ["require_free"]

_SECONDS = 20


def require_free(nic: Device, wanted: Sequence[Interface], found: Mapping[str, Device]) -> None:
    """Raise HostBridgeError if another device of this machine, or another machine, has one of the addresses.

    Who does not answer to the usual probes is not found. Those that the NIC has itself are not asked for.
    """
    held = {each.ip for each in nic.addresses}
    new = [each for each in wanted if each.ip not in held]
    for each in new:
        other = next((d for d in found.values() if each.ip in [held.ip for held in d.addresses]), None)
        if other is not None:
            raise HostBridgeError(
                f"{each.ip} is the address of {other.name} on this machine already",
                hint=f"give the bridge another one, or take it from {other.name} first",
            )
    answers = _answers(nic, new) if new else {}
    for each in new:
        if (mac := answers.get(str(each.ip))) is not None:
            raise HostBridgeError(
                f"{each.ip} is taken: {mac} answers for it on {nic.name}",
                hint="give the bridge another address",
            )


def _answers(nic: Device, asked: Sequence[Interface]) -> Mapping[str, str]:
    """Return the MAC that answers for each of these addresses; empty also if nobody could be asked."""
    return claims_here([f"{nic.mac}={each.ip}" for each in asked], _SECONDS)
