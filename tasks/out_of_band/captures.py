"""What was seen out of band, as the capture of a host that labrun could not log in to, and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labrun.errors import CommandError
from labrun.inventory.model import Lab
from labrun.outcome import OUT_OF_BAND
from labrun.tasks.collect.capture import Capture, Unreachable, read_capture
from labrun.tasks.guest.facts.login import LoginState, login_state
from labrun.tasks.guest.reason import Reason
from labrun.tasks.guest.shell import Facts
from labrun.tasks.judging import guarded, understood
from labrun.tasks.out_of_band.console_reasons import console_reasons
from labrun.tasks.out_of_band.look import Glimpse
from labrun.tasks.out_of_band.network_reasons import hypervisor_reasons
from labrun.tasks.out_of_band.seen import Seen
from labrun.tasks.out_of_band.why import why_unreachable

__all__ = ["captures_from_inside", "reason_in", "told"]


def reason_in(lab: Lab, glimpse: Glimpse) -> Reason | None:
    """Return why labrun cannot log in to the host, None if nothing that was seen shows it."""
    if glimpse.reason:
        return Reason(glimpse.reason)
    if glimpse.inside is None:
        return _from_outside(lab, glimpse)
    raw = glimpse.inside
    try:
        capture = understood("what it shows inside", lambda: read_capture(raw))
        login = understood("what it shows inside", lambda: login_state(capture.facts))
    except CommandError as error:
        return Reason(f"what it shows inside cannot be read: {error.reason}", is_sure=False)
    return why_unreachable(Seen(lab, glimpse.attempt, capture, login, glimpse.outside))


def _from_outside(lab: Lab, glimpse: Glimpse) -> Reason | None:
    """Return what the hypervisor's side alone shows."""
    nothing = Capture(links={}, routes=(), facts=Facts())
    seen = Seen(lab, glimpse.attempt, nothing, LoginState(), glimpse.outside)
    reasons = (*hypervisor_reasons(seen), *console_reasons(glimpse.console, glimpse.outside.read))
    return next((each for each in reasons if each.is_sure), next(iter(reasons), None))


def told(lab: Lab, glimpse: Glimpse) -> str:
    """Return the reason as rows show it: what was seen inside, and what SSH said."""
    reason = reason_in(lab, glimpse)
    error, hint = glimpse.attempt.error, glimpse.attempt.hint
    if reason is not None:
        return f"{reason.text}; {OUT_OF_BAND}, over SSH: {error}"
    error += f" ({hint})" if hint else ""
    if glimpse.attempt.address is None and glimpse.inside is not None:
        return f"{error}; {OUT_OF_BAND}"  # the lab file itself leaves no way to it
    return f"{error}; out of band: {glimpse.failure or 'nothing that explains it'}"


def captures_from_inside(lab: Lab, glimpses: Mapping[str, Glimpse]) -> dict[str, Capture | Unreachable]:
    """Return, for each host that was looked at, what its rows are judged by: its capture, or only why."""
    return {host: _capture(lab, host, glimpse) for host, glimpse in glimpses.items()}


def _capture(lab: Lab, host: str, glimpse: Glimpse) -> Capture | Unreachable:
    (why,) = guarded(host, lambda: [told(lab, glimpse)], lambda why: [f"{glimpse.attempt.error}; {why}"])
    silence = Unreachable(why)
    raw = glimpse.rows
    if raw is None:
        return silence
    try:
        capture = understood("what it shows inside", lambda: read_capture(raw))
    except CommandError:
        return silence
    return replace(_with_paths(capture, glimpse.paths), out_of_band=silence)


def _with_paths(capture: Capture, raw: Mapping[str, Any] | None) -> Capture:
    """Return the capture with traces, pings and checks, as far as there was time for them."""
    if raw is None:
        return capture
    try:
        paths = understood("what it shows inside", lambda: read_capture(raw))
    except CommandError:
        return capture
    return replace(
        capture, traces=paths.traces, pings=paths.pings, checks=paths.checks, evidence=paths.evidence
    )
