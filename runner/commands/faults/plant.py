"""`labrun break`: plant a fault for the user to find, without revealing it."""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection
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

LEVELS = click.Choice(("easy", "medium", "hard"))
"""The type of every `--level`; a test holds it equal to the levels of the catalogue."""
_ALREADY = "a fault is planted in this lab already"
_NOTES = (
    "Something in this lab is broken now.",
    "`labrun verify --hint` helps to find it, `labrun mend` undoes it.",
)
_FIND_IT = "`labrun verify` finds it, `labrun mend` undoes it"


@verb("break", recorded=True, concealed=("fault",))
@click.argument("fault", required=False, shell_complete=complete_fault)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="Random seed: the same number plants the same fault in the same lab.",
)
@click.option("--level", type=LEVELS, help="Only faults of this level.")
@click.option("--list", "listed", is_flag=True, help="List the faults with their levels, and plant none.")
def command(
    invocation: Invocation, fault: str | None, seed: int | None, level: str | None, listed: bool
) -> Report:
    """Plant a fault to find, without saying which; `labrun mend` removes it.

    One fault at a time. `labrun verify --hint` gives hints step by step.
    """
    _known(fault, level)
    if listed:
        from labrun.runner.commands.faults.fault_list import fault_list

        return fault_list(invocation, level)
    session = open_session(invocation)
    with lab_lock(session.state.lock, "break"):
        plant_fault(session, fault, seed, level)
    return Report(session.lab.name, extra={"planted": True}, notes=_NOTES)


def plant_fault(
    session: Session,
    name: str | None,
    seed: int | None,
    level: str | None,
    besides: Collection[str] = (),
) -> None:
    """Plant and record a fault with the lab's lock held, a random one without a name; none of ``besides``.

    Raises LabrunError if there is one, no place for one, or a host that does not answer.
    """
    if recall(session.state) is not None:
        raise LabrunError(_ALREADY, hint=_FIND_IT)
    # A fault that is not recorded could not be undone.
    session.state.check_room()
    chosen, site = _choice(session, name, seed, level, besides)
    _refuse_second(session, chosen.host(site))
    _plant(session, chosen, site)


def _known(name: str | None, level: str | None) -> None:
    from labrun.tasks.faults.catalogue import FAULTS
    from labrun.tasks.faults.levels import level_of

    if name is not None and name not in FAULTS:
        nearest = difflib.get_close_matches(name, FAULTS, n=1)
        suggestion = f' (did you mean "{nearest[0]}"?)' if nearest else ""
        raise UsageError(f'unknown fault "{name}"{suggestion}', hint="`labrun break --list` lists them")
    if name is not None and level is not None and level_of(FAULTS[name]) != level:
        raise UsageError(f"{name} is {level_of(FAULTS[name])}, not {level}", step="--level")


def _choice(
    session: Session, name: str | None, seed: int | None, level: str | None, besides: Collection[str]
) -> tuple[Fault, FaultSite]:
    from labrun.tasks.faults.catalogue import choose, possible
    from labrun.tasks.faults.levels import level_of

    hosts = session.hosts if session.invocation.hosts is not None else None
    candidates = [
        (fault, site)
        for fault, site in possible(session.lab, name, hosts)
        if level in (None, level_of(fault)) and fault.name not in besides
    ]
    if not candidates:
        kind = f"{level} fault" if level is not None else "fault"
        what = (
            f"no place for {name}" if name is not None else f"no place for a{'n' * (level == 'easy')} {kind}"
        )
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
    hints.append(f"It is {fault.name}, on {host}.")
    remember(session.state, Planted(fault.name, host, tuple(hints), began=time.time()))
