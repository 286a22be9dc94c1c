"""A lab's own directory: its key pair, its known_hosts and its lock. Nothing in it decides anything."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabrunError

__all__ = ["HostKey", "LabState", "make_host_key", "state_base", "write_private"]

# How many addresses of former days a host is looked for at.
_FORMER = 4
_LOCKS = Path("/run/labrun/locks")


def state_base() -> Path:
    """Return ``$XDG_STATE_HOME/labrun``, by default ``~/.local/state/labrun``."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification tells to ignore relative values.
    base = Path(configured) if configured.startswith("/") else Path.home() / ".local" / "state"
    return base / "labrun"


@dataclass(frozen=True, slots=True)
class HostKey:
    """An ed25519 host key: OpenSSH private key file text and one-line public key."""

    private: str
    public: str


def make_host_key(comment: str) -> HostKey:
    """Return a fresh ed25519 key pair in OpenSSH's formats."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode("ascii")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    return HostKey(private, f"{public} {comment}")


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 in one atomic step, its directory being there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _root_of(lab: str, uri: str, base: Path | None) -> Path:
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return (base or state_base()) / f"{lab}-{digest}"


@dataclass(frozen=True, slots=True)
class LabState:
    """The state directory of one lab on one hypervisor (mode 0700)."""

    root: Path
    lab: str

    @classmethod
    def open(cls, lab: str, uri: str, base: Path | None = None) -> LabState:
        """Return the directory's state, making the directory where it is missing."""
        root = _root_of(lab, uri, base)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.chmod(0o700)
        except OSError as error:
            raise LabrunError(
                f"cannot use the state directory {root}: {error.strerror}", hint="--state-dir names another"
            ) from error
        return cls(root, lab)

    @classmethod
    def find(cls, lab: str, uri: str, base: Path | None = None) -> LabState | None:
        """Return the directory's state, None where there is none."""
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
        """Return the path of the lab's lock file: for root one on the machine, wherever the state is."""
        if os.geteuid() != 0:
            return self.root / "lock"
        _LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _LOCKS / self.root.name

    @property
    def has_keys(self) -> bool:
        """Tell whether the key pair is there."""
        return self.identity.is_file() and self._public_path.is_file()

    @property
    def _public_path(self) -> Path:
        return self.root / "id_ed25519.pub"

    @property
    def public_key(self) -> str:
        """Return the public key as one line; raises LabrunError where ``up`` never ran."""
        try:
            return self._public_path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise LabrunError(
                f"the lab has no key in {self.root}", hint="`labrun up` makes one and puts it into the hosts"
            ) from error

    def ensure_keys(self) -> bool:
        """Make the lab's key pair where it is missing; True when it was made.

        No host has the new one yet, so no host's key stays on record: that is how the next run knows, should
        this one be killed before they have it. The public half comes last, and goes first: one that is
        there belongs to the private one beside it.
        """
        if self.has_keys:
            return False
        self._public_path.unlink(missing_ok=True)
        self.known_hosts.unlink(missing_ok=True)
        pair = make_host_key(f"labrun-{self.lab}")
        write_private(self.identity, pair.private)
        write_private(self._public_path, pair.public + "\n")
        return True

    def host_keys(self) -> dict[str, str]:
        """Return the remembered public host key (``type base64``) by host name."""
        found: dict[str, str] = {}
        for line in self._known_lines():
            names, _, key = line.partition(" ")
            found[names.split(",")[0]] = key
        return found

    def host_addresses(self) -> dict[str, list[str]]:
        """Return every address that a host has had, by host name, the newest first."""
        names = (line.partition(" ")[0].split(",") for line in self._known_lines())
        return {first: rest for first, *rest in names}

    def remember_addresses(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Put these addresses first in the lines of their hosts, and keep a few of those before."""
        keys = self.host_keys()
        had = self.host_addresses()
        moved = {
            host: (list(dict.fromkeys([*new, *had[host]]))[: len(new) + _FORMER], keys[host])
            for host, new in addresses.items()
            if host in keys and list(new) != had[host][: len(new)]
        }
        if moved:
            self.remember_host_keys(moved)

    def _known_lines(self) -> list[str]:
        try:
            return [line for line in self.known_hosts.read_text(encoding="utf-8").splitlines() if line]
        except FileNotFoundError:
            return []

    def remember_host_keys(self, keys: Mapping[str, tuple[Sequence[str], str]]) -> bool:
        """Hold exactly one line per host: ``{host: (addresses, "ssh-ed25519 AAAA… [comment]")}``.

        Other hosts' lines stay. The host's own name stands first in its line. True when the file
        changed.
        """
        lines = {line.split(" ", 1)[0].split(",")[0]: line for line in self._known_lines()}
        before = dict(lines)
        for host, (names, key) in keys.items():
            bare = " ".join(key.split()[:2])
            lines[host] = ",".join(dict.fromkeys([host, *names])) + f" {bare}"
        if lines == before and self.known_hosts.exists():
            return False
        write_private(self.known_hosts, "".join(f"{line}\n" for line in lines.values()))
        return True

    def forget_hosts(self, hosts: Sequence[str]) -> None:
        """Drop the lines of these hosts."""
        kept = [line for line in self._known_lines() if line.split(" ", 1)[0].split(",")[0] not in hosts]
        write_private(self.known_hosts, "".join(f"{line}\n" for line in kept))

    def remove(self) -> None:
        """Delete keys, known_hosts and lock; what somebody else keeps in the directory stays."""
        kept = (
            self.identity,
            self._public_path,
            self.known_hosts,
            self.fault,
            self.lock,
        )
        for path in kept:
            path.unlink(missing_ok=True)
            if path.parent == self.root:
                # A process that was killed while it wrote the file has left its part of it.
                for part in self.root.glob(f".{path.name}.*"):
                    part.unlink(missing_ok=True)
        # Anything else in it is not the lab's to delete.
        with contextlib.suppress(OSError):
            self.root.rmdir()

    @property
    def fault(self) -> Path:
        """Return the path of the file that remembers a planted fault."""
        return self.root / "fault"
