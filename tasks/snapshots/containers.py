"""Containers in a snapshot: the upper layer of their overlay, and their definition."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated
from labrun.state_files import WRONG
from labrun.tasks.provision.domains import find_domain, require
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.overlay import Overlay
from labrun.tasks.snapshots.keeper import Kept, MachineFolder
from labrun.tasks.snapshots.places import place_of
from labrun.tasks.snapshots.tree_copy import copy_tree

__all__ = ["DEFINITION", "INDEX", "UPPER", "ContainerKeeper", "read_index"]

DEFINITION = "domain.xml"
UPPER = "upper"
INDEX = "index.json"


class ContainerKeeper:
    """Save and restore containers; see the Keeper protocol for the methods.

    Their processes cannot be kept: libvirt's containers have no saved state. They boot.
    """

    def save(self, machine: MachineFolder) -> Kept:
        """Copy the upper layer, sharing with the earlier snapshot what has not changed since."""
        machine.folder.mkdir(mode=0o700)
        save_definition(machine)
        overlay = Overlay.of(machine.lab, machine.host, machine.uri)
        earlier, known = None, {}
        if machine.earlier is not None:
            earlier, known = machine.earlier / UPPER, read_index(machine.earlier)
        done = copy_tree(overlay.upper, machine.folder / UPPER, earlier, known)
        (machine.folder / INDEX).write_text(json.dumps(done.index), encoding="utf-8")
        return Kept(done.size)

    def stage(self, machine: MachineFolder) -> None:
        """Copy the kept layer beside the present one."""
        gone = [layer for layer in machine.base.split(":") if not Path(layer).is_dir()]
        if gone:
            raise HypervisorError(
                f"the image that it stands on is gone: {gone[0]}", host=machine.host, step="snapshot"
            )
        overlay = Overlay.of(machine.lab, machine.host, machine.uri)
        self.unstage(machine)
        overlay.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy_tree(machine.folder / UPPER, overlay.staged)

    def put_back(self, machine: MachineFolder) -> str:
        """End the container, change its layers, and define it as it was."""
        xml = (machine.folder / DEFINITION).read_text(encoding="utf-8")
        driver_for(machine.kind, machine.uri).retire(machine.lab, machine.domain)
        Overlay.of(machine.lab, machine.host, machine.uri).replace_upper(Path(machine.base))
        with translated("define", machine.host):
            connect(machine.uri).defineXML(xml)
        return "shut off"

    def unstage(self, machine: MachineFolder) -> None:
        """Remove a layer that was not put back."""
        shutil.rmtree(Overlay.of(machine.lab, machine.host, machine.uri).staged, ignore_errors=True)


def save_definition(machine: MachineFolder) -> str:
    """Write the machine's inactive XML into its folder, and return it."""
    import libvirt

    with translated("snapshot", machine.host):
        domain = require(find_domain(connect(machine.uri), machine.domain, machine.lab), machine.domain)
        xml = str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
        autostart = bool(domain.autostart())
    place = place_of(machine.uri)
    place.write(machine.folder / DEFINITION, xml)
    if autostart:
        place.write(machine.folder / "autostart", "")
    return xml


def read_index(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return the index of a kept upper layer, empty if it cannot be read."""
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return {str(path): (int(a), int(b), int(c)) for path, (a, b, c) in content.items()}
    except (OSError, *WRONG):
        return {}
