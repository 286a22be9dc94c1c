"""What labrun has made on this machine's hypervisors and nothing accounts for any more.

That is a lab whose file is gone, what is left of a lab that is gone, and the files of a machine that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labrun.errors import HypervisorError
from labrun.hypervisor import connect, networks_of, translated, unless_gone
from labrun.ownership import read_tag
from labrun.tasks.provision import nft
from labrun.tasks.provision.domains import tagged_domains
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.file_users import file_users
from labrun.tasks.provision.filters import own_filters
from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS
from labrun.tasks.provision.kept_rules import RULES
from labrun.tasks.provision.overlay import LABS
from labrun.tasks.provision.qemu_xml import host_of_volume
from labrun.tasks.provision.snapshot_store import FORKS, SNAPSHOTS
from labrun.tasks.provision.volumes import BASE, IMAGE_POOL, LAB_POOLS, find_pool, lab_pool, volume_names

__all__ = ["FileOf", "Orphan", "find_orphans", "why_without_file"]

FileOf = Callable[[str], Path | None]
"""Returns the lab file that was last used for a lab, None if that is not known."""

_NAME = re.compile(r"""^name: *["']?(?P<name>[a-z0-9-]+)["']? *(?:#.*)?$""", re.MULTILINE)
_TABLE = re.compile(r"labrun/(?P<lab>[a-z0-9-]+)/.*")


@dataclass(frozen=True, slots=True)
class Orphan:
    """What is there of one lab and belongs to nothing; ``things`` are its parts, in words.

    ``host`` is the host whose files they are, in a lab that is there, else empty. ``uri`` is the hypervisor.
    ``is_certain`` = it may be removed: nothing speaks for it.
    """

    lab: str
    uri: str
    things: tuple[str, ...]
    why: str
    host: str = ""
    is_certain: bool = True


@dataclass(slots=True)
class _Traces:
    """What the hypervisors have of one lab; ``files`` are the machines with files, by their driver's URI.

    ``copies`` are its snapshots and forks.
    """

    hosts: dict[str, str] = field(default_factory=dict)
    networks: list[str] = field(default_factory=list)
    uris: list[str] = field(default_factory=list)
    files: dict[str, set[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def found_on(self, uri: str) -> None:
        if uri not in self.uris:
            self.uris.append(uri)


def find_orphans(file_of: FileOf, only: str | None = None) -> list[Orphan]:
    """Return the orphans of all labs, or of the lab called ``only``, by lab and host.

    Raises HypervisorError if no hypervisor of this machine can be asked.
    """
    found: list[Orphan] = []
    for lab, traces in sorted(_traces().items()):
        if only is None or lab == only:
            found += _of_lab(lab, traces, file_of)
    return found


def why_without_file(lab: str, file: Path | None) -> str:
    """Return why a lab has no file any more, empty if it has one."""
    if file is None:
        return "its lab file is not known here"
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"its lab file {file} is gone"
    except OSError:
        # It is there, for somebody.
        return ""
    name = _NAME.search(text)
    return f"its lab file {file} is of the lab {name['name']} now" if name and name["name"] != lab else ""


def _of_lab(lab: str, traces: _Traces, file_of: FileOf) -> Iterator[Orphan]:
    uri = traces.uris[0]
    storage = [f"files of {host}" for hosts in traces.files.values() for host in sorted(hosts)]
    file = file_of(lab)
    why = why_without_file(lab, file)
    if not traces.hosts and not traces.networks:
        # Where the lab has its file, a snapshot brings its machines back.
        if not traces.copies or why:
            things = tuple(dict.fromkeys([*storage, *traces.others, *traces.copies]))
            yield Orphan(lab, uri, things, "no machine and no network of the lab is there")
        return
    if why:
        things = (
            *(f"machine {host}" for host in sorted(traces.hosts)),
            *(f"network {name}" for name in sorted(traces.networks)),
            *traces.copies,
        )
        hint = "" if file is not None else f": `labrun down --name {lab}` removes it"
        yield Orphan(lab, uri, things, why + hint, is_certain=file is not None)
        return
    for driver_uri, hosts in traces.files.items():
        for host in sorted(hosts - traces.hosts.keys()):
            if not _is_used(lab, driver_uri, host):
                yield Orphan(lab, driver_uri, (f"files of {host}",), "there is no such machine", host)


def _is_used(lab: str, uri: str, host: str) -> bool:
    driver = driver_for(uri.partition(":")[0], uri)
    return any(driver.owns(lab, host, path) for path in file_users(lab, uri))


def _traces() -> dict[str, _Traces]:
    found: dict[str, _Traces] = {}
    errors: list[HypervisorError] = []
    for uri in LOCAL_URIS:
        try:
            connection = connect(uri)
        except HypervisorError as error:
            errors.append(error)
            continue
        with translated("list"):
            _objects(connection, uri, found)
            for lab, hosts in (_overlays() if uri.startswith("lxc") else _volumes(connection)).items():
                traces = _at(found, lab, uri)
                traces.files[uri] = set(hosts)
                if not hosts:
                    traces.others.append("storage")
    if len(errors) == len(LOCAL_URIS):
        raise errors[0]
    for store in (SNAPSHOTS, FORKS):
        for copy in store.all():
            uris = [machine.uri for machine in copy.machines.values()]
            _at(found, copy.lab, next(iter(uris), LOCAL_URIS[0])).copies.append(f"{store.noun} {copy.name}")
    return found


def _at(found: dict[str, _Traces], lab: str, uri: str) -> _Traces:
    traces = found.setdefault(lab, _Traces())
    traces.found_on(uri)
    return traces


def _objects(connection: Any, uri: str, found: dict[str, _Traces]) -> None:
    """Add domains, networks, and the rules that labrun has loaded. Raises libvirtError."""
    for domain, tag, _ in tagged_domains(connection):
        if tag.fits(domain.name()):
            _at(found, tag.lab, uri).hosts[tag.host] = uri
    for network, xml in networks_of(connection):
        tag_of_network = read_tag(xml)
        if tag_of_network is not None and tag_of_network.fits(network.name()):
            networks = _at(found, tag_of_network.lab, uri).networks
            name = tag_of_network.extra.get("network", network.name())
            networks += [name] if name not in networks else []
    if not nft.unusable(uri):
        for _, table in nft.tables():
            if match := _TABLE.fullmatch(table):
                _at(found, match["lab"], uri).others.append(f"nftables {table}")
    for name in own_filters(connection):
        # A lab's name may have hyphens, a filter's too: what no lab here explains has its last part for name.
        lab = next((each for each in found if name.startswith(f"{each}-")), name.rpartition("-")[0])
        _at(found, lab, uri).others.append(f"filter {name}")


def _overlays() -> Mapping[str, set[str]]:
    labs = (path for path in LABS.iterdir() if path.is_dir()) if LABS.is_dir() else ()
    files = {path.name: {child for child in path.iterdir() if child.name != RULES} for path in labs}
    # A lab of VMs has nothing there but rules, which are named by their tables.
    return {
        lab: {child.name for child in children if (child / "upper").is_dir()}
        for lab, children in files.items()
        if children or not (LABS / lab / RULES).is_dir()
    }


def _volumes(connection: Any) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for pool in connection.listAllStoragePools():
        with unless_gone():
            name = pool.name()
            lab = name.removeprefix(LAB_POOLS)
            if name == IMAGE_POOL or lab == name or find_pool(connection, lab_pool(lab, BASE)) is None:
                continue
            names = volume_names(pool) if pool.isActive() else frozenset()
            found[lab] = {host for host in map(host_of_volume, names) if host}
    return found
