"""The container driver: libvirt-LXC domains on overlays of the image. Needs root on the hypervisor."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from labrun.containers import container_init, power_off_signal
from labrun.errors import HypervisorError, LabrunError
from labrun.hypervisor import connect, translated
from labrun.ownership import Tag
from labrun.ports import Transport
from labrun.tasks.provision.autostart_hook import ONLY_LIBVIRT, has_hook, install_hook, remove_idle_hook
from labrun.tasks.provision.domains import (
    define_again,
    find_domain,
    nic_key,
    nic_xml,
    nics_of,
    plugged_nics,
    pull_the_plug,
    require,
    run_again,
    tag_of,
    undefined,
    wait_until_off,
)
from labrun.tasks.provision.driver import MachineSpec
from labrun.tasks.provision.image_catalogue import source_of_image
from labrun.tasks.provision.image_store import image_paths
from labrun.tasks.provision.libvirt_hooks import starting
from labrun.tasks.provision.lxc_by_hand import change_commands, creation_commands, domain_xml
from labrun.tasks.provision.lxc_limits import (
    awaiting_start,
    beyond_hypervisor,
    direct_macs,
    memory_limit,
    processors_of,
)
from labrun.tasks.provision.machines import USER, observe_machines
from labrun.tasks.provision.namespace import NamespaceTransport
from labrun.tasks.provision.objects import Observed
from labrun.tasks.provision.overlay import DIRECT_UNIT, LABS, Overlay, remove_cgroups
from labrun.tasks.provision.reconnect import can_reconnect, reconnect, taps_of
from labrun.tasks.provision.strays import refuse_renamed

__all__ = ["LxcDriver"]

_DYING_SECONDS = 2.0
_DIRECT_SECONDS = 30.0
_log = logging.getLogger(__name__)
# More parallel starts only slow each other down (cgroup and veth locks in the kernel).
_slots = threading.BoundedSemaphore(8)


class LxcDriver:
    """Create systemd containers through ``lxc:///system``; see the Driver protocol for the methods."""

    name: Literal["lxc", "qemu"] = "lxc"

    def __init__(self, uri: str = "lxc:///system") -> None:
        self._uri = uri

    def uri(self) -> str:
        """Return the libvirt URI."""
        return self._uri

    def _connection(self) -> Any:
        return connect(self._uri)

    def _domain(self, name: str, lab: str) -> Any:
        return find_domain(self._connection(), name, lab)

    def image_ready(self, image: str) -> bool:
        """Tell whether the image has a root file system for containers."""
        return image_paths(image).rootfs.is_dir()

    def prepare_image(self, image: str) -> bool:
        """Check that the image's root tree is here; containers use it in place."""
        if os.geteuid() != 0:
            raise HypervisorError(
                "containers need root on the hypervisor itself", step="image", hint="run labrun as root"
            )
        if not self.image_ready(image):
            raise HypervisorError(
                f"the image {image} has no root file system for containers",
                step="image",
                hint=source_of_image(image, "lxc"),
            )
        return False

    def storage(self, lab: str) -> PurePosixPath:
        """Return the directory of the lab's containers."""
        return PurePosixPath(LABS / lab)

    def owns(self, lab: str, host: str, path: str) -> bool:
        """Tell whether a path is, or lies in, the container's directory."""
        return PurePosixPath(path).is_relative_to(self.storage(lab) / host)

    def observe(self, lab: str) -> Mapping[str, Observed]:
        """Return the lab's containers by host name."""
        with translated("observe"):
            found = observe_machines(self._connection(), lab, self.name, limits=memory_limit)
        if has_hook():
            return found
        return {host: each.otherwise(autostart={"yes": ONLY_LIBVIRT}) for host, each in found.items()}

    def beyond(self, spec: MachineSpec) -> str:
        """Return that the container would have more memory or processors than the hypervisor."""
        with translated("machine", spec.host):
            return beyond_hypervisor(self._connection(), spec)

    def rehearse(self, spec: MachineSpec) -> None:
        """Check for the image's root tree, and for a foreign domain with the same name."""
        self.prepare_image(spec.image)
        with translated("define", spec.host):
            self._domain(spec.domain, spec.lab)

    def retire(self, lab: str, domain: str) -> None:
        """Kill the container and delete its definition and control groups."""
        with translated("remove", domain):
            handle = self._ended(lab, domain)
            if handle is not None:
                undefined(handle.undefine)

    def create(self, spec: MachineSpec) -> None:
        """Create the overlay with its seed, then define the container: defined means complete."""
        overlay = Overlay.of(spec.lab, spec.host, self._uri)
        with translated("define", spec.host):
            if self._domain(spec.domain, spec.lab) is not None:
                return
            refuse_renamed(self._connection(), self._uri, spec.lab, spec.host)
            overlay.make(spec.seed, image_paths(spec.image).rootfs)
            try:
                domain = self._connection().defineXML(self._xml(spec))
            except BaseException:
                # Files without a domain are nobody's: they would stay until the lab is removed.
                with contextlib.suppress(LabrunError):
                    overlay.remove()
                raise
            self._set_autostart(domain, spec)

    def _xml(self, spec: MachineSpec, uuid: str | None = None) -> str:
        root = Overlay.of(spec.lab, spec.host, self._uri).root
        return domain_xml(spec, root, uuid, processors=processors_of(self._connection(), spec))

    def _set_autostart(self, domain: Any, spec: MachineSpec) -> None:
        domain.setAutostart(int(spec.autostart))
        if spec.autostart:
            install_hook()

    def update(self, spec: MachineSpec, changes: tuple[str, ...]) -> bool:
        """Change memory, vcpus, autostart and NICs in place; another image needs a new container."""
        import libvirt

        if not set(changes) <= {"memory", "vcpus", "autostart", "nics", "persistent", USER}:
            return False
        with translated("update", spec.host):
            domain = require(self._domain(spec.domain, spec.lab), spec.domain)
            if domain.isActive():
                if "memory" in changes:
                    # setMemory cannot exceed the container's initial limit; changing the limit itself can.
                    limit = {"hard_limit": spec.memory * 1024}
                    domain.setMemoryParameters(limit, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                if can_reconnect(self._uri):
                    reconnect(self._connection(), self._uri, taps_of(domain))
                self._replug(domain, spec)
            domain = self._connection().defineXML(self._xml(spec, domain.UUIDString()))
            self._set_autostart(domain, spec)
        return True

    def _replug(self, domain: Any, spec: MachineSpec) -> None:
        import libvirt

        wanted, live = spec.nics, libvirt.VIR_DOMAIN_AFFECT_LIVE
        there = nics_of(domain.XMLDesc(0))
        kept = {nic_key(nic) for nic in plugged_nics(domain, there)}
        kept &= {nic_key(nic) for nic in wanted}
        gone = [nic for nic in there if nic_key(nic) not in kept]
        if any(nic.mac in direct_macs(domain) for nic in gone):
            raise HypervisorError(
                "a NIC on a macvtap network leaves a container only while that is off",
                host=spec.host,
                step="update",
                hint=f"`labrun stop --hosts {spec.host}`, then `labrun up`",
            )
        for nic in gone:
            domain.detachDeviceFlags(nic_xml(nic), live)
        new = [nic for nic in wanted if nic_key(nic) not in kept]
        for nic in new:
            domain.attachDeviceFlags(nic_xml(nic), live)
        if any(nic.mac in direct_macs(domain) for nic in new):
            # The unit has run at the container's start, before it had this NIC.
            command = f"systemctl restart {DIRECT_UNIT}"
            NamespaceTransport(spec.host, domain.ID()).run(command, timeout=_DIRECT_SECONDS)

    def restart_owed(self, domain: str) -> tuple[str, ...]:
        """Return the settings that take effect only at the next start of a running container."""
        with translated("observe"):
            return awaiting_start(self._connection().lookupByName(domain))

    def start(self, spec_or_domain: MachineSpec | str) -> None:
        """Mount the overlay and start the container, or let it go on if it is paused."""
        name = spec_or_domain if isinstance(spec_or_domain, str) else spec_or_domain.domain
        with translated("start", name):
            domain = self._connection().lookupByName(name)
            tag = tag_of(domain)
            run_again(domain, lambda: self._boot(domain, tag))

    def _boot(self, domain: Any, tag: Tag) -> None:
        overlay = Overlay.of(tag.lab, tag.host, self._uri)
        if not overlay.exists:
            raise HypervisorError(
                f"the files of {domain.name()} are gone from {overlay.directory}",
                host=tag.host,
                step="start",
                hint=f"labrun up --recreate --hosts {tag.host}",
            )
        overlay.mount()
        with _slots, starting():
            self._start_once_more(domain, tag.host)

    def _start_once_more(self, domain: Any, host: str) -> None:
        import libvirt

        try:
            domain.create()
        except libvirt.libvirtError as error:
            # On cgroup v1, parallel starts race for the parent directory of their groups.
            if "/sys/fs/cgroup" not in str(error):
                raise
            _log.warning("%s: the start failed (%s); trying once more", host, error)
            domain.create()

    def stop(self, domain: str, timeout: float) -> bool:
        """Ask the container's init to power off, kill it after ``timeout``, and unmount the overlay.

        Return False if it was killed.
        """
        by_itself = True
        with translated("stop", domain):
            handle = self._connection().lookupByName(domain)
            tag = tag_of(handle)
            if handle.isActive():
                # A frozen process takes no signal.
                run_again(handle, lambda: None)
                define_again(handle)
                # libvirt's shutdown sends SIGTERM, which makes systemd re-execute itself instead.
                _tell_init(handle, power_off_signal)
                by_itself = wait_until_off(handle, timeout)
                if not by_itself:
                    pull_the_plug(handle)
            remove_cgroups(self._uri, domain)
            Overlay.of(tag.lab, tag.host, self._uri).unmount()
        return by_itself

    def remove(self, lab: str, host: str, domain: str, keep: Collection[str] = ()) -> None:
        """Kill the container and delete its definition, files, mounts and control groups."""
        with translated("remove", host):
            handle = self._ended(lab, domain)
            if not any(self.owns(lab, host, path) for path in keep):
                Overlay.of(lab, host, self._uri).remove()
            # Undefine it last, so that the next run finds and completes an interrupted removal.
            if handle is not None:
                undefined(handle.undefine)
            remove_idle_hook(self._connection())

    def _ended(self, lab: str, domain: str) -> Any:
        handle = self._domain(domain, lab)
        if handle is not None:
            self._end(handle)
            remove_cgroups(self._uri, domain)
        return handle

    def _end(self, handle: Any) -> None:

        if not handle.isActive():
            return
        # A frozen process takes no signal.
        run_again(handle, lambda: None)
        # libvirt asks first and waits two seconds; killing its init ends a container at once.
        if not _tell_init(handle, lambda _init: signal.SIGKILL) or not wait_until_off(handle, _DYING_SECONDS):
            pull_the_plug(handle)

    def remove_lab(self, lab: str, keep: Collection[str] = ()) -> None:
        """Delete the lab's directory, including leftovers of a killed run."""
        directory = LABS / lab
        if not directory.is_dir():
            return
        for child in directory.iterdir():
            if (child / "upper").is_dir() and not any(self.owns(lab, child.name, path) for path in keep):
                Overlay(child, self._uri).remove()
        if not any(directory.iterdir()):
            shutil.rmtree(directory)

    def console_tail(self, domain: str, lines: int = 15) -> str:
        """Return the last lines of the container's journal, else of libvirt's log for it."""
        handle = self._connection().lookupByName(domain)
        if handle.isActive():
            try:
                done = NamespaceTransport(domain, handle.ID()).run(
                    f"journalctl --no-pager -q -b -o short-monotonic -n {int(lines)}", timeout=10
                )
            except LabrunError as error:
                return f"(no journal: {error.reason})"
            if done.exit_status == 0:
                return done.stdout.rstrip()
        log = Path("/var/log/libvirt/lxc") / f"{domain}.log"
        try:
            with log.open(encoding="utf-8", errors="replace") as file:
                return "".join(deque(file, maxlen=lines)).rstrip()
        except OSError:
            return ""

    def out_of_band(self, domain: str) -> Transport | None:
        """Return a transport through the container's namespaces, None if it is off."""
        with translated("namespace", domain):
            handle = self._connection().lookupByName(domain)
            if not handle.isActive():
                return None
            return NamespaceTransport(tag_of(handle).host, handle.ID())

    def explain(self, spec: MachineSpec) -> list[str]:
        """Return the commands that create the same container by hand."""
        return creation_commands(self._uri, spec)

    def explain_change(self, spec: MachineSpec, seen: Observed, changes: tuple[str, ...]) -> list[str]:
        """Return the commands that change the container by hand, and start it if it is off."""
        return change_commands(self._uri, spec, seen, changes)


def _tell_init(handle: Any, number: Callable[[int], int]) -> bool:
    """Send a signal to a container's init; return whether there is one: it may end at any moment."""
    import libvirt

    try:
        init = container_init(handle.ID())
        if init is not None:
            os.kill(init, number(init))
    except (libvirt.libvirtError, ProcessLookupError):
        return False
    return init is not None
