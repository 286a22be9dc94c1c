"""Where copies of whole labs are kept on the hypervisor, snapshots and forks, and the manifest of each."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labrun.errors import LabrunError, UsageError
from labrun.hypervisor import is_local
from labrun.state_files import NOT_OURS, WRONG, DamagedFileError, parse_json, read_file

__all__ = [
    "FAULT",
    "FORKS",
    "SNAPSHOTS",
    "KeptMachine",
    "Snapshot",
    "Store",
    "finish_snapshot",
    "newest",
    "remove_snapshot",
    "snapshots_on",
    "trees_of_copies",
]

MANIFEST = "snapshot.json"
FAULT = ".fault"
"""The file of a copy with the record of a fault that was planted then; no host can be called so."""
_FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeptMachine:
    """What a snapshot knows of one machine.

    ``kind`` and ``uri`` are of its driver, ``state`` as observed; ``base`` is what its files stand on: the
    image's tree under a container, the name of the image's volume under a VM. ``have`` are its settings,
    ``addresses`` and ``host_key`` what known_hosts had of it.
    """

    kind: str
    uri: str
    domain: str
    state: str
    image: str = ""
    base: str = ""
    have: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    host_key: str = ""

    @property
    def tree(self) -> Path | None:
        """Return the version directory of the image under a container, None for a VM."""
        return Path(self.base.rpartition(":")[2]).parent if self.kind == "lxc" else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One complete snapshot: ``made`` is ISO 8601 in UTC, ``machines`` are by host, in file order."""

    lab: str
    name: str
    made: str
    folder: Path
    machines: Mapping[str, KeptMachine]

    def of(self, host: str) -> Path:
        """Return the folder with the files of a host's machine."""
        return self.folder / host

    @property
    def has_memory(self) -> bool:
        """Tell whether it has the memory of a VM."""
        return any(
            (self.of(host) / "memory").exists()
            # Its files are on another machine; each VM that runs is saved with its memory.
            or (host in self.far and kept.state in ("running", "paused"))
            for host, kept in self.machines.items()
        )

    @property
    def far(self) -> Mapping[str, str]:
        """Return the URIs of the other machines that have files of it, by host."""
        return {host: kept.uri for host, kept in self.machines.items() if not is_local(kept.uri)}


@dataclass(frozen=True, slots=True)
class Store:
    """A directory on the hypervisor with a folder for each lab, in it one for each copy of that lab.

    ``noun`` is what people call such a copy, ``maker`` the command that makes one, ``remover`` the one that
    removes it.
    """

    base: Path
    noun: str
    maker: str
    remover: str

    def folder(self, lab: str) -> Path:
        """Return the folder of the lab's copies, which need not exist."""
        return self.base / lab

    def check_name(self, name: str) -> str:
        """Return the name. Raises UsageError if no copy can be called so."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f'a {self.noun} cannot be called "{name}"',
                hint="a lower-case letter or a digit, then up to 39 of a-z 0-9 . _ -",
            )
        return name

    def of(self, lab: str) -> tuple[Snapshot, ...]:
        """Return the complete copies of the lab, oldest first."""
        folder = self.base / lab
        try:
            names = [child.name for child in folder.iterdir() if _NAME.fullmatch(child.name)]
        except OSError:
            # There are none, or they are root's alone.
            return ()
        found = [snapshot for name in names if (snapshot := _read(lab, folder / name)) is not None]
        return tuple(sorted(found, key=lambda each: (each.made, each.name)))

    def all(self) -> tuple[Snapshot, ...]:
        """Return the copies of all labs, by lab."""
        try:
            labs = sorted(child.name for child in self.base.iterdir() if child.is_dir())
        except FileNotFoundError:
            return ()
        return tuple(snapshot for lab in labs for snapshot in self.of(lab))

    def find(self, lab: str, name: str) -> Snapshot:
        """Return a copy of the lab. Raises UsageError if there is none of that name."""
        there = {each.name: each for each in self.of(lab)}
        if name not in there:
            known = f"there are {', '.join(there)}" if there else f"`{self.maker} NAME` makes one"
            raise UsageError(f'the lab {lab} has no {self.noun} "{name}"', hint=known)
        return there[name]

    def begin(self, lab: str, name: str) -> Path:
        """Return an empty folder to fill; it counts once :func:`finish_snapshot` has given it its name.

        What a killed run has left there goes. Raises UsageError if there is a copy of that name, LabrunError
        if the folder cannot be made.
        """
        if (self.base / lab / self.check_name(name)).exists():
            raise UsageError(
                f'there is a {self.noun} "{name}" already', hint=f"`{self.remover} {name}`, or another name"
            )
        part = self.base / lab / f".{name}.part"
        with _explained("make", part):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True, mode=0o700)
            (self.base / lab).chmod(0o700)
        return part

    def remove_lab(self, lab: str) -> None:
        """Delete all copies of a lab, and what killed runs have left. Raises LabrunError."""
        with _explained("remove", self.base / lab):
            if (self.base / lab).exists():
                shutil.rmtree(self.base / lab)


SNAPSHOTS = Store(
    Path("/var/lib/labrun/snapshots"), "snapshot", "labrun snapshot save", "labrun snapshot remove"
)
FORKS = Store(Path("/var/lib/labrun/forks"), "fork", "labrun fork", "labrun drop")


def trees_of_copies() -> frozenset[Path]:
    """Return the images' version directories that containers of snapshots and forks stand on."""
    return frozenset(
        kept.tree
        for store in (SNAPSHOTS, FORKS)
        for copy in store.all()
        for kept in copy.machines.values()
        if kept.tree
    )


def newest(lab: str) -> Snapshot | None:
    """Return the newest copy of a lab in any store: what has not changed since need not be copied again."""
    return max((*SNAPSHOTS.of(lab), *FORKS.of(lab)), key=lambda each: each.made, default=None)


def snapshots_on(lab: str, uri: str) -> tuple[Snapshot, ...]:
    """Return the snapshots of a lab as it is on one hypervisor, oldest first.

    Another lab of the same name may be elsewhere, and the lists of both are here.
    """
    if is_local(uri):
        return tuple(each for each in SNAPSHOTS.of(lab) if len(each.far) < len(each.machines))
    return tuple(each for each in SNAPSHOTS.of(lab) if {kept.uri for kept in each.machines.values()} == {uri})


def finish_snapshot(part: Path, snapshot: Snapshot) -> None:
    """Write the manifest into a filled folder and give the folder the snapshot's name."""
    document = {
        "format": _FORMAT,
        "made": snapshot.made,
        "machines": {host: asdict(machine) for host, machine in snapshot.machines.items()},
    }
    with _explained("write", part):
        (part / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")
        part.rename(snapshot.folder)


def remove_snapshot(snapshot: Snapshot) -> None:
    """Delete a snapshot: first its name, so that a part of one never counts. Raises LabrunError."""
    gone = snapshot.folder.with_name(f".{snapshot.name}.gone")
    with _explained("remove", snapshot.folder):
        shutil.rmtree(gone, ignore_errors=True)
        snapshot.folder.rename(gone)
        shutil.rmtree(gone)
    # The last one takes the lab's folder along.
    with suppress(OSError):
        snapshot.folder.parent.rmdir()


def _read(lab: str, folder: Path) -> Snapshot | None:
    """Return the snapshot in a folder, None if it has no manifest that labrun wrote."""
    try:
        data = read_file(folder / MANIFEST, largest=_LARGEST)
        if data is None:
            return None
        content = parse_json(data)
        if content["format"] != _FORMAT:
            return None
        machines = {str(host): _machine(each) for host, each in content["machines"].items()}
        return Snapshot(lab, folder.name, str(content["made"]), folder, machines)
    except (DamagedFileError, *WRONG):
        return None


def _machine(each: Mapping[str, Any]) -> KeptMachine:
    if not all(isinstance(each[key], str) for key in ("kind", "uri", "domain", "state", "image", "base")):
        raise ValueError(NOT_OURS)
    return KeptMachine(
        each["kind"],
        each["uri"],
        each["domain"],
        each["state"],
        each["image"],
        each["base"],
        {str(key): str(value) for key, value in each["have"].items()},
        tuple(str(address) for address in each["addresses"]),
        str(each["host_key"]),
    )


@contextmanager
def _explained(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LabrunError(
            f"cannot {what} {error.filename or path}: {error.strerror or error}",
            step="snapshot",
            hint="this needs labrun to run as root on the hypervisor",
        ) from error
