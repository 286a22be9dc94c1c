"""Ways in besides keys, which the profiles do not name because sshd has them closed by itself.

Whatever file, block or option opens one, for all or for some, there is a row of it, unless the lab file
sets that keyword: then it is compared like all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from labrun.tasks.configure.sshd_match import Reopened, named
from labrun.tasks.guest.facts.sshd import is_as_strict
from labrun.tasks.state.item import Item

__all__ = ["closed_by_itself", "opened"]

_CLOSED = {
    # Another machine vouches for the user.
    "hostbasedauthentication": ("HostbasedAuthentication", "no"),
    # Passwords, through a key distribution centre.
    "kerberosauthentication": ("KerberosAuthentication", "no"),
    # What a user's file sets may replace the command that a key is restricted to.
    "permituserenvironment": ("PermitUserEnvironment", "no"),
    # Others could write to a user's file of keys.
    "strictmodes": ("StrictModes", "yes"),
}


def closed_by_itself(declared: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return these keywords with the values that sshd has by itself, without those of the lab file."""
    return {key: (value,) for key, (_, value) in _CLOSED.items() if key not in declared}


def opened(
    closed: Mapping[str, Sequence[str]],
    effective: Mapping[str, Sequence[str]],
    blocks: Mapping[str, Sequence[Reopened]],
    options: Mapping[str, str],
) -> Iterator[Item]:
    """Yield a row for each of these keywords that is not closed for everyone.

    ``blocks`` and ``options`` are what Match blocks and options make of them, by keyword.
    """
    for key, (value,) in closed.items():
        actual, found = " ".join(effective.get(key, (value,))), blocks.get(key, ())
        keyword = _CLOSED[key][0]
        if not is_as_strict(key, value, actual):
            why = f"the lab file does not set it: remove it there, or set {keyword} {value} under `sshd`"
        elif found:
            actual = f"{actual} ({', '.join(f'{each.value} for {each.criteria}' for each in found)})"
            why = named(found)
        elif key in options:
            actual, why = f"{actual} ({options[key]})", f"{options[key]}: take it out there"
        else:
            continue
        yield Item(key, {"": value}, {"": actual}, refused=why)
