"""Resolve ``--hosts a,b,@group`` to hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from labrun.errors import UsageError
from labrun.inventory.file.problems import did_you_mean
from labrun.inventory.topology.groups import group_members

if TYPE_CHECKING:
    from labrun.inventory.model import Lab

__all__ = [
    "complete_expression",
    "complete_host",
    "group_members",
    "lab_for_completion",
    "require_host",
    "select_hosts",
]


def select_hosts(lab: Lab, expression: str | None) -> tuple[str, ...]:
    """Return the selected hosts in file order, all of them for None.

    Raises UsageError that lists every unknown host and group, with the nearest known name.
    """
    if expression is None:
        return tuple(lab.hosts)
    words = [word.strip() for word in expression.split(",") if word.strip()]
    groups = group_members(lab)
    unknown = [word for word in dict.fromkeys(words) if not _is_known(word, lab.hosts, groups)]
    if unknown:
        raise UsageError(
            "; ".join(_complaint(word, lab.hosts, groups) for word in unknown),
            step="--hosts",
            hint=f"the lab has {_listing(lab.hosts)}" if lab.hosts else "the lab has no hosts",
        )
    chosen: set[str] = set()
    for word in words:
        chosen.update(groups[word[1:]] if word.startswith("@") else (word,))
    if not chosen:
        raise UsageError("names no host", step="--hosts", hint="leave it out to mean all hosts")
    return tuple(name for name in lab.hosts if name in chosen)


def require_host(lab: Lab, name: str) -> None:
    """Raise UsageError, with the nearest name, unless the lab has a host of this name; a group is none."""
    if name not in lab.hosts:
        guess = did_you_mean(name, lab.hosts)
        known = f"the lab has {_listing(lab.hosts)}" if lab.hosts else "the lab has no hosts"
        raise UsageError(f'unknown host "{name}"{f" ({guess})" if guess else ""}', hint=known)


def _is_known(word: str, hosts: Iterable[str], groups: Iterable[str]) -> bool:
    return word[1:] in groups if word.startswith("@") else word in hosts


def _complaint(word: str, hosts: Iterable[str], groups: Iterable[str]) -> str:
    kind = "group" if word.startswith("@") else "host"
    # A group without its @ is a better match than any other spelling.
    if word in groups:
        known = [f"@{word}"]
    else:
        known = [f"@{group}" for group in groups] if kind == "group" else list(hosts)
    hint = did_you_mean(word, known)
    return f'unknown {kind} "{word}"{f" ({hint})" if hint else ""}'


def _listing(names: Iterable[str], limit: int = 12) -> str:
    words = list(names)
    more = f" and {len(words) - limit} more" if len(words) > limit else ""
    return ", ".join(words[:limit]) + more


def complete_expression(ctx: Any, incomplete: str) -> list[str]:
    """Return completions of the last part of a ``--hosts`` expression, none if no lab can be loaded."""
    head, comma, last = incomplete.rpartition(",")
    taken = set(head.split(","))
    lab = lab_for_completion(ctx)
    if lab is None:
        return []
    names = [*lab.hosts, *(f"@{group}" for group in group_members(lab))]
    return [head + comma + name for name in names if name.startswith(last) and name not in taken]


def complete_host(ctx: Any, _param: Any, incomplete: str) -> list[str]:
    """Return completions of one host's name, for click's ``shell_complete``."""
    lab = lab_for_completion(ctx)
    return [name for name in lab.hosts if name.startswith(incomplete)] if lab else []


def lab_for_completion(ctx: Any) -> Lab | None:
    """Return the lab of a command line that is still being typed, None if there is none to be read."""
    from labrun.errors import LabrunError
    from labrun.runner.cli.lab_file import lab_path

    try:
        from labrun.inventory.file.lab_cache import remembered_lab

        path = lab_path(_given_lab(ctx))
        return None if path == "-" else remembered_lab(path)
    except (LabrunError, OSError):
        return None


def _given_lab(ctx: Any) -> str | None:
    """Return ``--lab`` of a command line that is still being typed, from the innermost level that has one."""
    while ctx is not None:
        if (given := ctx.params.get("lab")) is not None:
            return str(given)
        ctx = ctx.parent
    return None
