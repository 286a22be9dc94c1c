"""The NICs of a running VM: unplugged and plugged while it runs."""

from __future__ import annotations

import logging
import time
from typing import Any

from labrun.tasks.provision.domains import as_running, nic_key, nics_of, plugged_nics
from labrun.tasks.provision.driver import NicSpec
from labrun.tasks.provision.qemu_xml import machine_nic_xml

__all__ = ["replug"]

_log = logging.getLogger(__name__)
_UNPLUG_SECONDS = 10.0
_POLL = 0.1


def replug(domain: Any, wanted: tuple[NicSpec, ...]) -> None:
    """Change the NICs of a running VM to the wanted ones; each keeps its model until the next start.

    A NIC that the guest does not release, or for which there is no free slot, stays as it is: the running
    machine then differs from its definition, and a restart is owed.
    """
    import libvirt

    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    there = nics_of(domain.XMLDesc(0))
    after = {nic_key(nic): nic for nic in as_running(wanted, there)}
    before = {nic_key(nic) for nic in plugged_nics(domain, there)}
    gone = [nic for nic in there if nic_key(nic) not in before & after.keys()]
    try:
        for nic in gone:
            domain.detachDeviceFlags(machine_nic_xml(nic), live)
        _wait_until_gone(domain, {nic.mac for nic in gone})
        for key, nic in after.items():
            if key not in before:
                domain.attachDeviceFlags(machine_nic_xml(nic), live)
    except libvirt.libvirtError as error:
        _log.warning("%s: its NICs change at the next start: %s", domain.name(), error)


def _wait_until_gone(domain: Any, macs: set[str]) -> None:
    # The guest has to agree, and does not while it is still booting.
    deadline = time.monotonic() + _UNPLUG_SECONDS
    while macs & {nic.mac for nic in nics_of(domain.XMLDesc(0))} and time.monotonic() < deadline:
        time.sleep(_POLL)
