"""Carry out a change of a bridge: start its guard, follow it, and report what came of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.progress import report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import say

if TYPE_CHECKING:
    from labrun.tasks.host_bridge.guard import State
    from labrun.tasks.host_bridge.model import Change, Device

__all__ = ["SECTION", "carry_out", "state_of"]

SECTION = "host-bridge"


def carry_out(invocation: Invocation, change: Change, over: Device, within: int) -> Report:
    """Start the guard and follow it; ``over`` is the device that has the addresses now."""
    from labrun.tasks.host_bridge import guard
    from labrun.tasks.host_bridge.ways import ways_over

    logins = ways_over(over)
    with progress([HYPERVISOR], invocation), _noted_interruptions() as noted:
        guard.start(change, logins, within)
        state = _follow(change.bridge, logins.peers, noted)
    return Report(outcomes=[_result(change, state, invocation)])


@contextmanager
def _noted_interruptions() -> Iterator[list[int]]:
    """Note Ctrl-C in place of ending, however often it comes: the guard must hear of it before labrun ends.

    A session that ends sends another signal, and says nothing about the change.
    """
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(bridge: str, peers: Sequence[str], noted: Sequence[int]) -> State:
    from labrun.tasks.host_bridge.guard import cancel, states

    asked = cancelled = False
    for state in states(bridge):
        report(HYPERVISOR, state.phase, f"{state.left} s left" if state.phase == "waiting" else "")
        if noted and not cancelled:
            cancelled = True
            cancel(bridge, "it was interrupted")
        if state.phase == "waiting" and peers and not asked and not cancelled:
            asked = True
            say(
                f"log in once more over ssh from {' or '.join(peers)} within {state.left} s: that confirms "
                f"{bridge}. Otherwise everything is rolled back."
            )
    return state


def _result(change: Change, state: State, invocation: Invocation) -> Outcome:
    from labrun.tasks.host_bridge.machine import devices

    present = devices()
    expected = f"with {change.nic}" if change.to_bridge else "absent"
    is_kept = state.phase == "kept"
    return Outcome(
        HYPERVISOR,
        SECTION,
        change.bridge,
        Status.CHANGED if is_kept else Status.ROLLED_BACK,
        expected=expected,
        actual=state_of(present.get(change.bridge), present.get(change.nic)),
        why=f"confirmed: {state.why}" if is_kept else state.why,
        seconds=invocation.seconds,
    )


def state_of(bridge: Device | None, nic: Device | None) -> str:
    """Return the addresses of the bridge, or of the NIC where there is no bridge."""
    shown = bridge if bridge is not None else nic
    return (
        ", ".join(str(address) for address in shown.addresses) or "no address"
        if shown is not None
        else "absent"
    )
