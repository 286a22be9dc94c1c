"""What a guest runs to roll back a change by itself unless it is confirmed: arm, confirm, trigger.

The shell code is under ``templates/guest``. The guard consists of one directory on the guest's disk and one
in memory, where creating the file ``decided`` settles the outcome: the first to make it confirms or undoes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from labrun.tasks.configure.plan import HostPlan, SectionPlan
from labrun.tasks.guest.facts.guard import GUARD, LIVE
from labrun.tasks.guest.scripts import (
    assigned,
    function,
    guest_script,
    openrc_service,
    quote,
    unit_file,
    words,
)
from labrun.tasks.guest.shell import section
from labrun.tasks.state.sections import FIREWALL, NAT, NMCLI

__all__ = [
    "UNIT",
    "GuardToken",
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
# The time for arming and a change beyond what the sections declare (seconds).
_SPARE = 20
# The kernel copies values of `all` and `default` to each interface, under the same name.
_SPREADING = re.compile(r"net[./]ipv[46][./]conf[./](?:all|default)[./](\w+)")
# Forwarding has two names, and also changes accept_redirects.
_FORWARDING = ("ip_forward", "forwarding", "accept_redirects")

# What the guard of the whole system consists of, beside that of settings.
_WIDE = (
    *("sshd_reload", "trees", "outside", "outside_units", "hidden", "boot_chain"),
    *("openrc_sshd", "outside_openrc"),
)
_REHEARSAL = (
    *("sshd_reload", "services_openrc", "openrc_boot", "vital"),
    *("rehearse_boot", "openrc_sshd", "rehearse_openrc", "rehearse"),
)

# A daemon-reload is not needed: systemd reads the unit at boot. After a reload by others, starting any
# service would start this too, because sysinit.target wants it: hence its check of the directory in memory.
_BOOT_UNIT = unit_file("labrun-guard.service")
_BOOT_SERVICE = openrc_service("labrun-guard")


@dataclass(frozen=True, slots=True)
class GuardToken:
    """The owner of a change: the run's ID, the name shown to other runs, how long to wait.

    ``process`` identifies the controlling process to later ones on the same machine. ``seconds`` count from
    the end of the change, which may take ``applying`` seconds at most. ``user`` is the login user.
    With ``reboots`` the host reboots if it has rolled back and is still cut off.
    """

    run: str
    owner: str
    seconds: int
    applying: int
    process: str = ""
    user: str = "root"
    reboots: bool = False


def guarded(plan: HostPlan) -> tuple[SectionPlan, ...]:
    """Return the sections that change something and can be undone, in the order they are applied.

    Empty if all changes are harmless.
    """
    parts = tuple(part for part in plan.sections if part.apply and part.undo)
    return () if all(part.harmless for part in parts) else parts


def is_wide(plan: HostPlan) -> bool:
    """Tell whether the change runs code that labrun did not write, so anything may change with it."""
    return any(part.wide for part in guarded(plan))


def applying_seconds(token: GuardToken, plan: HostPlan) -> int:
    """Return how long making this change may take."""
    return min(token.applying, _SPARE + sum(part.seconds for part in guarded(plan)))


def _settled(values: Mapping[str, str | int | bool]) -> str:
    """Return the assignments, with the places of the guard where the guest's init looks for them."""
    return assigned(values) + guest_script("guard_places")


def _state_script(token: GuardToken, plan: HostPlan, rules: bool) -> str:
    """Return the first part of the script that undoes: its values, and how the host's state is listed."""
    values: dict[str, str | int | bool] = {
        "run": token.run,
        "seconds": token.seconds,
        "applying": applying_seconds(token, plan),
        "resort": "reboot" if token.reboots else "leave",
        "sections": " ".join(part.section for part in guarded(plan)[::-1]),
        "wide": is_wide(plan),
        "rules": rules,
        **_PLACES,
    }
    # Whole folders are only kept, and restored, if anything may have changed in them.
    wide = "".join(map(guest_script, _WIDE)) if is_wide(plan) else ""
    return (
        f"# labrun: rolls back what run {token.run} changed on this host, unless that is confirmed.\n"
        'export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"\n'
        f"{_settled(values)}{guest_script('snapshot')}{wide}"
    )


def _undo_script(plan: HostPlan) -> str:
    """Return the second part of the script that undoes."""
    parts = guarded(plan)
    kernel = [
        f"printf '%s\\n' {quote(value)} >{quote(path)}" for part in parts[::-1] for path, value in part.kernel
    ]
    own = "\n".join(['[ "$on" = live ] || return 0', *kernel]) if kernel else ""
    functions = "".join(function(f"undo_{part.section}", part.undo) for part in parts)
    rest = "".join(map(guest_script, ("put_back", "afterwards", "guard")))
    return f"{guest_script('compare')}{function('kernel_own', own)}{functions}{rest}"


def arm(token: GuardToken, plan: HostPlan) -> str:
    """Return shell text that arms the guard, or ends the script with nothing changed and the reason.

    It is the section ``guard``; the frame ``guard-held`` reports that another guard is armed. If
    nothing can be undone there is nothing to arm.
    """
    parts = guarded(plan)
    if not parts:
        return ""
    changed = {name for part in parts for name in (part.section, *(item.name for item in part.changes))}
    wide = is_wide(plan)
    values: dict[str, str | int | bool] = {
        "run": token.run,
        "owner": token.owner,
        "process": token.process,
        "seconds": token.seconds,
        "applying": applying_seconds(token, plan),
        "user": token.user,
        "wide": wide,
        "nft": wide or bool(changed & {FIREWALL.name, NAT.name}),
        "spread": " ".join(dict.fromkeys(spreading(parts))),
        "checkpoint": any(part.checkpoint for part in parts),
        "state_text": _state_script(token, plan, rules=wide or NMCLI.name in changed),
        "undo_text": _undo_script(plan),
        "unit_text": _BOOT_UNIT,
        "init_text": _BOOT_SERVICE,
        **_PLACES,
    }
    keep_all = function("keep_all", _keep(path for part in parts for path in part.saves))
    vital = "".join(map(guest_script, ("services_openrc", "openrc_boot", "vital"))) if wide else ""
    lines = f"{_settled(values)}{keep_all}{vital}{guest_script('arm')}"
    text = f"{guest_script('own_process')}{section('guard', lines)}"
    mark = f"export LABRUN_CHANGE={quote(token.run)}\n"
    return f"{text}[ $status -eq 0 ] || {{\n{_give_up(token)}frame end; exit 0; }}\n{mark}"


def spreading(parts: Iterable[SectionPlan]) -> Iterator[str]:
    """Yield the names of the kernel parameters that follow the ones being changed."""
    for name in (item.name for part in parts if part.section == "sysctl" for item in part.changes):
        found = _SPREADING.fullmatch(name)
        if found is not None:
            yield found[1]
        if name.endswith(("ip_forward", "forwarding")):
            yield from _FORWARDING


def _keep(paths: Iterable[str]) -> str:
    """Return calls of the function passed as argument, one per folder of these files."""
    split = sorted({path.rpartition("/")[::2] for path in paths})
    return "".join(
        f'"$1" {words((folder, *(name for _, name in group)))}\n'
        for folder, group in groupby(split, key=lambda each: each[0])
    )


def _give_up(token: GuardToken) -> str:
    """Return shell text that reports why the guard could not be armed and removes its traces."""
    tidy = function("tidy", guest_script("tidy"))
    return f"{_settled({'run': token.run, **_PLACES})}{tidy}{guest_script('arm_refused')}"


def nothing_more(token: GuardToken, plan: HostPlan) -> str:
    """Return shell text for the end of the changes: it starts the time to confirm."""
    if not guarded(plan):
        return ""
    rehearsal = "".join(map(guest_script, _REHEARSAL)) if is_wide(plan) else ""
    return f"{assigned({'guard': GUARD, 'seconds': token.seconds})}{rehearsal}{guest_script('changed')}"


def confirm(run: str, record: str) -> str:
    """Return shell text that makes the change of ``run`` permanent, unless it was undone already.

    It is the section ``confirm``: status 0 = confirmed. ``record`` is shell text that records the change.
    """
    lines = (
        f"{_settled({'run': run, **_PLACES})}{guest_script('confirm')}set +e\n{guest_script('tidy')}exit 0"
    )
    return f"{section('confirm', lines)}if [ $status -eq 0 ]; then\n{section('record', record)}fi\n"


def trigger(occasion: str, run: str) -> str:
    """Return shell text that undoes ``run`` in a separate process, since that may cut the session.

    ``occasion`` is ``now``, or ``again`` for a leftover guard.
    """
    return _settled({"occasion": occasion, "run": run, **_PLACES}) + guest_script("trigger")
