"""The quality of links on the hypervisor: a qdisc at the end of a NIC, set, read and removed.

It is at what the hypervisor sends to the guest. It goes with the device, so nothing of it outlives the
machine's run; labrun's own is known by its handle.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.bounded import objects, read_json
from labrun.errors import HypervisorError, UnreadableError, UsageError
from labrun.inventory.model import Lab, Mode
from labrun.outcome import Outcome, Status
from labrun.tasks.provision import nft
from labrun.tasks.provision.driver import tap_name
from labrun.tasks.provision.hypervisor_network import makes_devices
from labrun.tasks.provision.hypervisor_shell import run_as_root
from labrun.tasks.provision.link_quality import NOTHING, Quality, qdisc_options, quality_of_options
from labrun.tasks.provision.nic_ends import NicEnd

__all__ = ["Shaped", "link_rows", "read_links", "set_link"]

_HANDLE = "1ab0:"
_UNSET = "0:"
# libvirt gives it to the taps of VMs, where a queue on the hypervisor only costs time.
_NO_QUEUE = "noqueue"
_UNKNOWN_KIND = "qdisc kind is unknown"


@dataclass(frozen=True, slots=True)
class Shaped:
    """What is at a device: labrun's quality, or the kind of a foreign qdisc in ``foreign``.

    ``sent`` and ``dropped`` count packets since it was set.
    """

    quality: Quality = NOTHING
    foreign: str = ""
    sent: int = 0
    dropped: int = 0


def read_links(far: str = "") -> dict[str, Shaped]:
    """Return what is at every device of the hypervisor that has a qdisc; ``far`` as in :class:`NicEnd`.

    Raises HypervisorError.
    """
    text = _run(far, ["tc", "-j", "-s", "qdisc", "show"])
    try:
        listed = objects(read_json(text or "[]", "tc qdisc"), "tc qdisc", "qdiscs")
    except UnreadableError as error:
        raise HypervisorError(error.reason, step="tc") from error
    return {str(each.get("dev")): _shaped(each) for each in listed if each.get("root") is True}


def _shaped(listed: Mapping[str, Any]) -> Shaped:
    kind, options = str(listed.get("kind")), listed.get("options")
    if listed.get("handle") != _HANDLE:
        # The kernel's own default has no handle.
        is_default = kind == _NO_QUEUE or listed.get("handle") == _UNSET
        return Shaped(foreign="" if is_default else kind)
    quality = quality_of_options(kind, options if isinstance(options, dict) else {})
    counts = [listed.get(key) for key in ("packets", "drops")]
    sent, dropped = (each if isinstance(each, int) else 0 for each in counts)
    return Shaped(quality, sent=sent, dropped=dropped)


def set_link(nic: NicEnd, wanted: Quality, there: Shaped, *, is_named: bool = True) -> bool:
    """Give a NIC's link this quality; return False if it has it.

    A NIC that was not named and cannot be changed is left alone. Raises UsageError, HypervisorError.
    """
    if not is_named and (nic.is_macvtap or there.foreign):
        return False
    _require_ours(nic, there)
    if there.quality.is_about(wanted):
        return False
    if there.quality != NOTHING:
        # A qdisc of one kind does not become one of the other.
        _run(nic.far, ["tc", "qdisc", "del", *_at(nic), "handle", _HANDLE])
    try:
        if wanted != NOTHING:
            _add(nic, wanted)
        elif _is_tap(nic):
            _run(nic.far, ["tc", "qdisc", "replace", *_at(nic), _NO_QUEUE])
    except HypervisorError:
        if there.quality != NOTHING:
            _add(nic, there.quality)
        raise
    return True


def _add(nic: NicEnd, wanted: Quality) -> None:
    try:
        _run(nic.far, ["tc", "qdisc", "replace", *_at(nic), "handle", _HANDLE, *qdisc_options(wanted)])
    except HypervisorError as error:
        if _UNKNOWN_KIND in error.reason and wanted.needs_netem:
            whose = "its hypervisor's" if nic.far else "this machine's"
            raise HypervisorError(
                f"{whose} kernel has no netem, which delay, loss, duplicate and corrupt need",
                host=nic.host,
                step="tc",
                hint="`sudo modprobe sch_netem`; the RHEL family has it in kernel-modules-extra; a rate alone"
                " needs none",
            ) from error
        raise


def _is_tap(nic: NicEnd) -> bool:
    text = _run(nic.far, ["ip", "-json", "-details", "link", "show", "dev", nic.device])
    try:
        found = objects(read_json(text, "ip link"), "ip link", "links")
    except UnreadableError as error:
        raise HypervisorError(error.reason, step="tc") from error
    info = [each.get("linkinfo") for each in found]
    return any(isinstance(each, dict) and each.get("info_kind") == "tun" for each in info)


def _run(far: str, command: list[str]) -> str:
    return run_as_root(far, f"{shlex.join(command)}\n", "tc") if far else nft.run(command)


def _at(nic: NicEnd) -> list[str]:
    return ["dev", nic.device, "root"]


def _require_ours(nic: NicEnd, there: Shaped) -> None:
    if nic.is_macvtap:
        raise UsageError(
            f"{nic.name} is a macvtap: what it receives passes no qdisc here",
            step="tc",
            hint="shape the other end of the link",
        )
    if there.foreign:
        raise HypervisorError(
            f"{nic.name} has a qdisc that is not labrun's: {there.foreign}",
            step="tc",
            hint=f"`sudo tc qdisc del dev {nic.device} root` removes it",
        )


def link_rows(lab: Lab, uri: str, hosts: Iterable[str]) -> list[Outcome]:
    """Return a warning for each NIC of these hosts whose link is made bad; none where that cannot be read."""
    if not makes_devices(uri) or nft.unusable(uri):
        return []
    try:
        links = read_links()
    except HypervisorError:
        return []
    rows = []
    for host in (lab.hosts[name] for name in hosts):
        for nic in host.interfaces if host.machine is not None else ():
            shaped = links.get(tap_name(nic.mac), Shaped())
            if lab.networks[nic.network].mode is Mode.MACVTAP or shaped.quality == NOTHING:
                continue
            why = f"`labrun tc {host.name}:{nic.name} --clear` removes it"
            at = (host.name, "tc", nic.name)
            rows.append(Outcome(*at, Status.WARNING, str(NOTHING), str(shaped.quality), why))
    return rows
