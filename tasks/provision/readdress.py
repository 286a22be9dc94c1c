"""Reach a guest whose only way in has moved: its addresses are set without a login.

A NIC on another network, with another MAC or in another subnet leaves the guest with a profile for what was
before. What `configure` would set of the network is set through the namespaces or the guest agent. So are the
VLANs of a new guest whose cloud-init makes none, as beside systemd-networkd without netplan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from labrun.errors import CommandError, LabrunError
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.configure.resources import gather, plan_host
from labrun.tasks.configure.vlan_device import vlan_in
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import apply_script, marker, parse_facts

__all__ = ["OtherWayIn"]

# A guest answers within this after its network was changed, if it answers by itself at all (seconds).
_PATIENCE = 4.0
_AGAIN = 15.0
_SECONDS = 60.0
_NMCLI = "nmcli"
_BOOTED = guest_script("boot_state") + guest_script("booted")
# Looking inside starts processes on the hypervisor; more at once only slow each other down.
_looking = threading.BoundedSemaphore(8)


class OtherWayIn:
    """What to do for one machine that does not answer, without a login; not more often than every 15 s.

    ``spec`` is what ``configure`` sets, ``leased`` the MAC whose DHCP lease makes the host reachable, if one
    does. ``open_transport()`` returns a transport that needs no network, None if there is none yet. A machine
    that ``is_new`` has its addresses from the start: nothing is done to it unless a VLAN is missing.
    """

    def __init__(
        self,
        host: str,
        spec: Mapping[str, Any],
        leased: str | None,
        open_transport: Callable[[], Transport | None],
        *,
        is_new: bool = False,
    ) -> None:
        self._host, self._spec, self._leased = host, spec, leased
        self._open = open_transport
        self._is_new = is_new
        self._vlans = [*_devices(spec)]
        self._due = time.monotonic() + _PATIENCE
        self.note = ""

    def try_it(self) -> bool:
        """Look inside, and set what is missing there; return whether anything was changed."""
        if time.monotonic() < self._due or (self._is_new and not self._vlans):
            return False
        with _looking:
            self._due = time.monotonic() + _AGAIN
            try:
                done = self._look_inside()
            except LabrunError as error:
                report(self._host, "out of band", error.reason)
                return False
        self.note = done or self.note
        return bool(done)

    def _look_inside(self) -> str:
        transport = self._open()
        if transport is None or transport.run(_BOOTED, timeout=_SECONDS).exit_status != 0:
            return ""
        report(self._host, "out of band")
        changed = self._configure(transport)
        if changed:
            why = "it had no VLANs yet" if self._is_new else "its address had moved"
            return f"{why}: {', '.join(changed)} set without a login"
        if self._leased is None or self._is_new:
            return ""
        script = assigned({"mac": self._leased}) + guest_script("renew_lease")
        if transport.run(script, timeout=_SECONDS).exit_status != 0:
            return ""
        return "its lease was lost: it was renewed without a login"

    def _configure(self, transport: Transport) -> list[str]:
        """Apply the section ``nmcli`` where it differs; return the networks whose NICs were changed."""
        mark = marker()
        done = transport.run(gather(self._spec, (_NMCLI,), mark), timeout=_SECONDS, sudo=True)
        found = parse_facts(done.stdout, mark)
        if self._is_new and all(vlan_in(found, each) for each in self._vlans):
            return []
        plan = plan_host(self._spec, found, (_NMCLI,))
        if plan.is_empty:
            return []
        mark = marker()
        script = apply_script([(part.section, part.apply) for part in plan.sections if part.apply], mark)
        facts = parse_facts(transport.run(script, timeout=_SECONDS, sudo=True).stdout, mark)
        for name, captured in facts.commands.items():
            if captured.status:
                raise CommandError(captured.last_line, host=self._host, step=name)
        return [item.name for part in plan.sections for item in part.changes]


def _devices(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the VLANs' devices."""
    for profile in spec["sections"].get(_NMCLI, {}).get("profiles", ()):
        if profile["device"]:
            yield profile["device"]
