"""A container written down: its libvirt XML, and the commands that create and change it by hand."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from labrun.hypervisor import connect, in_daemon_namespace, translated
from labrun.ownership import tag_element
from labrun.rendering import render_xml
from labrun.tasks.provision.domains import nic_xml
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.lxc_limits import processors_of
from labrun.tasks.provision.machine_commands import (
    autostart_commands,
    memory_commands,
    nic_commands,
    run_commands,
)
from labrun.tasks.provision.machines import machine_tag
from labrun.tasks.provision.objects import Observed
from labrun.tasks.provision.overlay import Overlay

__all__ = ["change_commands", "creation_commands", "domain_xml"]

INIT = "/usr/sbin/labrun-init"


def domain_xml(spec: MachineSpec, root: Path, uuid: str | None = None, *, processors: str = "") -> str:
    """Return the libvirt XML of a container with its root file system at ``root``.

    ``processors`` are those that it may use, as libvirt writes them, empty for all.
    """
    return render_xml(
        "libvirt/lxc-domain.xml.j2",
        name=spec.domain,
        uuid=uuid,
        tag=tag_element(machine_tag("lxc", spec)),
        memory=spec.memory,
        vcpus=spec.vcpus,
        processors=processors,
        init=INIT,
        root=str(root),
        nics=[Markup(nic_xml(nic)) for nic in spec.nics],  # noqa: S704 - rendered and escaped by nic_xml
    )


def creation_commands(uri: str, spec: MachineSpec) -> list[str]:
    """Return the commands that create the same container by hand."""
    overlay = Overlay.of(spec.lab, spec.host, uri)
    with translated("explain", spec.host):
        xml = domain_xml(spec, overlay.root, processors=processors_of(connect(uri), spec))
    return [
        f"mkdir -p {overlay.root} {overlay.directory}/work {overlay.upper}/var/lib/cloud/seed/nocloud",
        f"# meta-data, user-data and network-config go to {overlay.upper}/var/lib/cloud/seed/nocloud",
        _mount_command(uri, spec),
        f"virsh -c {uri} define /dev/stdin <<'XML'\n{xml}XML",
        f"virsh -c {uri} start {spec.domain}",
    ]


def change_commands(uri: str, spec: MachineSpec, seen: Observed, changes: tuple[str, ...]) -> list[str]:
    """Return the commands that change the container by hand, and start it if it is off."""
    import libvirt

    virsh, changed = f"virsh -c {uri}", set(changes)
    lines = []
    with translated("explain", spec.host):
        domain = connect(uri).lookupByName(seen.full_name)
        if changed & {"vcpus", "persistent"}:
            # virsh has no command for these: libvirt's LXC driver changes them with the definition.
            root = Overlay.of(spec.lab, spec.host, uri).root
            cpus = processors_of(domain.connect(), spec)
            xml = domain_xml(spec, root, domain.UUIDString(), processors=cpus)
            lines.append(f"{virsh} define /dev/stdin <<'XML'\n{xml}XML")
            # The new definition has the memory and the NICs already.
        else:
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if domain.isPersistent() else 0)
        if "memory" in changed:
            limit = f"{virsh} memtune {spec.domain} --hard-limit {spec.memory * 1024} --live"
            lines += [limit] if domain.isActive() else []
            lines += [] if changed & {"vcpus", "persistent"} else memory_commands(virsh, spec)
        if "nics" in changed:
            lines += nic_commands(uri, domain, xml, spec.nics, nic_xml)
    if "autostart" in changed:
        lines += autostart_commands(virsh, spec)
    if seen.state != "running":
        start = [_mount_command(uri, spec), f"{virsh} start {spec.domain}"]
        lines += run_commands(virsh, spec.domain, seen.state, start)
    return lines


def _mount_command(uri: str, spec: MachineSpec) -> str:
    overlay = Overlay.of(spec.lab, spec.host, uri)
    lower = image_paths(spec.image).rootfs
    prefix = " ".join(in_daemon_namespace(uri))
    where = f"{prefix} " if prefix else ""
    options = f"lowerdir={lower},upperdir={overlay.upper},workdir={overlay.directory}/work"
    return f"{where}mount -t overlay overlay -o {options} {overlay.root}"
