"""Machines of both drivers: their settings, what they are in libvirt, and what to do about a difference.

Each setting is declared once, with how it is wanted and how it is read; the drivers' templates write them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from labrun.inventory.model import DEFAULT_USER
from labrun.ownership import Tag
from labrun.tasks.provision.domains import nics_in, nics_of, nics_text, plugged_nics, state_of, tagged_domains
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.hypervisor_network import HypervisorNetwork, hypervisor_network, makes_devices
from labrun.tasks.provision.objects import Observed, Plan, item_of, plan_of, yes_or_no
from labrun.tasks.provision.owned import APPLIED, record_of
from labrun.tasks.provision.reconnect import loose_nics
from labrun.tasks.provision.state_reasons import reason_of
from labrun.tasks.state.item import NOTHING, Attributes

__all__ = [
    "POOL_OFF",
    "SETTINGS",
    "USER",
    "is_growth",
    "machine_tag",
    "observe_machines",
    "plan_machine",
    "read_settings",
    "wanted_settings",
]


def _memory(root: ET.Element, _tag: Tag) -> str:
    element = root.find("memory")
    # libvirt writes KiB, whatever unit it was given.
    size, unit = ("0", "") if element is None else (element.text or "0", element.get("unit"))
    return str(int(size) // (1 if unit == "MiB" else 1024))


def _firmware(root: ET.Element, _tag: Tag) -> str:
    # libvirt writes the loader it chose; the attribute came with the request.
    asked = root.find("os[@firmware='efi']") is not None
    return "uefi" if asked or root.find("os/loader[@type='pflash']") is not None else "bios"


class Setting(NamedTuple):
    """One setting: its text by the spec, and how it is read from a domain's XML and tag.

    ``read`` None = it does not stand in the XML. ``of_vms`` = containers do not have it.
    """

    wanted: Callable[[MachineSpec], str]
    read: Callable[[ET.Element, Tag], str] | None
    of_vms: bool = False


USER = "user"
"""The setting of the login user: `up` makes one in the running guest; the former one stays."""

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "image": Setting(lambda spec: spec.image, lambda _root, tag: tag.extra.get("image", "")),
        USER: Setting(lambda spec: spec.user, lambda _root, tag: tag.extra.get(USER, DEFAULT_USER)),
        "memory": Setting(lambda spec: str(spec.memory), _memory),
        "vcpus": Setting(lambda spec: str(spec.vcpus), lambda root, _tag: root.findtext("vcpu", "").strip()),
        "nics": Setting(lambda spec: nics_text(spec.nics), lambda root, _tag: nics_text(nics_in(root))),
        "firmware": Setting(lambda spec: spec.firmware, _firmware, of_vms=True),
        "autostart": Setting(lambda spec: yes_or_no(spec.autostart), None),
        "persistent": Setting(lambda _spec: "yes", None),
        "disk": Setting(lambda spec: str(spec.disk), None, of_vms=True),
        "disks": Setting(lambda spec: " ".join(map(str, spec.disks)), None, of_vms=True),
    }
)
"""All but the driver, in the order in which they are shown."""

POOL_OFF = "pool-off"
"""The size of a disk whose pool is stopped: it cannot be seen."""

# A machine is created from these; changing them requires a new machine.
_FOR_LIFE = frozenset({"driver", "image", "firmware"})


def _of(driver: str) -> Mapping[str, Setting]:
    return {key: setting for key, setting in SETTINGS.items() if driver == "qemu" or not setting.of_vms}


def wanted_settings(driver: str, spec: MachineSpec) -> dict[str, str]:
    """Return the settings that a spec asks of a driver, ``lxc`` or ``qemu``."""
    return {"driver": driver, **{key: setting.wanted(spec) for key, setting in _of(driver).items()}}


def read_settings(driver: str, xml: str, tag: Tag) -> dict[str, str]:
    """Return the settings that stand in a domain's XML and tag."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    found = {key: setting.read(root, tag) for key, setting in _of(driver).items() if setting.read}
    return {"driver": driver, **found}


def machine_tag(driver: str, spec: MachineSpec, **extra: str) -> Tag:
    """Return the tag of a machine that is defined as in its spec."""
    record = record_of(wanted_settings(driver, spec))
    return Tag(
        spec.lab,
        spec.host,
        spec.digest,
        extra={"image": spec.image, USER: spec.user, APPLIED: record, **extra},
    )


def observe_machines(
    connection: Any,
    lab: str,
    driver: str,
    *,
    limits: Callable[[Any], Attributes] = lambda _domain: NOTHING,
    storage: Callable[[str, str], Attributes] = lambda _host, _xml: NOTHING,
) -> dict[str, Observed]:
    """Return the lab's machines by host name.

    ``limits`` returns what a running domain has otherwise than its XML says; ``storage`` the settings that
    stand in the volumes of a host with this XML. Raises HypervisorError.
    """
    found = {}
    fitting = [each for each in tagged_domains(connection, lab) if each[1].fits(each[0].name())]
    is_any_on = any(state_of(domain) == "running" for domain, _, _ in fitting)
    uri = connection.getURI()
    here = hypervisor_network(uri) if is_any_on and makes_devices(uri) else None
    for domain, tag, xml in fitting:
        defined = {
            **read_settings(driver, xml, tag),
            "autostart": yes_or_no(domain.autostart()),
            # One that was undefined while it runs is gone as soon as it stops.
            "persistent": yes_or_no(domain.isPersistent()),
            **storage(tag.host, xml),
        }
        state = state_of(domain)
        now = {**defined, **(_running(domain, xml, limits, here) if state == "running" else {})}
        later = {key: text for key, text in defined.items() if text != now[key]}
        found[tag.host] = Observed(domain.name(), now, later, tag, tag.host, state, reason_of(domain))
    return found


def _running(
    domain: Any, xml: str, limits: Callable[[Any], Attributes], here: HypervisorNetwork | None
) -> dict[str, str]:
    import libvirt

    try:
        loose = loose_nics(domain.connect(), domain, here)
        nics = tuple(nic for nic in plugged_nics(domain, nics_of(xml)) if nic.mac not in loose)
        return {"nics": nics_text(nics), **limits(domain)}
    except libvirt.libvirtError:
        # It stopped in the meantime, or the hypervisor does not tell: there are no differences then.
        return {}


def plan_machine(name: str, want: Attributes, seen: Observed | None, *, recreate: bool = False) -> Plan:
    """Return the plan of a machine, which has to run as well; ``recreate`` asks for a new one in any case."""
    item = item_of(name, want, seen)
    down = seen is None or seen.state != "running"
    if seen is not None and (recreate or item.differences.keys() & _FOR_LIFE):
        return Plan(item, "recreate", start=True)
    plan = plan_of(item)
    if plan.action == "none" and down:
        return Plan(item, "start", start=True)
    kept = ""
    if plan.action == "update" and not is_growth(item.have, want):
        kept = f"this needs a new machine: labrun up --recreate --hosts {name}"
    return Plan(item, plan.action, start=down, kept=kept)


def is_growth(now: Attributes, wanted: Attributes) -> bool:
    """Tell whether the disks can become the wanted ones without data loss; yes if they cannot be seen."""
    before = [now.get("disk", ""), *now.get("disks", "").split()]
    after = [wanted.get("disk", ""), *wanted.get("disks", "").split()]
    if POOL_OFF in before or before == after:
        return True
    if "missing" in before or len(after) < len(before):
        return False
    return all(int(new) >= int(old) for old, new in zip(before, after, strict=False))
