"""A lab's state directory: its key pair, its known_hosts and its lock. No decision depends on it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.bounded import integer
from labrun.errors import LabrunError
from labrun.key_pairs import is_public_key
from labrun.lab_keys import ensure_key_pair, password_from, read_public_key
from labrun.notices import notice
from labrun.output_logs import FOLDER
from labrun.state_files import keep_regular, read_file, read_or_reset, write_private
from labrun.state_folders import UnavailableFolderError, check_folder, private_folder, xdg_base

__all__ = ["SSH_PORT", "LabState", "state_base"]

SSH_PORT = 22
"""Where sshd listens unless it is told otherwise."""

# Number of former addresses at which a host is looked for.
_FORMER = 4
_LOCKS = Path("/run/labrun/locks")
_PRIVATE = 0o700
_ROOM = 64 * 1024  # keys, and a line in known_hosts for each of several hundred hosts
_ANOTHER = "--state-dir chooses another"


def state_base() -> Path:
    """Return ``$XDG_STATE_HOME/labrun``, by default ``~/.local/state/labrun``."""
    return xdg_base("XDG_STATE_HOME", ".local/state") / "labrun"


def _lines_of_hosts(data: bytes) -> list[str]:
    """Return the lines of a known_hosts file written by labrun. Raises ValueError for any other."""
    lines = [line for line in data.decode("utf-8").splitlines() if line]
    if not all(is_public_key(line.partition(" ")[2]) for line in lines):
        raise ValueError("no host key")
    return lines


@contextlib.contextmanager
def _reporting_errors() -> Iterator[None]:
    """Report a write error in the block instead of ending the command."""
    try:
        yield
    except LabrunError as error:
        notice(error.reason)


def _root_of(lab: str, uri: str, base: Path | None) -> Path:
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return (base or state_base()) / f"{lab}-{digest}"


@dataclass(frozen=True, slots=True)
class LabState:
    """The state directory of one lab on one hypervisor (mode 0700)."""

    root: Path
    lab: str

    @classmethod
    def open(cls, lab: str, uri: str, base: Path | None = None, *, create: bool = True) -> LabState:
        """Return the state in this directory, creating the directory if it is missing, unless told otherwise.

        One that cannot be created or changed still serves commands that only read; :meth:`check_room` tells.
        Raises LabrunError if other users could have put something into it.
        """
        root = _root_of(lab, uri, base)
        state = cls(root, lab)
        try:
            if not create and not os.path.lexists(root):
                check_folder(root)
                return state
            private_folder(root)
            if stat.S_IMODE(root.stat().st_mode) != _PRIVATE:
                root.chmod(_PRIVATE)
        except UnavailableFolderError:
            return state
        except OSError as error:
            if error.errno != errno.EROFS:
                raise LabrunError(
                    f"cannot use the state directory {root}: {error.strerror}", hint=_ANOTHER
                ) from error
        # ssh refuses a key that others can read, but would follow a symlink anywhere.
        keep_regular(state.identity, 0o600)
        keep_regular(state._public_path)
        return state

    def check_room(self) -> None:
        """Raise LabrunError if the data that `up` keeps cannot be written. Call before making changes."""
        private_folder(self.root)
        try:
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".room.") as file:
                file.write(bytes(_ROOM))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LabrunError(
                f"cannot write to the state directory {self.root}: {error.strerror}", hint=_ANOTHER
            ) from error

    @classmethod
    def find(cls, lab: str, uri: str, base: Path | None = None) -> LabState | None:
        """Return the state in this directory, None if there is none."""
        root = _root_of(lab, uri, base)
        return cls(root, lab) if root.is_dir() else None

    @property
    def identity(self) -> Path:
        """Return the path of the lab's private key."""
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Return the path of the lab's known_hosts file."""
        return self.root / "known_hosts"

    @property
    def lock(self) -> Path:
        """Return the path of the lab's lock file. For root it is machine-wide, wherever the state is."""
        if os.geteuid() != 0:
            return self.root / "lock"
        private_folder(_LOCKS)
        return _LOCKS / self.root.name

    @property
    def has_keys(self) -> bool:
        """Return whether a key pair exists. :meth:`ensure_keys` checks that it is valid."""
        return self.identity.is_file() and self._public_path.is_file()

    @property
    def _public_path(self) -> Path:
        return self.root / "id_ed25519.pub"

    @property
    def public_key(self) -> str:
        """Return the public key as one line. Raises LabrunError if ``up`` never ran."""
        key = read_public_key(self._public_path)
        if key is not None:
            return key
        raise LabrunError(
            f"the lab has no key in {self.root}", hint="`labrun up` creates one and puts it into the hosts"
        )

    def ensure_keys(self) -> bool:
        """Create the lab's key pair if it is missing. Return whether it was created.

        known_hosts is emptied then.
        """
        return ensure_key_pair(self.identity, self._public_path, self.known_hosts, f"labrun-{self.lab}")

    @property
    def _console_secret(self) -> Path:
        return self.root / "console_secret"

    @property
    def has_console_secret(self) -> bool:
        """Return whether machines may have been made with a password for their console."""
        return self._console_secret.is_file()

    def console_password(self, host: str) -> str:
        """Return the password of the lab's login at a host's console, which no other login accepts.

        It follows from a secret of the lab's, which is made here if it is missing.
        """
        return password_from(self._console_secret, host)

    def host_keys(self) -> dict[str, str]:
        """Return the recorded public host key (``type base64``) by host name."""
        keys: dict[str, str] = {}
        for line in self._known_lines():
            names, _, key = line.partition(" ")
            keys[names.split(",")[0]] = key
        return keys

    def host_addresses(self) -> dict[str, list[str]]:
        """Return every recorded address by host name, newest first."""
        return {
            host: [name for name in names if not name.startswith("[")]
            for host, names in self._names().items()
        }

    def login_ports(self) -> dict[str, int]:
        """Return the port of each host's sshd as far as it is recorded; without a record it is 22."""
        found = {}
        for host, names in self._names().items():
            ports = (name.rpartition("]:")[2] for name in names if name.startswith("["))
            port = next((integer(port, least=1, most=65535) for port in ports), None)
            if port is not None:
                found[host] = port
        return found

    def remember_port(self, host: str, port: int) -> None:
        """Record the port at which a host's sshd answers, as ssh writes it: ``[address]:port``."""
        if host in self.host_keys() and self.login_ports().get(host, SSH_PORT) != port:
            self._move({host: self.host_addresses()[host]}, {host: port})

    def remember_addresses(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Put these addresses first in the hosts' lines, and keep some of the former ones."""
        had, ports = self.host_addresses(), self.login_ports()
        moved = {
            host: list(dict.fromkeys([*new, *had[host]]))[: len(new) + _FORMER]
            for host, new in addresses.items()
            if host in had and list(new) != had[host][: len(new)]
        }
        self._move(moved, ports)

    def _move(self, addresses: Mapping[str, Sequence[str]], ports: Mapping[str, int]) -> None:
        keys = self.host_keys()
        moved = {}
        for host, names in addresses.items():
            port = ports.get(host, SSH_PORT)
            others = [] if port == SSH_PORT else [f"[{name}]:{port}" for name in names or [host]]
            moved[host] = ([*names, *others], keys[host])
        if moved:
            # The change on the hosts stands, whether it can be recorded or not.
            with _reporting_errors():
                self.remember_host_keys(moved)

    def _names(self) -> dict[str, list[str]]:
        """Return the names in each host's line after its own: addresses, and addresses with a port."""
        names = (line.partition(" ")[0].split(",") for line in self._known_lines())
        return {first: rest for first, *rest in names}

    def _known_lines(self) -> list[str]:
        nothing: list[str] = []
        return read_or_reset(self.known_hosts, _lines_of_hosts, nothing)

    def remember_host_keys(self, keys: Mapping[str, tuple[Sequence[str], str]]) -> bool:
        """Record exactly one line per host: ``{host: (addresses, "ssh-ed25519 AAAA… [comment]")}``.

        Lines of other hosts stay. The host's name comes first in its line. Return whether the file changed.
        Raises LabrunError if a key is not a host key: it may come from a guest.
        """
        lines = {line.split(" ", 1)[0].split(",")[0]: line for line in self._known_lines()}
        before = dict(lines)
        for host, (names, key) in keys.items():
            bare = " ".join(key.split()[:2])
            if not is_public_key(bare):
                raise LabrunError(f"{bare[:60]!r} is not a host key", host=host, step="host key")
            lines[host] = ",".join(dict.fromkeys([host, *names])) + f" {bare}"
        if lines == before and self.known_hosts.exists():
            return False
        write_private(self.known_hosts, "".join(f"{line}\n" for line in lines.values()))
        return True

    def forget_hosts(self, hosts: Sequence[str]) -> None:
        """Drop the lines of these hosts. A line that stays is replaced when the host is created again."""
        known = self._known_lines()
        remaining = [line for line in known if line.split(" ", 1)[0].split(",")[0] not in hosts]
        if remaining != known:
            with _reporting_errors():
                write_private(self.known_hosts, "".join(f"{line}\n" for line in remaining))

    def remove(self) -> None:
        """Delete keys, known_hosts, logs and lock. Foreign files in the directory stay.

        Raises LabrunError.
        """
        kept = (
            self.identity,
            self._public_path,
            self.known_hosts,
            self._console_secret,
            self._lab_file_path,
            self.members,
            self.fault,
            self.lock,
            *(self.root / FOLDER).glob("*.log"),
        )
        try:
            for path in kept:
                if os.path.lexists(path):  # a read-only file system refuses even to remove nothing
                    path.unlink(missing_ok=True)
                if path.parent == self.root:
                    # A process that was killed while writing has left a temporary file.
                    for part in self.root.glob(f".{path.name}.*"):
                        part.unlink(missing_ok=True)
        except OSError as error:
            raise LabrunError(f"cannot remove {path}: {error.strerror}") from error
        # Other files in it are not the lab's to delete.
        for folder in (self.root / FOLDER, self.root):
            with contextlib.suppress(OSError):
                folder.rmdir()

    @property
    def _lab_file_path(self) -> Path:
        return self.root / "lab_file"

    @property
    def lab_file(self) -> Path | None:
        """Return the lab file that was used last, None if none was noted."""
        try:
            return (
                Path(os.fsdecode(read_file(self._lab_file_path) or b""))
                if self._lab_file_path.exists()
                else None
            )
        except (OSError, LabrunError):
            return None

    def remember_lab_file(self, path: Path) -> None:
        """Note the lab file, so that a lab whose file is gone can be found. What cannot be noted is not."""
        if self.lab_file != path:
            with contextlib.suppress(LabrunError, OSError):
                write_private(self._lab_file_path, str(path))

    @property
    def members(self) -> Path:
        """Return the path of the file that notes the hypervisors of a lab over several."""
        return self.root / "hypervisors"

    @property
    def lesson(self) -> Path:
        """Return the path of the file that records a lesson's score."""
        return self.root / "lesson"

    @property
    def fault(self) -> Path:
        """Return the path of the file that records a planted fault."""
        return self.root / "fault"
