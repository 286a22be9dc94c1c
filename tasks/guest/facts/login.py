"""What decides whether a login succeeds, as seen from inside: boot, sshd, account, keys, disks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType

from labrun.bounded import integer
from labrun.errors import CommandError, UnreadableError
from labrun.inventory.model import Address
from labrun.tasks.guest.facts.first_boot import FirstBoot, first_boot
from labrun.tasks.guest.facts.nm import Device, observed
from labrun.tasks.guest.facts.nm_loose import LOOSE, loose_profiles
from labrun.tasks.guest.facts.sshd import effective_settings
from labrun.tasks.guest.facts.units import Unit, read_units
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = ["Account", "KeyFile", "Listener", "LoginState", "Mode", "login_state", "probe"]

_NOT_ASKED = Captured("", 127)
# As ss prints a listening socket: `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=61,fd=3))`.
_SOCKET = re.compile(
    r"LISTEN\s++\d++\s++\d++\s++(?P<address>\S{1,64}?)(?:%\S{1,16}?)?:(?P<port>\d{1,5})\s++\S++"
    r"(?:\s++users:\(\(\"(?P<program>[^\"]{1,32})\")?"
)
# Of timeout(1): what it ended.
_TIMED_OUT = 124
_TIMED = ("boot", "jobs", "units", "nm", "sockets", "qdiscs")
_MOST_LINES, _LONGEST_LINE = 2_000, 400
HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"
WRAPPERS = ("/etc/hosts.allow", "/etc/hosts.deny")


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that accepts connections; ``address`` None = any address of its IP version."""

    address: Address | None
    port: int
    program: str


@dataclass(frozen=True, slots=True)
class Mode:
    """The permissions of one file or folder, and whose it is."""

    path: str
    bits: int
    owner: str


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file that sshd looks for keys in: ``is_there``, and whether it ``has_key``, the one of labrun."""

    path: str
    is_there: bool
    has_key: bool


@dataclass(frozen=True, slots=True)
class Account:
    """The login's account; ``expires`` and ``today`` in days since the epoch, None = never."""

    home: str
    shell: str
    has_shell: bool
    groups: tuple[str, ...] = ()
    expires: int | None = None
    today: int = 0


@dataclass(frozen=True, slots=True)
class LoginState:
    """Everything about logins that one host showed from inside; what could not be read is empty.

    ``boot`` is the state of ``init`` in systemd's words (``running``, ``starting``; empty = PID 1 does not
    answer), ``jobs`` the units that the boot waits for. ``init`` is empty where it is neither systemd nor
    OpenRC. ``devices`` are NetworkManager's by MAC, None if it does not answer.
    ``sshd`` are the settings for this very login, ``complaint`` is sshd's about its own settings,
    ``process`` the state of sshd's process (``S``, ``T`` = stopped). ``host_keys`` are type and key of
    each. ``full`` are the folders without room. ``refusals`` is what sshd logged last. ``first_boot`` is
    what has become of cloud-init. ``driverless`` are the NICs without a driver, as their bus names them.
    ``is_slow`` = a question was not answered in time, so that something here may be missing for that alone.
    ``killed`` are the processes that the guest's own kernel has killed for lack of memory. ``loose`` are the
    profiles that NetworkManager ignores for their permissions.
    """

    boot: str = ""
    jobs: tuple[str, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=lambda: MappingProxyType({}))
    devices: Mapping[str, Device] | None = None
    listeners: tuple[Listener, ...] | None = None
    sshd: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    complaint: str = ""
    process: str = ""
    account: Account | None = None
    keys: tuple[KeyFile, ...] = ()
    modes: tuple[Mode, ...] = ()
    host_keys: tuple[str, ...] = ()
    nologin: str = ""
    full: tuple[str, ...] = ()
    allowed: str = ""
    denied: str = ""
    iptables: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    qdiscs: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    first_boot: FirstBoot = field(default_factory=FirstBoot)
    driverless: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    is_slow: bool = False
    init: str = "systemd"

    @property
    def is_booting(self) -> bool:
        """Tell whether the boot is still going on, so that what is missing may still come."""
        return self.boot in ("initializing", "starting")

    @property
    def sshd_unit(self) -> Unit | None:
        """Return the unit that starts sshd: the socket where it listens in sshd's place."""
        found = [unit for name in _SSHD_UNITS if (unit := self.units.get(name)) is not None]
        existing = [unit for unit in found if unit.load != "not-found"]
        running = [unit for unit in existing if unit.is_running]
        return next(iter(running or existing), None)


_SSHD_UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "ssh", "sshd")


def probe(user: str, key: str, client: str, server: str, port: int) -> Probe:
    """Read what decides about this login.

    ``key`` is the base64 of labrun's public key, ``client`` and ``server`` are the addresses of both ends.
    """
    values: dict[str, str | int | bool] = {
        "login": user,
        "key": key,
        "client": client,
        "server": server,
        "port": port,
    }
    names = ("boot_state", "services_openrc", "first_boot", "no_driver", "login_state")
    parts = "".join(map(guest_script, names))
    return Probe((*WRAPPERS, HOST_KEYS), assigned(values) + parts, after=(LOOSE,))


def login_state(facts: Facts) -> LoginState:
    """Return the state in a gather with :func:`probe`."""
    asks = _said(facts, "sshd-asks")
    check = facts.commands.get("sshd-check", _NOT_ASKED)
    return LoginState(
        loose=loose_profiles(facts),
        boot=_said(facts, "boot").strip()[:_LONGEST_LINE],
        jobs=tuple(_jobs(_said(facts, "jobs"))),
        units={unit.name: unit for unit in read_units(_said(facts, "units"))},
        devices=_devices(facts),
        listeners=tuple(_listeners(facts)) if facts.commands.get("sockets", _NOT_ASKED).status == 0 else None,
        sshd=effective_settings(asks) if asks else MappingProxyType({}),
        # The last line only counts the others.
        complaint=next(_lines(check.error), "") if check.status not in (0, 124, 127) else "",
        process=facts.word("sshd-process") or "",
        account=_account(facts),
        keys=tuple(_keys(facts)),
        modes=tuple(_modes(facts)),
        host_keys=tuple(_host_keys(facts)),
        nologin=facts.word("nologin") or "",
        full=tuple(dict.fromkeys((*_full(_said(facts, "disks")), *_full(_said(facts, "inodes"))))),
        allowed=facts.files.get(WRAPPERS[0], ""),
        denied=facts.files.get(WRAPPERS[1], ""),
        iptables={version: _said(facts, f"iptables {version}") for version in (4, 6)},
        qdiscs=tuple(_lines(_said(facts, "qdiscs"))),
        refusals=tuple(_lines(_said(facts, "refusals"))),
        first_boot=_first_boot(facts),
        driverless=tuple(line.removeprefix("no-driver ") for line in _lines(_said(facts, "no-driver"))),
        is_slow=any(facts.commands.get(name, _NOT_ASKED).status == _TIMED_OUT for name in _TIMED),
        killed=tuple(_lines(_said(facts, "killed"))),
        init=_init(facts),
    )


def _init(facts: Facts) -> str:
    absent = facts.commands.get("boot", Captured("", 0)).status == _NOT_ASKED.status
    return facts.word("boot-by") or ("" if absent else "systemd")


def _said(facts: Facts, name: str) -> str:
    return facts.commands.get(name, _NOT_ASKED).text


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n", _MOST_LINES)[:_MOST_LINES]:
        if line.strip():
            yield line.strip()[:_LONGEST_LINE]


def _jobs(text: str) -> Iterator[str]:
    for line in _lines(text):
        words = line.split()
        if len(words) >= 4 and words[0].isdigit():
            yield words[1]


def _devices(facts: Facts) -> Mapping[str, Device] | None:
    try:
        return observed(facts).devices
    except CommandError:
        return None


def _first_boot(facts: Facts) -> FirstBoot:
    try:
        return first_boot(_said(facts, "first-boot"))
    except UnreadableError:
        return FirstBoot()


def _listeners(facts: Facts) -> Iterator[Listener]:
    for line in _lines(_said(facts, "sockets")):
        match = _SOCKET.match(line)
        if match is None:
            continue
        text = match["address"].strip("[]")
        try:
            address = None if text in ("*", "0.0.0.0", "::") else ip_address(text)  # noqa: S104 - what ss prints
        except ValueError:
            continue
        yield Listener(address, int(match["port"]), match["program"] or "")


def _account(facts: Facts) -> Account | None:
    home = facts.word("home")
    if home is None:
        return None
    return Account(
        home,
        facts.word("shell") or "",
        has_shell="no-shell" not in facts.words,
        groups=tuple((facts.word("groups") or "").split()),
        expires=integer(facts.word("expires")),
        today=integer(facts.word("today")) or 0,
    )


def _keys(facts: Facts) -> Iterator[KeyFile]:
    for word in sorted(facts.words):
        kind, _, rest = word.partition(" ")
        state, _, path = rest.partition(" ")
        if kind == "keys" and path:
            yield KeyFile(path, state != "absent", state == "there")


def _modes(facts: Facts) -> Iterator[Mode]:
    for word in sorted(facts.words):
        kind, _, rest = word.partition(" ")
        words = rest.split(" ", 2)
        if kind == "mode" and len(words) == 3 and re.fullmatch(r"[0-7]{1,5}", words[0]):
            yield Mode(words[2], int(words[0], 8), words[1])


def _host_keys(facts: Facts) -> Iterator[str]:
    for path, text in facts.files.items():
        words = text[:4096].split()
        if path.startswith("/etc/ssh/ssh_host_") and len(words) >= 2:
            yield f"{words[0]} {words[1]}"


def _full(text: str) -> Iterator[str]:
    """Yield the mount points of ``df -P`` that have nothing left."""
    for line in _lines(text):
        words = line.split()
        if len(words) >= 6 and words[3] == "0" and integer(words[1]):
            yield words[5]
