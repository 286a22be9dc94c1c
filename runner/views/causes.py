"""What is wrong, each cause once, with the rows that only follow from it and what mends it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from labrun.outcome import HYPERVISOR, OUT_OF_BAND, Nic, Outcome, Pair, Status
from labrun.runner.views.status_look import look
from labrun.tasks.state.sections import (
    ADDRESS,
    HOSTNAME,
    MACHINE,
    NMCLI,
    PATH,
    ROUTE,
    Scope,
    section_of,
)

__all__ = ["Cause", "causes", "changed_values"]

_Key = tuple[str, str, str]  # host, section, name of a row; or host, "", what is wrong there
_MOST_HOSTS = 8
_FEW = 3  # more things of one section on one host are said as one


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause: on ``hosts``, in the words of ``what``, with the worst ``status`` of its own rows.

    ``rows`` are about the cause itself, ``effects`` only follow from it. ``by_hand`` are commands for a root
    shell of ``at``, ``command`` is labrun's own that mends it, ``of_hosts`` if it takes the hosts as an
    option; both may be empty.
    """

    hosts: tuple[str, ...]
    what: str
    status: Status
    rows: tuple[Outcome, ...] = ()
    effects: tuple[Outcome, ...] = ()
    by_hand: tuple[str, ...] = ()
    at: str = ""
    command: str = ""
    of_hosts: bool = False

    @property
    def hosts_option(self) -> str:
        """Return ``--hosts`` with the hosts; of many, nothing: then all hosts are meant."""
        return f" --hosts {','.join(self.hosts)}" if 0 < len(self.hosts) <= _MOST_HOSTS else ""

    @property
    def labrun(self) -> str:
        """Return the command of labrun's that mends it, empty for none."""
        return self.command + (self.hosts_option if self.of_hosts else "")

    @property
    def count(self) -> int:
        """Return how many rows it stands for."""
        return len(self.rows) + len(self.effects)


@dataclass(slots=True)
class _Group:
    host: str
    section: str
    what: str
    rows: list[Outcome] = field(default_factory=list)
    effects: list[Outcome] = field(default_factory=list)
    by_hand: tuple[str, ...] = ()
    is_fault: bool = True


def causes(rows: Iterable[Outcome], existing: Collection[str] = ()) -> list[Cause]:
    """Return the causes of all rows that need attention, the worst first, then those with most effects.

    ``existing`` are machines that labrun did not make: they have no console of its own.
    A row follows from another one by its fault, by what its section follows from, or because its host does
    not answer; no text is parsed for that.
    """
    bad = {_key(row): row for row in rows if not look(row.status).is_good}
    groups: dict[_Key, _Group] = {}
    for row in bad.values():
        origin = _origin(row, bad)
        group = groups.get(origin) or groups.setdefault(origin, _group(origin, row, bad))
        (group.rows if _key(row) == origin or _is_own(row, group) else group.effects).append(row)
    found = [_cause(group, existing) for group in _by_section(groups.values())]
    return sorted(_across_hosts(found), key=lambda each: (look(each.status).rank, -each.count))


def _key(row: Outcome) -> _Key:
    return row.host, row.section, row.name


def _origin(row: Outcome, bad: Mapping[_Key, Outcome]) -> _Key:
    """Return the key of what a row follows from in the end: its own key if it follows from nothing."""
    seen: set[_Key] = set()
    while (key := _key(row)) not in seen:
        seen.add(key)
        above = _above(row, bad)
        if above is None or above not in bad:
            return above or key
        row = bad[above]
    return key


def _above(row: Outcome, bad: Mapping[_Key, Outcome]) -> _Key | None:
    """Return what a row follows from: another row, or a fault without one; None for nothing else."""
    machine = (row.host, MACHINE.name, row.host)
    if row.status is Status.UNREACHABLE and row.fault is None and row.why:
        # Out of band, or from a history that has no faults.
        return machine if machine in bad and row.section != MACHINE.name else (row.host, "", _reason(row))
    fault = row.fault
    if fault is not None and fault.host is not None:
        machine = (fault.host, MACHINE.name, fault.host)
        own = (fault.host, fault.section, fault.name)
        if own in bad and own != _key(row):
            return own
        if row.status is Status.UNREACHABLE and machine in bad:
            return machine
        return (fault.host, "", fault.what)
    if row.section == PATH.name and row.why:
        return ("", "", fault.what if fault is not None else row.why)
    return _setting_above(row, bad)


def _reason(row: Outcome) -> str:
    return (row.why or "").removesuffix(f"; {OUT_OF_BAND}")


def _setting_above(row: Outcome, bad: Mapping[_Key, Outcome]) -> _Key | None:
    """Return the setting of the same host that an address or a route follows from, if that is wrong too."""
    if row.section not in (ADDRESS.name, ROUTE.name):
        return None
    settings = [key for key in bad if key[0] == row.host and key[1] == NMCLI.name]
    if isinstance(row.subject, Nic):
        settings = [key for key in settings if key[2] == row.subject.name]
    return settings[0] if settings else None


def _group(origin: _Key, row: Outcome, bad: Mapping[_Key, Outcome]) -> _Group:
    host, section, _ = origin
    if origin in bad:
        return _Group(host, section, _said(bad[origin]), by_hand=bad[origin].by_hand, is_fault=False)
    fault = row.fault
    if fault is None or (fault.host or "", fault.what) != (host, origin[2]):
        return _Group(host, "", origin[2])
    return _Group(host, fault.section, origin[2], by_hand=fault.by_hand)


def _is_own(row: Outcome, group: _Group) -> bool:
    """Tell whether a row of a silent host only says again that it is silent."""
    return group.is_fault and row.host == group.host and row.status is Status.UNREACHABLE


def _said(row: Outcome) -> str:
    """Return what is wrong about one thing, in one line and without its host."""
    label = _label(row)
    change = changed_values(row)
    why = f"; {_reason(row)}" if row.why and row.why != OUT_OF_BAND else ""
    if change is not None:
        return f"{label} {change[0]} -> {change[1]}{why}"
    if row.actual and row.expected and row.actual != row.expected:
        return f"{label} is {row.actual}, expected {row.expected}{why}"
    if row.actual and not row.why:
        return f"{label}: {row.actual}"
    return f"{label}: {_reason(row) or row.status.value}"


def _label(row: Outcome) -> str:
    section = section_of(row.section)
    if section.scope is Scope.HOST and section.verified and section.name not in (ADDRESS.name, ROUTE.name):
        return row.name
    if row.name in ("", row.section, row.host) or row.section == HOSTNAME.name:
        return row.section
    return f"{row.section} {row.short_name}"


def changed_values(row: Outcome) -> tuple[str, str] | None:
    """Return a row's value before and after its change, None if its values do not say.

    What drifted was changed on the host, what is pending or planned will be, what is ``changed`` was.
    """
    if section_of(row.section).scope is Scope.LAB and row.status is not Status.DRIFTED:
        return None  # libvirt's objects have words, such as `created`, and not values
    before: str | None
    after: str | None
    if row.status is Status.CHANGED:
        if row.before is None:
            return None
        before, after = row.before, row.actual
    elif row.status is Status.DRIFTED:
        before, after = row.expected, row.actual
    elif row.status in (Status.PENDING, Status.WOULD_CHANGE, Status.ROLLED_BACK):
        before, after = row.actual, row.expected
    else:
        return None
    return (before or "none", after or "none") if before != after and (before or after) else None


def _by_section(groups: Iterable[_Group]) -> Iterator[_Group]:
    """Yield the groups, many things of one section on one host as one."""
    by_section: dict[tuple[str, str, Status], list[_Group]] = {}
    for number, group in enumerate(groups):
        status = group.rows[0].status if group.rows else Status.FAILED
        alone = group.is_fault or section_of(group.section).scope is not Scope.HOST
        by_section.setdefault((group.host, str(number) if alone else group.section, status), []).append(group)
    for members in by_section.values():
        if len(members) <= _FEW:
            yield from members
            continue
        section, status = members[0].section, members[0].rows[0].status
        words = {Status.FAILED: "not as declared", Status.WOULD_CHANGE: "not as declared yet"}
        merged = _Group(
            members[0].host,
            section,
            f"{len(members)} {section} settings are {words.get(status, status.value)}",
            is_fault=False,
        )
        for group in members:
            merged.rows += group.rows
            merged.effects += group.effects
        yield merged


def _cause(group: _Group, existing: Collection[str]) -> Cause:
    own = group.rows or group.effects
    status = min((row.status for row in own), key=lambda status: look(status).rank)
    cause = Cause(
        (group.host,) if group.host else (),
        group.what,
        status,
        tuple(group.rows),
        tuple(group.effects),
        group.by_hand,
        group.host,
    )
    command, of_hosts = _command(cause, group.section, existing)
    return replace(cause, command=command, of_hosts=of_hosts)


def _command(cause: Cause, section: str, existing: Collection[str]) -> tuple[str, bool]:
    """Return labrun's own command for it, and whether it takes hosts."""
    host, scope = cause.at, section_of(section).scope
    if section and cause.status is Status.WARNING:
        return "", False
    if scope is Scope.LAB:
        return "labrun up", host != HYPERVISOR
    if section and scope is Scope.HOST and host:
        drifted = cause.status is Status.DRIFTED
        return ("labrun drift --fix", False) if drifted else ("labrun configure", True)
    if not section and cause.status is Status.UNREACHABLE:
        # The user's own ssh, which says itself what it meets, and may have other keys or a password.
        return f"labrun {'ssh' if host in existing else 'console'} {host}", False
    pair = next((row.subject for row in (*cause.rows, *cause.effects) if isinstance(row.subject, Pair)), None)
    return (f"labrun verify --pair {pair.source}:{pair.target}" if pair is not None else "", False)


def _across_hosts(found: Sequence[Cause]) -> list[Cause]:
    """Return the causes, the same thing on several hosts as one."""
    merged: dict[tuple[str, ...], Cause] = {}
    for each in found:
        # What is said about a path or of a silent host is about that one alone.
        alone = not each.rows or not each.rows[0].section or isinstance(each.rows[0].subject, Pair)
        section = each.at if alone else each.rows[0].section
        key = (each.what, each.status.value, str(alone), section)
        before = merged.get(key)
        merged[key] = each if before is None else _both(before, each)
    return list(merged.values())


def _both(one: Cause, other: Cause) -> Cause:
    hosts = (*one.hosts, *other.hosts)
    return replace(
        one,
        hosts=hosts,
        rows=one.rows + other.rows,
        effects=one.effects + other.effects,
        by_hand=one.by_hand if one.by_hand == other.by_hand else (),
    )
