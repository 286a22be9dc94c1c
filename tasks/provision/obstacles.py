"""What `up` would be refused, found before anything is made: what others hold, and what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from labrun.errors import HypervisorError, LabrunError
from labrun.hypervisor import connect, translated
from labrun.inventory.model import Lab
from labrun.inventory.topology.vlans import is_on_vlan
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.driver_registry import driver_for, lab_drivers
from labrun.tasks.provision.file_users import FileUser, file_users, in_use
from labrun.tasks.provision.filters import foreign_filter, users_of_filter
from labrun.tasks.provision.foreign_macs import foreign_macs, mac_taken
from labrun.tasks.provision.hypervisor_network import makes_devices
from labrun.tasks.provision.image_catalogue import source_of_image
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.kernel_vlans import without_vlans
from labrun.tasks.provision.lab_images import is_current, why_not
from labrun.tasks.provision.network_obstacles import network_obstacles
from labrun.tasks.provision.planning import LabPlan, PlannedMachine
from labrun.tasks.provision.plugged import cuts_off, foreign_guests
from labrun.tasks.provision.rows import kept_row

__all__ = ["Found", "find_obstacles", "not_begun", "with_obstacles"]

Found = Mapping[tuple[str, str, str], str]
"""The reason for each thing that would be refused, by host, section and name."""


def find_obstacles(lab: Lab, uri: str, plan: LabPlan, *, prune: bool = False) -> Found:
    """Return what would be refused of a plan; ``prune`` = what the file no longer has would go first.

    Raises HypervisorError.
    """
    with translated("plan"):
        found = {
            (HYPERVISOR, "network", name): why for name, why in network_obstacles(lab, uri, plan, prune=prune)
        }
        found.update(_of_filters(uri, plan))
        found.update(_of_machines(lab.name, uri, plan))
        found.update(_of_vlans(lab, plan))
        if prune:
            found.update(_of_removals(lab, uri, plan))
    return found


def with_obstacles(uri: str, plan: LabPlan, rows: Sequence[Outcome], found: Found) -> list[Outcome]:
    """Return the plan's rows: what would be refused is failed, with the reason.

    A network that `up` would leave as it is, so as not to cut anybody off, is pending, as it is there.
    Raises HypervisorError.
    """
    networks = {each.spec.name: each for each in plan.networks}
    busy = plan.busy()
    shown = []
    for row in rows:
        why = found.get((row.host, row.section, row.name))
        planned = networks.get(row.name) if row.section == "network" else None
        if why is not None:
            row = replace(row, status=Status.FAILED, actual=None, why=why, diff=None, hypervisor_fault=True)
        elif planned is not None and (
            kept := cuts_off(uri, planned.spec, planned.plan, busy[planned.spec.name])
        ):
            row = kept_row(HYPERVISOR, "network", planned.plan, kept)
        shown.append(row)
    return shown


def not_begun(rows: Sequence[Outcome]) -> list[Outcome]:
    """Return the rows of `up` that was refused: all that it would have done is skipped."""
    first = next(row for row in rows if row.status is Status.FAILED)
    why = f"nothing was started: {first.section} {first.name} would be refused"
    return [
        replace(row, status=Status.SKIPPED, actual="as before", why=why, diff=None)
        if row.status in (Status.WOULD_CHANGE, Status.PENDING)
        else row
        for row in rows
    ]


def _of_filters(uri: str, plan: LabPlan) -> Iterator[tuple[tuple[str, str, str], str]]:
    for each in plan.filters:
        if each.seen is None and (why := foreign_filter(connect(uri), each.spec.full_name)):
            yield (HYPERVISOR, "filter", each.spec.name), why


def _of_removals(lab: Lab, uri: str, plan: LabPlan) -> Iterator[tuple[tuple[str, str, str], str]]:
    own = {seen.machine.full_name for seen in plan.extra_machines}
    for name, network in plan.extra_networks.items():
        if guests := foreign_guests(uri, lab.name, network.full_name):
            why = f"{', '.join(guests)}, not this lab's, would be cut off (stop or unplug first)"
            yield (HYPERVISOR, "network", name), why
    for name, each in plan.extra_filters.items():
        users = {
            user
            for _, driver_uri in lab_drivers(uri)
            for user in users_of_filter(_connection(driver_uri), each.full_name)
            if user not in own and not user.startswith(f"{lab.name}-")
        }
        if users:
            why = f"{', '.join(sorted(users))}, not this lab's, refers to it (remove the reference first)"
            yield (HYPERVISOR, "filter", name), why


def _connection(uri: str) -> Any:
    try:
        return connect(uri)
    except HypervisorError:
        # The hypervisor lacks this driver, so it has no machines of it.
        return None


def _of_machines(lab: str, uri: str, plan: LabPlan) -> Iterator[tuple[tuple[str, str, str], str]]:
    images: dict[tuple[str, str], str] = {}
    macs = foreign_macs(uri, lab) if plan.machines else {}
    users = file_users(lab, uri) if plan.machines else {}
    # A new machine would replace the files of one that was renamed.
    renamed = plan.renamed
    for item in plan.machines:
        use = item.image
        key = (use.uri, use.image)
        if key not in images:
            images[key] = _of_image(item) if item.plan.action in ("create", "recreate") else ""
            if images[key]:
                yield (HYPERVISOR, "image", use.image), images[key]
        why = _of_machine(item, macs, images[key]) or _of_files(item, users)
        if item.plan.action == "create" and (stray := renamed.get(item.spec.host)):
            why = stray.there
        if why:
            yield (item.spec.host, "machine", item.spec.host), why


def _of_machine(item: PlannedMachine, macs: Mapping[tuple[str, str], str], image: str) -> str:
    spec = item.spec
    if taken := mac_taken(((nic.mac, nic.source) for nic in spec.nics), macs):
        return taken
    for nic in spec.nics:
        if nic.model and item.kind == "lxc":
            return f"a container's NIC has no model {nic.model} (remove `model`, or driver: qemu)"
    if item.kind == "lxc" and spec.disks:
        return "a container has no disks of its own (`disks: []`, or driver: qemu)"
    if item.kind == "lxc" and spec.firmware != "bios":
        return "a container has no firmware (`firmware: bios`, or driver: qemu)"
    driver = driver_for(item.kind, item.uri)
    too_much = driver.beyond(spec)
    if too_much and item.plan.action != "none":
        return too_much
    if item.plan.action not in ("create", "recreate"):
        return ""
    try:
        # A foreign domain of that name is named before the image that it would not get.
        driver.rehearse(spec)
    except LabrunError as error:
        comes = item.declared is not None and not is_current(item.declared, spec.image)
        if error.step == "image" and comes and not image:
            # `up` brings it first; all else was looked at before it.
            return ""
        return f"{error.reason} ({error.hint})" if error.hint else error.reason
    return image


def _of_vlans(lab: Lab, plan: LabPlan) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Yield the containers that are on a VLAN where the kernel, which they share, has none."""
    for item in plan.machines:
        host = lab.hosts[item.spec.host]
        vlan = next((nic.network for nic in host.interfaces if is_on_vlan(lab, nic)), None)
        if vlan is not None and item.kind == "lxc" and makes_devices(item.uri) and without_vlans():
            why = f"{vlan} is a VLAN, and this hypervisor's kernel, which containers share, has no 802.1Q"
            yield (host.name, "machine", host.name), f"{why} (`modprobe 8021q`, or driver: qemu)"


def _of_files(item: PlannedMachine, users: Mapping[str, FileUser]) -> str:
    """Return who has the machine's files, if it is to be started or made anew; else they do no harm."""
    is_new = item.plan.action == "recreate"
    if not (is_new or item.plan.start) or item.seen is None:
        return ""
    driver, spec = driver_for(item.seen.kind, item.seen.uri), item.spec
    return in_use(users, lambda path: driver.owns(spec.lab, spec.host, path), only_running=not is_new)


def _of_image(item: PlannedMachine) -> str:
    image = item.spec.image
    if item.declared is not None:
        is_there = item.kind == "qemu" and is_current(item.declared, image)
        return "" if is_there else why_not(item.declared, item.kind)
    paths = image_paths(image)
    there = paths.rootfs.is_dir() if item.kind == "lxc" else paths.disk.is_file()
    try:
        if there or driver_for(item.kind, item.uri).image_ready(image):
            return ""
    except HypervisorError as error:
        return f"{error.reason} ({error.hint})" if error.hint else error.reason
    what = "root file system for containers" if item.kind == "lxc" else "disk for VMs"
    return f"the image {image} has no {what} ({source_of_image(image, item.kind)})"
