"""Copies and renamed objects: they carry a lab's tag, which was written for another name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of, translated
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.ownership import Tag, read_tag
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.driver_registry import lab_drivers

__all__ = [
    "Stray",
    "refuse_renamed",
    "renamed_machines",
    "see_strays",
    "stray_rows",
    "strays_on",
    "why_absent",
]


@dataclass(frozen=True, slots=True)
class Stray:
    """One object with the tag of another: ``full_name`` is its name, ``meant`` the one that the tag is for.

    ``section`` is ``machine`` or ``network``, ``thing`` the host or network of the tag. ``alone`` = no
    object has the name that is meant, so this one was probably renamed.
    """

    section: str
    uri: str
    full_name: str
    thing: str
    meant: str
    alone: bool

    @property
    def why(self) -> str:
        """Return what it is, and what can be done about it."""
        if not self.alone:
            return f"a copy of {self.meant}, which has its tag: left alone"
        if self.section == "machine" and not self.uri.startswith("lxc"):
            cure = f"shut off, `virsh -c {self.uri} domrename {self.full_name} {self.meant}` undoes that"
        else:
            command = "undefine" if self.section == "machine" else "net-undefine"
            cure = f"`virsh -c {self.uri} {command} {self.full_name}` removes it if it is not needed"
        return (
            f"it has the tag of {self.meant}, which is gone, so it was renamed or copied: left alone; {cure}"
        )

    @property
    def there(self) -> str:
        """Return that it is there in place of the object that is meant."""
        return f"{self.full_name} is there: {self.why}"


def see_strays(lab: str, uri: str) -> tuple[Stray, ...]:
    """Return the lab's strays under every driver of the hypervisor. Raises HypervisorError."""
    found: list[Stray] = []
    for _, driver_uri in lab_drivers(uri):
        try:
            found += strays_on(connect(driver_uri), driver_uri, lab, networks=driver_uri == uri)
        except HypervisorError:
            if driver_uri == uri:
                raise
            # The hypervisor lacks this driver, so it has no such machines.
    return tuple(found)


def strays_on(connection: Any, uri: str, lab: str, *, networks: bool) -> Iterator[Stray]:
    """Yield the lab's strays on one connection, its networks only if asked for."""
    domains = [(domain.name(), tag) for domain, tag, _ in tagged_domains(connection, lab)]
    yield from _misnamed("machine", uri, domains)
    if networks:
        with translated("networks"):
            pairs = [(network.name(), read_tag(xml)) for network, xml in networks_of(connection)]
        yield from _misnamed("network", uri, [(n, tag) for n, tag in pairs if tag and tag.lab == lab])


def _misnamed(section: str, uri: str, tagged: list[tuple[str, Tag]]) -> Iterator[Stray]:
    proper = {name for name, tag in tagged if tag.fits(name)}
    for name, tag in tagged:
        if not tag.fits(name):
            thing = tag.host or tag.extra.get("network", "")
            meant = f"{tag.lab}-{thing}"
            yield Stray(section, uri, name, thing, meant, alone=meant not in proper)


def renamed_machines(strays: Iterable[Stray]) -> dict[str, Stray]:
    """Return, by host, the machines that have another name now than their tag says."""
    return {each.thing: each for each in strays if each.section == "machine" and each.alone}


def why_absent(host: str, renamed: Mapping[str, Stray]) -> str:
    """Return why a host has no machine: it is called otherwise now, or was not made yet."""
    if stray := renamed.get(host):
        return stray.there
    return "there is no such machine yet: `labrun up` makes it"


def refuse_renamed(connection: Any, uri: str, lab: str, host: str) -> None:
    """Raise HypervisorError if the host's machine was renamed: a new one would replace its files."""
    for stray in strays_on(connection, uri, lab, networks=False):
        if stray.thing == host and stray.alone:
            raise HypervisorError(stray.there, host=host, step="define")


def stray_rows(strays: Iterable[Stray]) -> list[Outcome]:
    """Return the rows that name strays."""
    return [
        Outcome(HYPERVISOR, each.section, each.full_name, Status.SKIPPED, None, "there", each.why)
        for each in strays
    ]
