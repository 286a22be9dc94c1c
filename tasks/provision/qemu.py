"""The VM driver: QEMU domains on qcow2 overlays of an image, through libvirt alone, local or remote."""

from __future__ import annotations

import contextlib
import logging
import time
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from labrun.hypervisor import connect, is_local, translated
from labrun.ports import Transport
from labrun.progress import report
from labrun.tasks.provision.agent import AgentTransport, is_agent_connected
from labrun.tasks.provision.console_log import shown_on_console
from labrun.tasks.provision.domains import (
    beyond_memory,
    define_again,
    find_domain,
    pull_the_plug,
    require,
    run_again,
    state_of,
    tag_of,
    undefine_wholly,
    wait_until_off,
)
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.image_volume import bring_image, find_image_volume
from labrun.tasks.provision.kvm_probe import KvmVerdict, kvm_verdict
from labrun.tasks.provision.machine_disks import (
    disk_settings,
    grow_disks,
    image_of,
    image_size,
    make_volumes,
    remove_volumes,
    virtual_size,
)
from labrun.tasks.provision.machine_nics import replug
from labrun.tasks.provision.machines import (
    USER,
    is_growth,
    observe_machines,
    read_settings,
    wanted_settings,
)
from labrun.tasks.provision.objects import Observed
from labrun.tasks.provision.qemu_by_hand import change_commands, creation_commands
from labrun.tasks.provision.qemu_xml import MachineFiles, domain_xml
from labrun.tasks.provision.reconnect import can_reconnect, reconnect, taps_of
from labrun.tasks.provision.saved_state import go_on_from_saved, is_saved
from labrun.tasks.provision.strays import refuse_renamed
from labrun.tasks.provision.volume_stream import read_tail
from labrun.tasks.provision.volumes import (
    BASE,
    ensure_pool,
    find_pool,
    find_volume,
    image_pool,
    lab_pool,
    refresh,
    remove_pool,
    require_room,
)

__all__ = ["QemuDriver"]

_log = logging.getLogger(__name__)
_IN_PLACE = frozenset({"memory", "vcpus", "autostart", "nics", "disk", "disks", "persistent", USER})
_ASK_AGAIN_SECONDS = 5.0
_CONSOLE_BYTES = 32 * 1024
# Colours, cursor movements, and other escape sequences of firmware, boot loader and systemd.


class QemuDriver:
    """Create VMs through a ``qemu`` URI; see the Driver protocol for the methods.

    ``base`` is the directory on the hypervisor that holds labrun's pools.
    """

    name: Literal["lxc", "qemu"] = "qemu"

    def __init__(self, uri: str = "qemu:///system", *, base: PurePosixPath = BASE) -> None:
        self._uri = uri
        self._base = base

    def uri(self) -> str:
        """Return the libvirt URI."""
        return self._uri

    def kvm(self) -> KvmVerdict:
        """Return whether new machines will run on KVM, and the reason."""
        return kvm_verdict(self._connection(), self._uri)

    def _connection(self) -> Any:
        return connect(self._uri)

    def image_ready(self, image: str) -> bool:
        """Tell whether the image, in its current version, is a volume of the hypervisor."""
        with translated("image"):
            return find_image_volume(self._connection(), image_pool(self._base), image) is not None

    def prepare_image(self, image: str) -> bool:
        """Upload the image's qcow2 from the controller; return True if it was missing.

        Raises HypervisorError if neither the controller nor the hypervisor has it.
        """
        with translated("image"):
            return bring_image(self._connection(), image_pool(self._base), image)

    def storage(self, lab: str) -> PurePosixPath:
        """Return the directory of the lab's pool."""
        return lab_pool(lab, self._base).directory

    def owns(self, lab: str, host: str, path: str) -> bool:
        """Tell whether a path is a volume of the VM."""
        where = PurePosixPath(path)
        return where.parent == self.storage(lab) and self._files(lab, host).owns(where.name)

    def observe(self, lab: str) -> Mapping[str, Observed]:
        """Return the lab's VMs by host name; ``disk`` is ``missing`` if its volume is gone."""
        with translated("observe"):
            pool = find_pool(self._connection(), lab_pool(lab, self._base))
            return observe_machines(
                self._connection(),
                lab,
                self.name,
                storage=lambda host, xml: disk_settings(pool, self._files(lab, host), xml),
            )

    def restart_owed(self, domain: str) -> tuple[str, ...]:
        """Return the settings that take effect only at the next start of a running machine."""
        import libvirt

        with translated("observe"):
            handle = self._connection().lookupByName(domain)
            if not handle.isActive():
                return ()
            tag = tag_of(handle)
            now = read_settings(self.name, handle.XMLDesc(0), tag)
            then = read_settings(self.name, handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), tag)
            return tuple(key for key in now if now[key] != then[key])

    def beyond(self, spec: MachineSpec) -> str:
        """Return that the VM has more memory or vcpus than the hypervisor can give it."""
        import libvirt

        connection = self._connection()
        if too_much := beyond_memory(connection, spec):
            return too_much
        try:
            most = int(connection.getMaxVcpus("qemu"))
        except libvirt.libvirtError:
            return ""
        return f"{spec.vcpus} vcpus, and QEMU supports at most {most}" if spec.vcpus > most else ""

    def rehearse(self, spec: MachineSpec) -> None:
        """Check the image's size, the pools, and whether a foreign domain has the name."""
        connection = self._connection()
        with translated("define", spec.host):
            find_domain(connection, spec.domain, spec.lab)
            find_pool(connection, lab_pool(spec.lab, self._base))
            require_room(spec.disk, image_size(connection, image_pool(self._base), spec.image))

    def create(self, spec: MachineSpec) -> None:
        """Create overlay, seed and extra disks, then define the VM: defined means complete."""
        import libvirt

        connection = self._connection()
        files = self._files(spec.lab, spec.host)
        with translated("define", spec.host):
            if find_domain(connection, spec.domain, spec.lab) is not None:
                return
            refuse_renamed(connection, self._uri, spec.lab, spec.host)
            image = self._image_of(spec)
            virt = "kvm" if self.kvm().usable else "qemu"
            pool = ensure_pool(connection, lab_pool(spec.lab, self._base))
            xml = domain_xml(spec, files, virt=virt, image_volume=image.name())
            make_volumes(connection, pool, files, spec, image.path(), virtual_size(connection, image))
            try:
                domain = connection.defineXML(xml)
            except BaseException:
                # Volumes without a domain are nobody's: they would stay until the lab is removed.
                with contextlib.suppress(libvirt.libvirtError):
                    remove_volumes(pool, files)
                raise
            domain.setAutostart(int(spec.autostart))

    def update(self, spec: MachineSpec, changes: tuple[str, ...]) -> bool:
        """Change memory, vcpus, NICs, autostart and growing disks; return False for anything else.

        Changes that a running machine cannot take at once go into its definition and are reported as owed.
        """
        import libvirt

        connection = self._connection()
        files = self._files(spec.lab, spec.host)
        if not set(changes) <= _IN_PLACE:
            return False
        with translated("update", spec.host):
            domain = require(find_domain(connection, spec.domain, spec.lab), spec.domain)
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            pool = ensure_pool(connection, lab_pool(spec.lab, self._base))
            now, want = disk_settings(pool, files, xml), wanted_settings(self.name, spec)
            if not all(is_growth(now, want, key) for key in ("disk", "disks")):
                return False
            grow_disks(domain, pool, files, spec, xml)
            if domain.isActive():
                if can_reconnect(self._uri):
                    reconnect(connection, self._uri, taps_of(domain))
                replug(domain, spec.nics)
            connection.defineXML(
                domain_xml(
                    spec,
                    files,
                    virt=ET.fromstring(xml).get("type", "qemu"),  # noqa: S314 - libvirt's own output
                    image_volume=tag_of(domain).extra.get("image-volume", ""),
                    uuid=domain.UUIDString(),
                )
            )
            domain.setAutostart(int(spec.autostart))
            if owed := self.restart_owed(spec.domain):
                report(spec.host, "restart owed", ", ".join(owed))
        return True

    def start(self, spec_or_domain: MachineSpec | str) -> None:
        """Start the VM, or let it go on if it is paused, suspended or saved."""
        name = spec_or_domain if isinstance(spec_or_domain, str) else spec_or_domain.domain
        with translated("start", name):
            domain = self._connection().lookupByName(name)
            tag_of(domain)
            if is_saved(domain):
                go_on_from_saved(domain, self._uri, lambda: run_again(domain, domain.create))
            else:
                run_again(domain, domain.create)

    def stop(self, domain: str, timeout: float) -> bool:
        """Press the power button every 5 s (a booting guest ignores it), then power off and return False."""
        import libvirt

        with translated("stop", domain):
            handle = self._connection().lookupByName(domain)
            tag_of(handle)
            define_again(handle)
            deadline = time.monotonic() + timeout
            ways = (libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            attempt = 0
            while (left := deadline - time.monotonic()) > 0 and state_of(handle) == "running":
                try:
                    handle.shutdownFlags(ways[attempt % 2])
                except libvirt.libvirtError as error:
                    _log.debug("%s: %s", domain, error)
                attempt += 1
                if wait_until_off(handle, min(left, _ASK_AGAIN_SECONDS)):
                    return True
            return not pull_the_plug(handle)

    def retire(self, lab: str, domain: str) -> None:
        """Destroy the VM and undefine it with NVRAM, snapshots and saved state."""
        with translated("remove", domain):
            handle = find_domain(self._connection(), domain, lab)
            if handle is not None:
                pull_the_plug(handle)
                undefine_wholly(handle)

    def remove(self, lab: str, host: str, domain: str, keep: Collection[str] = ()) -> None:
        """Destroy the VM, delete its volumes, and undefine it with NVRAM, snapshots and saved state."""
        with translated("remove", host):
            handle = find_domain(self._connection(), domain, lab)
            if handle is not None:
                pull_the_plug(handle)
            pool = self._storage_of(lab, is_used=handle is not None)
            if pool is not None and pool.isActive():
                # libvirt learns of rotated console logs only by a refresh.
                refresh(pool)
                files = self._files(lab, host)
                remove_volumes(pool, files, keep)
            # Undefine it last, so that the next run finds and completes an interrupted removal.
            if handle is not None:
                undefine_wholly(handle)

    def remove_lab(self, lab: str, keep: Collection[str] = ()) -> None:
        """Delete the lab's pool, its directory and any volume that a killed run left there."""
        with translated("remove"):
            pool = self._storage_of(lab, is_used=False)
            if pool is not None:
                remove_pool(pool, keep)

    def _storage_of(self, lab: str, *, is_used: bool) -> Any:
        """Return the lab's pool; one that somebody undefined is defined again, so that its files can go.

        ``is_used`` = a machine has its files there.
        """
        where = lab_pool(lab, self._base)
        pool = find_pool(self._connection(), where)
        if pool is None and (is_used or (is_local(self._uri) and Path(str(where.directory)).is_dir())):
            return ensure_pool(self._connection(), where)
        return pool

    def console_tail(self, domain: str, lines: int = 15) -> str:
        """Return the last lines of the serial console since the last start, without labrun's own."""
        with translated("console", domain):
            tag = tag_of(self._connection().lookupByName(domain))
            pool = find_pool(self._connection(), lab_pool(tag.lab, self._base))
            volume = None if pool is None else find_volume(pool, self._files(tag.lab, tag.host).console)
            if volume is None:
                return ""
            return shown_on_console(read_tail(self._connection(), volume, _CONSOLE_BYTES), lines)

    def out_of_band(self, domain: str) -> Transport | None:
        """Return a transport through the guest agent, None until the agent has answered."""
        with translated("agent", domain):
            handle = self._connection().lookupByName(domain)
            if not handle.isActive() or not is_agent_connected(handle):
                return None
            return AgentTransport(tag_of(handle).host, handle)

    def explain(self, spec: MachineSpec) -> list[str]:
        """Return the commands that create the same VM by hand."""
        return creation_commands(self._uri, self._base, spec, is_kvm=self.kvm().usable)

    def explain_change(self, spec: MachineSpec, seen: Observed, changes: tuple[str, ...]) -> list[str]:
        """Return the commands that change the VM by hand, and start it if it is off."""
        return change_commands(self._uri, self._base, spec, seen, changes)

    def _image_of(self, spec: MachineSpec) -> Any:
        return image_of(self._connection(), image_pool(self._base), spec)

    def _files(self, lab: str, host: str) -> MachineFiles:
        return MachineFiles(str(lab_pool(lab, self._base).directory), host)
