"""What a guest runs to take a change back by itself unless it is confirmed: arm, confirm, demand.

The shell itself is under ``templates/guest``. Everything the guard is lies in one directory of the guest, and
in one in its memory, where the file ``decided`` decides: whoever makes it first, to confirm or to undo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from labrun.tasks.configure.plan import HostPlan, SectionPlan
from labrun.tasks.guest.facts.guard import GUARD, LIVE
from labrun.tasks.guest.scripts import assigned, guest_script, unit_file
from labrun.tasks.guest.shell import quote, section
from labrun.tasks.state.sections import FIREWALL, NAT, NMCLI

__all__ = [
    "UNIT",
    "Ticket",
    "applying_seconds",
    "arm",
    "confirm",
    "guarded",
    "is_wide",
    "nothing_more",
    "spreading",
    "trigger",
]

UNIT = "/etc/systemd/system/labrun-guard.service"
_LINK = "/etc/systemd/system/sysinit.target.wants/labrun-guard.service"
_PLACES = {"guard": GUARD, "live": LIVE, "unit": UNIT, "link": _LINK}
_NM = "org.freedesktop.NetworkManager"
_OBJECTS = (
    f"busctl --auto-start=no --json=short call {_NM} "
    "/org/freedesktop org.freedesktop.DBus.ObjectManager GetManagedObjects"
)
# What arming and a change take beside what the sections say they need (seconds).
_SPARE = 20
# What is written for all interfaces, or for new ones, the kernel passes on to each, under the same name.
_SPREADING = re.compile(r"net[./]ipv[46][./]conf[./](?:all|default)[./](\w+)")
# Forwarding has two names, and makes a router's redirects of a host's.
_FORWARDING = ("ip_forward", "forwarding", "accept_redirects")

# No daemon-reload is needed: systemd reads it when it boots. Where somebody reloads before that, starting
# any service would start this too, because sysinit.target wants it: hence the look at what is in memory only.
_BOOT_UNIT = unit_file("labrun-guard.service")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose change it is: the run's ID, who says so to others, how long it waits.

    ``process`` names the controlling process for a later one of the same machine. ``seconds`` begin when
    the change has been made, for which ``applying`` seconds are allowed at most. ``user`` is who logs in.
    With ``reboots`` the host restarts itself where it went back and is cut off nevertheless.
    """

    run: str
    owner: str
    seconds: int
    applying: int
    process: str = ""
    user: str = "root"
    reboots: bool = False


def guarded(plan: HostPlan) -> tuple[SectionPlan, ...]:
    """Return the sections that change something and can be taken back, in the order they are applied.

    There are none where all that changes is harmless.
    """
    parts = tuple(part for part in plan.sections if part.apply and part.undo)
    return () if all(part.harmless for part in parts) else parts


def is_wide(plan: HostPlan) -> bool:
    """Tell whether the change runs what others wrote, so that anything on the host may change with it."""
    return any(part.wide for part in guarded(plan))


def applying_seconds(ticket: Ticket, plan: HostPlan) -> int:
    """Return how long making this change may take."""
    return min(ticket.applying, _SPARE + sum(part.seconds for part in guarded(plan)))


def _function(name: str, text: str) -> str:
    return f"{name}() {{\n:\n{text.rstrip()}\n}}\n"


def _undo_script(ticket: Ticket, plan: HostPlan) -> str:
    parts = guarded(plan)[::-1]
    kernel = [
        f"printf '%s\\n' {quote(value)} >{quote(path)}" for part in parts for path, value in part.kernel
    ]
    values: dict[str, str | int | bool] = {
        "run": ticket.run,
        "seconds": ticket.seconds,
        "applying": applying_seconds(ticket, plan),
        "resort": "reboot" if ticket.reboots else "leave",
        "sections": " ".join(part.section for part in parts),
        **_PLACES,
    }
    own = "\n".join(['[ "$on" = live ] || return 0', *kernel]) if kernel else ""
    functions = "".join(_function(f"undo_{part.section}", part.undo) for part in parts)
    return (
        f"# labrun: rolls back what run {ticket.run} changed on this host, unless that is confirmed.\n"
        'export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"\n'
        f"{assigned(values)}{guest_script('snapshot')}{guest_script('outside')}"
        f"{_function('kernel_own', own)}{functions}"
        f"{guest_script('put_back')}{guest_script('afterwards')}{guest_script('guard')}"
    )


def arm(ticket: Ticket, plan: HostPlan) -> str:
    """Return shell text that arms the guard, or ends the script with nothing changed and says why.

    It is the section ``guard``; the frame ``guard-held`` says that another guard stands there. Where
    nothing can be taken back there is nothing to arm.
    """
    parts = guarded(plan)
    if not parts:
        return ""
    changed = {name for part in parts for name in (part.section, *(item.name for item in part.changes))}
    wide = is_wide(plan)
    values: dict[str, str | int | bool] = {
        "run": ticket.run,
        "owner": ticket.owner,
        "process": ticket.process,
        "seconds": ticket.seconds,
        "applying": applying_seconds(ticket, plan),
        "user": ticket.user,
        "wide": wide,
        "rules": wide or NMCLI.name in changed,
        "nft": wide or bool(changed & {FIREWALL.name, NAT.name}),
        "spread": " ".join(dict.fromkeys(spreading(parts))),
        "checkpoint": NMCLI.name in changed,
        "undo_text": _undo_script(ticket, plan),
        "unit_text": _BOOT_UNIT,
        **_PLACES,
    }
    keep_all = _function("keep_all", _keep(path for part in parts for path in part.saves))
    vital = guest_script("vital") if wide else ""
    lines = f"{assigned(values)}{keep_all}{vital}{guest_script('arm')}"
    # Not $$: the script may be one of several that a shell runs, each in a process of its own.
    text = (
        'read -r self </proc/self/stat\nset -- ${self##*") "}\nself_start=${20}\n'
        f"{section('guard', lines)}"
    )
    mark = f"export LABRUN_CHANGE={quote(ticket.run)}\n"
    return f"{text}[ $status -eq 0 ] || {{\n{_give_up(ticket)}frame end; exit 0; }}\n{mark}"


def spreading(parts: Iterable[SectionPlan]) -> Iterator[str]:
    """Yield the names of the kernel's parameters that follow those which are to change."""
    for name in (item.name for part in parts if part.section == "sysctl" for item in part.changes):
        found = _SPREADING.fullmatch(name)
        if found is not None:
            yield found[1]
        if name.endswith(("ip_forward", "forwarding")):
            yield from _FORWARDING


def _keep(paths: Iterable[str]) -> str:
    """Return the calls of the function that is named as argument, one for each of the files' folders."""
    split = sorted({path.rpartition("/")[::2] for path in paths})
    return "".join(
        f'"$1" {" ".join(map(quote, (folder, *(name for _, name in group))))}\n'
        for folder, group in groupby(split, key=lambda each: each[0])
    )


def _tidy() -> str:
    """Return shell text that removes whatever the guard is made of."""
    return f"{assigned(_PLACES)}{guest_script('tidy')}"


def _give_up(ticket: Ticket) -> str:
    """Say why the guard could not be armed, as far as more can be known, and leave nothing of it."""
    return f"""\
if [ $status -eq 3 ]; then
{{ read -r run; read -r owner; }} <{GUARD}/owner
read -r until <{GUARD}/until
read -r up rest </proc/uptime; frame guard-held "$((until - ${{up%.*}})) $owner"
else
read -r run <{GUARD}/owner
if [ "$run" = {quote(ticket.run)} ]; then
[ ! -e {GUARD}/checkpoint ] || [ -s {GUARD}/checkpoint ] || {{
capture checkpoints {_OBJECTS}
read -r up rest </proc/uptime; frame guard-uptime "${{up%.*}}"; }}
( {_tidy()} ) >/dev/null
fi
fi 2>/dev/null
rm -rf {quote(f"{GUARD}.{ticket.run}")}
"""


def nothing_more(ticket: Ticket, plan: HostPlan) -> str:
    """Return shell text for the end of the changes: from now on the time to confirm runs."""
    if not guarded(plan):
        return ""
    rehearsal = f"{assigned({'guard': GUARD})}{guest_script('rehearse')}" if is_wide(plan) else ""
    return f"""\
{rehearsal}\
# A way that still works because it is remembered is none.
ip neigh flush all 2>/dev/null
if [ -e {GUARD}/armed ]; then
: >{GUARD}/applying
read -r up rest </proc/uptime; echo $((${{up%.*}} + 1 + {ticket.seconds})) >{GUARD}/until
mv {GUARD}/armed {GUARD}/changed
fi
"""


def confirm(run: str, record: str) -> str:
    """Return shell text that makes the change of ``run`` permanent, unless it was undone already.

    It is the section ``confirm``: status 0 = confirmed. ``record`` is what remembers the change.
    """
    lines = (
        f"{assigned({'run': run, **_PLACES})}{guest_script('confirm')}set +e\n{guest_script('tidy')}exit 0"
    )
    return f"{section('confirm', lines)}if [ $status -eq 0 ]; then\n{section('record', record)}fi\n"


def trigger(occasion: str, run: str) -> str:
    """Return shell text that has ``run`` undone, beside the session, which that may cut.

    ``occasion`` is ``now``, or ``again`` for a guard that is left over.
    """
    return f"""\
if [ -e {GUARD}/undo ]; then /bin/sh {GUARD}/undo {occasion} {quote(run)}
else rm -rf {GUARD} {UNIT} {_LINK} {LIVE}
fi
"""
