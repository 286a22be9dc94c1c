"""Files of a lab's machines that machines of others use: a copy made by hand may share them, or lie beside.

A domain defined from another's XML has the same disk, and virt-clone puts a copy of a disk next to it.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, translated
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.ownership import read_tag
from labrun.tasks.provision.driver_registry import driver_for, lab_drivers

__all__ = ["FileUser", "file_users", "in_use", "kept_rows", "users_on"]


@dataclass(frozen=True, slots=True)
class FileUser:
    """A domain that is not the lab's: its name, whether it runs or is paused, and whether it writes."""

    name: str
    runs: bool
    writes: bool


def file_users(lab: str, uri: str) -> dict[str, FileUser]:
    """Return the users of files in the lab's storage that are not machines of the lab, by path.

    Raises HypervisorError.
    """
    found: dict[str, FileUser] = {}
    for kind, driver_uri in lab_drivers(uri):
        try:
            connection = connect(driver_uri)
        except HypervisorError:
            # The hypervisor lacks this driver, so it has no such machines.
            continue
        with translated("storage"):
            found.update(users_on(connection, lab, driver_for(kind, driver_uri).storage(lab)))
    return found


def users_on(connection: Any, lab: str, storage: PurePosixPath) -> dict[str, FileUser]:
    """Return the users on one connection, of files below the directory ``storage``. Raises libvirtError."""
    found: dict[str, FileUser] = {}
    for user, path in _uses(connection, lab):
        if storage in PurePosixPath(path).parents and _rank(user) >= _rank(found.get(path)):
            found[path] = user
    return found


def _rank(user: FileUser | None) -> tuple[bool, bool]:
    return (False, False) if user is None else (user.writes, user.runs)


def _uses(connection: Any, lab: str) -> Iterator[tuple[FileUser, str]]:
    import libvirt

    for domain in connection.listAllDomains():
        try:
            name, runs = domain.name(), bool(domain.isActive())
            texts = [domain.XMLDesc(0)]
            if runs and domain.isPersistent():
                texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue
            raise
        tag = read_tag(texts[0])
        if tag is None or tag.lab != lab or not tag.fits(name):
            for path, writes in [use for text in texts for use in _paths(text, runs=runs)]:
                yield FileUser(name, runs, writes), path


def _paths(xml: str, *, runs: bool) -> Iterator[tuple[str, bool]]:
    """Yield each file or directory that a domain uses, disks first, and whether it may write it."""
    root = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    for device in (*root.iterfind("./devices/disk"), *root.iterfind("./devices/filesystem")):
        writes = device.find("readonly") is None
        # The files under a disk are named as well, and only read.
        for source in device.iter("source"):
            is_top = source in list(device)
            for path in filter(None, (source.get("file"), source.get("dir"))):
                yield path, writes and is_top
    # libvirt opens the log of a console for one running machine only.
    yield from ((log.get("file", ""), True) for log in root.iterfind("./devices//log[@file]") if runs)


def in_use(users: Mapping[str, FileUser], owns: Callable[[str], bool], *, only_running: bool) -> str:
    """Return which other machine writes to the files of this one, empty if none does.

    ``owns`` tells whether a path is one of its files. What others only read does no harm, as a seed that
    virt-clone shares.
    """
    for path, user in users.items():
        if owns(path) and user.writes and (user.runs or not only_running):
            state, cure = ("runs on", "shut it off") if user.runs else ("has", "undefine it")
            who = f"{user.name}, which is not this lab's, {state} {path}"
            return f"{who}: {cure}, or give it a copy of its own"
    return ""


def kept_rows(rows: Iterable[Outcome], users: Mapping[str, FileUser]) -> list[Outcome]:
    """Return the rows of strays, which also say what is kept of the lab's storage for them and for others."""
    kept: dict[str, list[str]] = {}
    for path, user in sorted(users.items()):
        kept.setdefault(user.name, []).append(path)
    shown = []
    for row in rows:
        paths = kept.pop(row.name, None) if row.section == "machine" else None
        shown.append(replace(row, why=f"{row.why}; {_kept(paths)}") if paths else row)
    return shown + [
        Outcome(HYPERVISOR, "machine", name, Status.SKIPPED, None, "there", f"not this lab's; {_kept(paths)}")
        for name, paths in kept.items()
    ]


def _kept(paths: Iterable[str]) -> str:
    return f"kept for it: {', '.join(paths)}"
