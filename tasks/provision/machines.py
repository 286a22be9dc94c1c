"""Machines of both drivers: their settings, what they are in libvirt, and what to do about a difference.

Each setting is declared once, with how it is wanted and how it is read; the drivers' templates write them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping
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
from labrun.tasks.state.item import NOTHING, Attributes, Difference

__all__ = [
    "EVERY",
    "POOL_OFF",
    "SETTINGS",
    "USER",
    "from_next_start",
    "is_growth",
    "machine_tag",
    "observe_machines",
    "plan_machine",
    "processors_in",
    "read_settings",
    "taken_at_start",
    "waiting_for_start",
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


def _processors(root: ET.Element, _tag: Tag) -> str:
    """Return how many of the hypervisor's processors a container may use, ``all`` if it may use any."""
    element = root.find("vcpu[@cpuset]")
    return EVERY if element is None else str(len(processors_in(element.get("cpuset", ""))))


def processors_in(text: str) -> tuple[int, ...]:
    """Return the processors of a set as libvirt writes it: ``0-2,5,^1``. Raises ValueError."""
    chosen: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.removeprefix("^").partition("-")
        numbers = range(int(first), int(last or first) + 1)
        chosen = chosen.difference(numbers) if part.startswith("^") else chosen.union(numbers)
    return tuple(sorted(chosen))


class Setting(NamedTuple):
    """One setting: its text by the spec, and how it is read from a domain's XML and tag.

    ``read`` None = it does not stand in the XML. ``of_vms`` = containers do not have it. ``at_start`` are the
    drivers whose running machines take it only when they start next.
    """

    wanted: Callable[[MachineSpec], str]
    read: Callable[[ET.Element, Tag], str] | None
    of_vms: bool = False
    at_start: tuple[str, ...] = ()


EVERY = "all"
"""The ``vcpus`` of a container that may use each of the hypervisor's processors."""

USER = "user"
"""The setting of the login user: `up` makes one in the running guest; the former one stays."""

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "image": Setting(lambda spec: spec.image, lambda _root, tag: tag.extra.get("image", "")),
        USER: Setting(lambda spec: spec.user, lambda _root, tag: tag.extra.get(USER, DEFAULT_USER)),
        "memory": Setting(lambda spec: str(spec.memory), _memory, at_start=("qemu",)),
        "vcpus": Setting(
            lambda spec: str(spec.vcpus),
            lambda root, _tag: root.findtext("vcpu", "").strip(),
            at_start=("qemu", "lxc"),
        ),
        "nics": Setting(lambda spec: nics_text(spec.nics), lambda root, _tag: nics_text(nics_in(root))),
        "firmware": Setting(lambda spec: spec.firmware, _firmware, of_vms=True),
        "autostart": Setting(lambda spec: yes_or_no(spec.autostart), None),
        "persistent": Setting(lambda _spec: "yes", None),
        "disk": Setting(lambda spec: str(spec.disk), None, of_vms=True),
        "disks": Setting(lambda spec: " ".join(map(str, spec.disks)), None, of_vms=True),
    }
)
"""All but the driver, in the order in which they are shown."""

# A container shares the hypervisor's processors: the number is how many of them it may use.
_OF_CONTAINERS: Mapping[str, Setting] = MappingProxyType(
    {
        "vcpus": SETTINGS["vcpus"]._replace(
            wanted=lambda spec: EVERY if spec.every_processor else str(spec.vcpus), read=_processors
        )
    }
)

POOL_OFF = "pool-off"
"""The size of a disk whose pool is stopped or undefined: it cannot be seen."""

# A machine is created from these; changing them requires a new machine.
_FOR_LIFE = frozenset({"driver", "image", "firmware"})


def _of(driver: str) -> Mapping[str, Setting]:
    if driver == "qemu":
        return SETTINGS
    return {key: _OF_CONTAINERS.get(key, setting) for key, setting in SETTINGS.items() if not setting.of_vms}


def taken_at_start(driver: str, changes: Collection[str]) -> tuple[str, ...]:
    """Return those of the changes that a running machine takes only when it starts next."""
    return tuple(key for key, setting in _of(driver).items() if key in changes and driver in setting.at_start)


def waiting_for_start(driver: str, differences: Mapping[str, Difference]) -> tuple[str, ...]:
    """Return those of the differences that a running machine takes only when it starts next.

    NICs are plugged in and out at once, but one that is there keeps its model.
    """
    found = taken_at_start(driver, differences)
    nics = differences.get("nics")
    return (*found, "nics") if nics is not None and _has_other_model(nics) else found


def _has_other_model(nics: Difference) -> bool:
    now, wanted = ({word.partition("@")[0]: word.partition("=")[2] for word in text.split()} for text in nics)
    return any(wanted[mac] != model for mac, model in now.items() if mac in wanted)


def from_next_start(settings: Collection[str]) -> str:
    """Return in words that these settings wait for the next start."""
    return f"from its next start on: {', '.join(settings)}"


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
    left = frozenset(key for key in ("disk", "disks") if not is_growth(item.have, want, key))
    if plan.action != "update" or not left:
        return Plan(item, plan.action, start=down)
    why = f"this needs a new machine: labrun up --recreate --hosts {name}"
    if left >= item.differences.keys() or _is_lost(item.have):
        return Plan(item, "update", start=down, kept=why)
    # The rest is done all the same.
    return Plan(item, "update", start=down, kept=f"{', '.join(sorted(left))}: {why}", left=left)


def _is_lost(now: Attributes) -> bool:
    return "missing" in (now.get("disk", ""), *now.get("disks", "").split())


def is_growth(now: Attributes, wanted: Attributes, key: str) -> bool:
    """Tell whether ``disk`` or ``disks`` can become as wanted without data loss; yes if it cannot be seen."""
    before, after = now.get(key, "").split(), wanted.get(key, "").split()
    if POOL_OFF in before or before == after:
        return True
    if _is_lost(now) or len(after) < len(before):
        return False
    return all(int(new) >= int(old) for old, new in zip(before, after, strict=False))
