"""What a fleet is: its machines, its ports, and how they are carried; the file that says so."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from labrun.errors import UsageError
from labrun.state import state_base
from labrun.state_files import parse_json, read_or_reset, write_private
from labrun.state_folders import private_folder

__all__ = ["LOOPBACK", "Carried", "Fleet", "FleetFolder", "Machine", "parse_machine"]

Carried = Literal["ssh", "tls"]
LOOPBACK: Final = "127.0.0.1"
_USER: Final = r"(?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,31})"
_HOST: Final = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})"
_MACHINE: Final = re.compile(rf"{_USER}@{_HOST}(?::(?P<port>[0-9]{{1,5}}))?")
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that runs a worker: whom to log in as, and where.

    ``ssh_port`` None = what the user's SSH configuration says. ``port`` is the worker's.
    """

    user: str
    host: str
    ssh_port: int | None
    port: int

    @property
    def name(self) -> str:
        """Return ``user@host``, with the port of SSH if it was given."""
        return f"{self.user}@{self.host}" + (f":{self.ssh_port}" if self.ssh_port else "")

    @property
    def word(self) -> str:
        """Return the name as a word for file names: it cannot lead out of a folder."""
        return re.sub(r"[^A-Za-z0-9.@-]", "_", self.name)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet. ``address`` and ``port`` are where its scheduler listens, on this machine.

    ``carried`` says what carries the connections: ``ssh`` forwards ports on loopback, ``tls`` connects
    directly, each end with a certificate. ``identity`` and ``known_hosts`` are files for ssh, None = its own.
    """

    id: str
    carried: Carried
    address: str
    port: int
    machines: tuple[Machine, ...]
    identity: str | None = None
    known_hosts: str | None = None

    @property
    def engine(self) -> str:
        """Return what ``--engine`` is given."""
        return f"dask://{self.address}:{self.port}"

    @property
    def scheduler(self) -> str:
        """Return the scheduler's address as Dask writes it."""
        return f"{'tls' if self.carried == 'tls' else 'tcp'}://{self.address}:{self.port}"

    def worker(self, machine: Machine) -> str:
        """Return the address of a machine's worker as Dask writes it."""
        if self.carried == "tls":
            return f"tls://{machine.host}:{machine.port}"
        return f"tcp://{LOOPBACK}:{machine.port}"


def parse_machine(text: str, port: int) -> Machine:
    """Return the machine of ``user@host[:port]``, whose worker listens on ``port``. Raises UsageError."""
    match = _MACHINE.fullmatch(text)
    ssh_port = int(match["port"]) if match is not None and match["port"] else None
    if match is None or (ssh_port is not None and not 0 < ssh_port <= _LAST_PORT):
        raise UsageError(f"{text!r} is not a machine", hint="user@host, or user@host:port")
    return Machine(match["user"], match["host"].strip("[]"), ssh_port, port)


@dataclass(frozen=True, slots=True)
class FleetFolder:
    """The fleet's folder in labrun's state directory (mode 0700)."""

    root: Path

    @classmethod
    def of(cls, state_dir: Path | None) -> FleetFolder:
        """Return the folder below ``state_dir``, by default below the user's state directory."""
        return cls((state_dir or state_base()) / "fleet")

    @property
    def file(self) -> Path:
        """Return the path of the file that says what the fleet is."""
        return self.root / "fleet.json"

    @property
    def certificates(self) -> Path:
        """Return the folder of the fleet's authority and of what it has signed."""
        return self.root / "certificates"

    def log(self, name: str) -> Path:
        """Return where a process of the fleet writes what it has to say."""
        return self.root / f"{name}.log"

    def read(self) -> Fleet | None:
        """Return the fleet, None if there is none. A file that labrun did not write is set aside."""
        if not self.root.is_dir():
            return None
        return read_or_reset(self.file, _fleet_of, None)

    def required(self) -> Fleet:
        """Return the fleet. Raises UsageError if there is none."""
        fleet = self.read()
        if fleet is None:
            raise UsageError("there is no fleet", hint="labrun fleet init USER@HOST...")
        return fleet

    def write(self, fleet: Fleet) -> None:
        """Write the fleet's file (mode 0600). Raises LabrunError."""
        private_folder(self.root)
        write_private(self.file, json.dumps(dataclasses.asdict(fleet), indent=1) + "\n")


def _fleet_of(data: bytes) -> Fleet:
    values: dict[str, Any] = parse_json(data)
    machines = tuple(Machine(**machine) for machine in values.pop("machines"))
    fleet = Fleet(**values, machines=machines)
    if fleet.carried not in ("ssh", "tls") or not machines or not isinstance(fleet.port, int):
        raise ValueError("not a fleet")
    return fleet
