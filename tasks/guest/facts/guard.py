"""What a host reports about its guard: owner, time left, what it rolled back, why it was not armed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labrun.bounded import as_list, as_object, integer, read_json
from labrun.errors import UnreadableError
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe

__all__ = [
    "GUARD",
    "LIVE",
    "PROBE",
    "RECORDS",
    "RolledBack",
    "Standing",
    "controller",
    "goes_back",
    "refusal",
    "rolled_back",
    "standing",
]

GUARD = "/var/lib/labrun/guard"
LIVE = "/run/labrun-guard"
RECORDS = ("/run/labrun-rolled-back", "/var/lib/labrun/rolled-back")
"""The host's last rollback: ``RUN OCCASION``, then one line for each difference that remains.

The occasion is ``timer``, ``cut`` (the process making the change was killed), ``now``, ``again`` or
``boot``. The file in memory is the newer one if it exists.
"""
PROBE = Probe(
    (*RECORDS, f"{GUARD}/owner", f"{GUARD}/until"),
    assigned({"guard": GUARD}) + guest_script("guard_state"),
)
"""The gather's probe of the guard: without a guard it starts no process."""

# A rollback takes a while; only after that is a guard sure to be abandoned (seconds).
_GRACE = 30
_NO_WRITE = re.compile(r"\b(?:printf|echo): (?:write error: )?I/O error$")
_GOES_ON = "the host keeps trying"
_GOING = ("guard undoing", "guard undone")


@dataclass(frozen=True, slots=True)
class Standing:
    """An armed guard in the guest: its owner and the seconds left to confirm.

    ``remaining`` is below 0 once the time is over, None if the guard predates a reboot of the host.
    ``controller`` names the process that armed it, as :func:`controller` does.
    """

    run: str
    owner: str
    remaining: int | None
    controller: str = ""

    @property
    def is_left_over(self) -> bool:
        """Tell whether the guard is abandoned: no controller will end it."""
        return self.remaining is None or self.remaining < -_GRACE or _has_died(self.controller)

    def __str__(self) -> str:
        left = max(0, self.remaining or 0)
        return f"{self.owner} is changing this host and has {left} s left to confirm that"

    @property
    def borrowed(self) -> str:
        """Return why the current state cannot be relied on."""
        left = max(0, self.remaining or 0)
        return f"run {self.run} has {left} s left to confirm its change, or the host rolls back"


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a host rolled back: the occasion, and one line for each difference that remains.

    ``goes_on`` = the rollback is not complete yet, and the host keeps trying.
    """

    occasion: str
    differences: tuple[str, ...] = ()
    goes_on: bool = False


def controller() -> str:
    """Return a name for this process that is unique across machines."""
    return f"{_boot()} {os.getpid()} {_started(os.getpid())}"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _started(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(") ")[2].split()
    return None if state == "Z" else fields[18]


def _has_died(name: str) -> bool:
    """Tell whether the process ran on this machine and has ended; False for another machine's."""
    boot, pid, started = (*name.split(), "", "", "")[:3]
    return boot == _boot() and pid.isdecimal() and len(pid) < 12 and _started(int(pid)) != started


def standing(facts: Facts) -> Standing | None:
    """Return the guard that a gather found, None if there is none."""
    uptime = facts.word("guard-uptime")
    if uptime is None:
        return None
    lines = [*facts.files.get(f"{GUARD}/owner", "").splitlines(), "", "", "", ""]
    run, owner, boot, process = lines[:4]
    until, now = integer(facts.files.get(f"{GUARD}/until", "")), integer(uptime)
    if until is None or now is None or boot != facts.word("guard-boot"):
        return Standing(run, owner or "another labrun", None, process)
    return Standing(run, owner, until - now, process)


def rolled_back(facts: Facts, run: str) -> RolledBack | None:
    """Return the host's report of rolling back ``run``; None if it did not."""
    for path in RECORDS:
        first, *lines = [line.strip() for line in facts.files.get(path, "").splitlines()] or [""]
        name, _, occasion = first.partition(" ")
        if run and name == run:
            kept = tuple(line for line in lines if line and line != _GOES_ON)
            return RolledBack(occasion or "unknown", kept, _GOES_ON in lines)
    return None


def goes_back(facts: Facts, run: str) -> bool:
    """Tell whether a gather found a rollback, done or in progress, so it says nothing about the change."""
    return rolled_back(facts, run) is not None or not facts.words.isdisjoint(_GOING)


def refusal(answer: Facts) -> str | None:
    """Return why the guard was not armed, so that nothing was changed; None if it was armed."""
    armed = answer.commands.get("guard")
    if armed is None or armed.status == 0:
        return None
    held = answer.word("guard-held")
    if held is not None:
        left, _, owner = held.partition(" ")
        return str(Standing("", owner, integer(left) or 0))
    return _checkpoint(answer) or f"the guard cannot be armed: {_reason(armed)}"


def _reason(armed: Captured) -> str:
    """Return what went wrong; a shell says of a full disk no more than that it could not write."""
    if _NO_WRITE.search(armed.last_line):
        return "its files cannot be written: no space is left on the device, or it has failed"
    return armed.last_line


def _checkpoint(answer: Facts) -> str | None:
    """Return what keeps NetworkManager from making a checkpoint, as far as it reports that."""
    checkpoints = answer.commands.get("checkpoints")
    uptime = integer(answer.word("guard-uptime"))
    if checkpoints is None or checkpoints.status != 0 or uptime is None:
        return None
    try:
        left = [seconds - uptime for seconds in _checkpoint_ends(checkpoints.text)]
    except (UnreadableError, ValueError, KeyError, TypeError):
        return None
    if not left:
        return None
    return f"another tool holds a checkpoint of NetworkManager for {max(left):.0f} s more"


def _checkpoint_ends(text: str) -> Iterator[float]:
    """Yield when each checkpoint expires, in seconds since boot."""
    what = "NetworkManager"
    (objects,) = as_list(as_object(read_json(text, what), what)["data"], what)
    for interfaces in as_object(objects, what).values():
        for name, properties in as_object(interfaces, what).items():
            if name == "org.freedesktop.NetworkManager.Checkpoint":
                yield properties["Created"]["data"] / 1000 + properties["RollbackTimeout"]["data"]
