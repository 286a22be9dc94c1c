"""What OpenRC, and the init that starts it, would no longer do at the next boot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from labrun.errors import CommandError
from labrun.tasks.guest.facts.links import links
from labrun.tasks.guest.shell import Facts

__all__ = ["call_faults", "missing_faults"]

# Of ifup: they change what it prints only.
_WORDS = frozenset({"-v", "--verbose"})
_EXCEPT = ("-X", "--exclude")


def missing_faults(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Yield the service that a boot starts and that needs from now on what does not exist.

    Both map a service to its properties, of which ``Missing`` names what it, or what it needs, lacks.
    """
    for key, service in now.items():
        lacks = set(service.get("Missing", "").split()) - set(before.get(key, {}).get("Missing", "").split())
        if lacks and before.get(key, {}).get("UnitFileState") == "enabled":
            names = ", ".join(sorted(lacks))
            yield f"{service['Id']} would not start at the next boot: it needs {names}, which is not there"


def call_faults(facts: Facts, address: str | None) -> Iterator[str]:
    """Yield the call of OpenRC or ifup that a boot made before the change and would not make any more.

    ``address`` is the one of the new login: ifup may leave out other NICs than its.
    """
    now = facts.commands.get("boot-calls-now")
    if now is None:
        return
    needed = _interfaces(facts, address)
    left = Counter(_call(line, needed) for line in now.text.splitlines())
    for line in facts.lines("boot-calls-before"):
        call = _call(line, needed)
        if not left[call]:
            yield f"the next boot would no longer run `{line.strip()}`"
        left[call] -= 1


def _interfaces(facts: Facts, address: str | None) -> tuple[str, ...]:
    """Return the NIC with this address; empty, for none known, counts each exclusion."""
    if address is None:
        return ()
    try:
        found = links(facts)
    except CommandError:
        return ()
    wanted = address.partition("%")[0]
    return tuple(link.name for link in found if any(str(each.ip) == wanted for each in link.addresses))


def _call(line: str, needed: tuple[str, ...]) -> tuple[str, ...]:
    """Return a call without the words that make no difference to the NICs ``needed``."""
    words: list[str] = []
    given = iter(line.split())
    for word in given:
        if word in _EXCEPT:
            pattern = next(given, "")
            if needed and pattern and not any(fnmatchcase(name, pattern) for name in needed):
                continue
            words += [word, pattern]
        elif word not in _WORDS:
            words.append(word)
    return tuple(words)
