"""What a host says of its guard: who holds it, for how long, what it took back, why it was not armed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labrun.bounded import as_list, as_object, integer, read_json
from labrun.errors import UnreadableError
from labrun.tasks.configure.guard_script import DIRECTORY, RECORD
from labrun.tasks.configure.shell import Facts

__all__ = ["Standing", "refusal", "standing", "took_back"]

# Undoing itself takes a while; only then nobody can be expected to end what was begun (seconds).
_GRACE = 30


@dataclass(frozen=True, slots=True)
class Standing:
    """A guard that stands in the guest: whose it is and how many seconds are left to confirm.

    ``remaining`` is below 0 when its time is over, None when it is from before a restart of the host.
    """

    run: str
    owner: str
    remaining: int | None

    @property
    def is_left_over(self) -> bool:
        """Tell whether nobody will end it any more."""
        return self.remaining is None or self.remaining < -_GRACE

    def __str__(self) -> str:
        left = max(0, self.remaining or 0)
        return f"{self.owner} changes this host and has {left} s left to confirm that"


def standing(facts: Facts) -> Standing | None:
    """Return the guard that a gather found, None where there is none."""
    uptime = facts.word("guard-uptime")
    if uptime is None:
        return None
    lines = [*facts.files.get(f"{DIRECTORY}/owner", "").splitlines(), "", "", ""]
    run, owner, boot = lines[:3]
    until, now = integer(facts.files.get(f"{DIRECTORY}/until", "")), integer(uptime)
    if until is None or now is None or boot != facts.word("guard-boot"):
        return Standing(run, owner or "another labrun", None)
    return Standing(run, owner, until - now)


def took_back(facts: Facts, run: str) -> str | None:
    """Return on what occasion the host took back what ``run`` changed; None where it did not."""
    found, _, occasion = facts.files.get(RECORD, "").strip().partition(" ")
    return (occasion or "unknown") if run and found == run else None


def refusal(said: Facts) -> str | None:
    """Return why the guard was not armed, so that nothing was changed; None where it was."""
    armed = said.commands.get("guard")
    if armed is None or armed.status == 0:
        return None
    held = said.word("guard-held")
    if held is not None:
        left, _, owner = held.partition(" ")
        return str(Standing("", owner, integer(left) or 0))
    return _checkpoint(said) or f"the guard cannot be armed: {armed.last_line}"


def _checkpoint(said: Facts) -> str | None:
    """Return who keeps NetworkManager from making a checkpoint, as far as it says."""
    found = said.commands.get("checkpoints")
    uptime = integer(said.word("guard-uptime"))
    if found is None or found.status != 0 or uptime is None:
        return None
    try:
        left = [seconds - uptime for seconds in _checkpoint_ends(found.text)]
    except (UnreadableError, ValueError, KeyError, TypeError):
        return None
    if not left:
        return None
    return f"another tool holds a checkpoint of NetworkManager for {max(left):.0f} s more"


def _checkpoint_ends(text: str) -> Iterator[float]:
    """Yield when each checkpoint ends, in seconds since the host came up."""
    what = "NetworkManager"
    (objects,) = as_list(as_object(read_json(text, what), what)["data"], what)
    for interfaces in as_object(objects, what).values():
        for name, each in as_object(interfaces, what).items():
            if name == "org.freedesktop.NetworkManager.Checkpoint":
                yield each["Created"]["data"] / 1000 + each["RollbackTimeout"]["data"]
