"""Why a host is unreachable: one judgement over all that was seen inside and by the hypervisor; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labrun.tasks.guest.reason import Reason
from labrun.tasks.judging import guarded
from labrun.tasks.out_of_band.filter_reasons import filter_reasons
from labrun.tasks.out_of_band.login_reasons import (
    boot_reasons,
    key_reasons,
    login_reasons,
    refusal,
    sshd_reasons,
)
from labrun.tasks.out_of_band.network_reasons import hypervisor_reasons, nic_reasons, way_back_reasons
from labrun.tasks.out_of_band.seen import Seen

__all__ = ["why_unreachable"]

_MOST_NAMES = 3

Judge = Callable[[Seen], Iterator[Reason]]


def _network(seen: Seen) -> Iterator[Reason]:
    for judge in (hypervisor_reasons, nic_reasons, way_back_reasons, filter_reasons):
        yield from judge(seen)


def _login(seen: Seen) -> Iterator[Reason]:
    yield from key_reasons(seen.attempt, seen.login)
    yield from login_reasons(seen.attempt, seen.login)


def _sshd(seen: Seen) -> Iterator[Reason]:
    yield from sshd_reasons(seen.attempt, seen.login)


def _boot(seen: Seen) -> Iterator[Reason]:
    yield from boot_reasons(seen.login)


def _first_boot(seen: Seen) -> Iterator[Reason]:
    trouble = seen.login.first_boot.trouble
    if trouble:
        yield Reason(trouble)


def _shortages(seen: Seen) -> Iterator[str]:
    """Yield what the host lacks, and what fails may fail for that alone."""
    if seen.login.full:
        yield f"no space is left on {' '.join(seen.login.full)}"
    killed = seen.outside.killed or seen.login.killed
    if killed:
        of = f" of {seen.outside.memory} MiB" if seen.outside.memory else ""
        # The last ones: what was killed first may have been tried again.
        names = " and ".join(dict.fromkeys(killed[-_MOST_NAMES:]))
        yield f"it has run out of its memory{of}: {names} {'was' if len(set(killed)) == 1 else 'were'} killed"


def why_unreachable(seen: Seen) -> Reason | None:
    """Return why the login failed, None if nothing that was seen explains it.

    Of each kind (network, sshd, login) the first cause counts, since the others may follow from it; what is
    certain goes before what is only possible. Several kinds are joined: each of them has to be fixed.
    Where another machine took the login, nothing inside this one can be the reason.
    """
    found: list[Reason] = []
    for judge in (_network,) if seen.has_impostor else (_boot, _network, _sshd, _login, _first_boot):
        reasons = guarded(seen.host, lambda judge=judge: judge(seen), lambda _why: ())  # type: ignore[misc]
        best = next((each for each in reasons if each.is_sure), None)
        if best is None and not found:
            best = next(iter(reasons), None)
        if best is not None:
            found.append(best)
    sure = [each for each in found if each.is_sure]
    if not sure:
        # What sshd itself says of a login is more certain than a rule that may have dropped it.
        said = refusal(seen.login) if not seen.attempt.refused else None
        possible = found[0] if found else said
        lacks = "; ".join(_shortages(seen))
        if possible is None:
            return Reason(lacks, is_sure=False) if lacks else None
        return Reason(f"{possible.text}; {lacks}", is_sure=False) if lacks else possible
    text = "; ".join((*(each.text for each in sure), *_shortages(seen)))
    # While the boot goes on, what is missing may come; so it may where a guest is too slow to tell.
    return Reason(text, is_sure=not (seen.login.is_booting or seen.login.is_slow))
