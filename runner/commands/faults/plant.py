"""`labrun break`: plant a fault for the user to find, without revealing it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from labrun.errors import LabrunError, UsageError
from labrun.ports import Completed
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.commands.completions import complete_fault
from labrun.runner.commands.faults.fault_state import Planted, on_hosts, recall, remember
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.tasks.faults.model import Fault, FaultSite

_ALREADY = "a fault is planted in this lab already"
_NOTES = (
    "Something in this lab is broken now.",
    "`labrun verify --hint` helps to find it, `labrun mend` undoes it.",
)
_FIND_IT = "`labrun verify` finds it, `labrun mend` undoes it"


@verb("break", recorded=True)
@click.argument("fault", required=False, shell_complete=complete_fault)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="Random seed: the same number plants the same fault in the same lab.",
)
def command(invocation: Invocation, fault: str | None, seed: int | None) -> Report:
    """Plant a fault to find, without saying which; `labrun mend` removes it.

    One fault at a time. `labrun verify --hint` gives hints step by step.
    """
    _known(fault)
    session = open_session(invocation)
    with lab_lock(session.state.lock, "break"):
        if recall(session.state) is not None:
            raise LabrunError(_ALREADY, hint=_FIND_IT)
        # A fault that is not recorded could not be undone.
        session.state.check_room()
        chosen, site = _choice(session, fault, seed)
        _refuse_second(session, chosen.host(site))
        _plant(session, chosen, site)
    return Report(session.lab.name, extra={"planted": True}, notes=_NOTES)


def _known(name: str | None) -> None:
    from labrun.tasks.faults.catalogue import FAULTS

    if name is not None and name not in FAULTS:
        nearest = difflib.get_close_matches(name, FAULTS, n=1)
        suggestion = f' (did you mean "{nearest[0]}"?)' if nearest else ""
        raise UsageError(f'unknown fault "{name}"{suggestion}', hint=f"one of {', '.join(FAULTS)}")


def _choice(session: Session, name: str | None, seed: int | None) -> tuple[Fault, FaultSite]:
    from labrun.tasks.faults.catalogue import choose, possible

    hosts = session.hosts if session.invocation.hosts is not None else None
    candidates = possible(session.lab, name, hosts)
    if not candidates:
        what = f"no place for {name}" if name is not None else "no place for a fault"
        hint = "most need a host behind a router of the lab, some a second host beside it"
        raise LabrunError(f"{what} in this lab{' on these hosts' if hosts is not None else ''}", hint=hint)
    return choose(candidates, seed)


def _refuse_second(session: Session, chosen: str) -> None:
    """Refuse a second fault. Ask the guests themselves, since the state directory may have been lost."""
    from labrun.tasks.faults.script import PLANTED, look_script

    results = on_hosts(session, {host: look_script() for host in session.lab.hosts})
    completed = [result for result in results.values() if isinstance(result, Completed)]
    if any(result.exit_status == PLANTED for result in completed):
        raise LabrunError(_ALREADY, hint=_FIND_IT)
    error = results[chosen]
    if isinstance(error, LabrunError):
        # Name neither host nor fault: the user is still to find them after fixing the lab.
        raise LabrunError("not every host answers", hint="`labrun up` and `labrun verify` come first")
    if isinstance(error, BaseException):
        raise error


def _plant(session: Session, fault: Fault, site: FaultSite) -> None:
    from labrun.tasks.faults.script import PLANTED, plant_script

    host = fault.host(site)
    result = on_hosts(session, {host: plant_script(fault, site)}, silent=True)[host]
    if isinstance(result, BaseException):
        raise result
    if result.exit_status == PLANTED:
        raise LabrunError(_ALREADY, hint=_FIND_IT)
    if result.exit_status != 0:
        lines = result.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"exit status {result.exit_status}"
        raise LabrunError(
            f"nothing was planted: {reason}", host=host, hint="is the lab configured and working?"
        )
    hints = [fault.filled_in(hint, site) for hint in fault.hints]
    remember(session.state, Planted(fault.name, host, (*hints, f"It is {fault.name}, on {host}.")))
