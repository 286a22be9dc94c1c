"""`labrun list --orphans`: what no lab accounts for any more, and its removal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.hypervisor import enter_network
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.report import Report
from labrun.runner.engine.lock import lab_lock
from labrun.runner.views.columns import listing
from labrun.state import LabState
from labrun.state_members import SEVERAL, noted_members
from labrun.tasks.provision.driver_registry import driver_for
from labrun.tasks.provision.file_users import file_users
from labrun.tasks.provision.hypervisor_choice import LOCAL_URIS
from labrun.tasks.provision.orphans import FileOf, Orphan, find_orphans

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["orphans_report"]


def orphans_report(invocation: Invocation, name: str | None, *, remove: bool) -> Report:
    """List the orphans of all labs, or of the one called ``name``, or remove those that may go."""
    enter_network(LOCAL_URIS[0])
    found = [_of_several(invocation, each) for each in find_orphans(_files(invocation), name)]
    if remove:
        gone = [each for each in found if each.is_certain]
        losses = [f"{thing} of {each.lab}" for each in gone for thing in each.things]
        if losses:
            confirm(invocation, "Remove these?", losses)
        rows = [row for each in gone for row in _remove(invocation, each)]
        rows += [_row(each, Status.SKIPPED, "there", each.why) for each in found if not each.is_certain]
        return Report(outcomes=rows, text=None if rows or invocation.json else "nothing to remove\n")
    columns = ("lab", "what", "why", "hypervisor")
    lines = [(each.lab, ", ".join(each.things), each.why, each.uri) for each in found]
    text = listing(columns, lines, color=invocation.color) if lines else "no orphans\n"
    members: list[JsonObject] = [
        {
            "lab": each.lab,
            "host": each.host or None,
            "things": list(each.things),
            "why": each.why,
            "hypervisor": each.uri,
            "removable": each.is_certain,
        }
        for each in found
    ]
    return Report(extra={"orphans": members}, text=None if invocation.json else text)


def _of_several(invocation: Invocation, orphan: Orphan) -> Orphan:
    """Return an orphan of a lab that other hypervisors have a part of as one that `down` has to remove."""
    state = LabState.find(orphan.lab, SEVERAL, invocation.state_dir)
    others = [each.uri for each in noted_members(state).values()] if state is not None else []
    if not others:
        return orphan
    why = f"{orphan.why}; it is on {', '.join(others)} too: `labrun down --name {orphan.lab}` removes it"
    return replace(orphan, why=why, is_certain=False)


def _files(invocation: Invocation) -> FileOf:
    def file_of(lab: str) -> Path | None:
        states = (LabState.find(lab, uri, invocation.state_dir) for uri in (*LOCAL_URIS, SEVERAL))
        files = (state.lab_file for state in states if state is not None)
        return next((path for path in files if path is not None), None)

    return file_of


def _remove(invocation: Invocation, orphan: Orphan) -> list[Outcome]:
    """Remove an orphan, if it still is one when nobody else works on its lab."""
    from labrun.runner.commands.down import take_down

    try:
        state = LabState.open(orphan.lab, orphan.uri, invocation.state_dir)
        with lab_lock(state.lock, "list --orphans --remove"):
            now = find_orphans(_files(invocation), orphan.lab)
            if not any(
                (each.host, each.uri) == (orphan.host, orphan.uri) and each.is_certain for each in now
            ):
                return [_row(orphan, Status.SKIPPED, "there", "it is in use again")]
            if orphan.host:
                _remove_files(orphan)
                return [_row(orphan, Status.CHANGED, "removed", None)]
            rows = take_down(invocation, orphan.lab, orphan.uri, state, None, is_confirmed=True)
            if not any(row.exit_code for row in rows):
                state.remove()
    except LabrunError as error:
        why = f"{error.reason} ({error.hint})" if error.hint else error.reason
        return [_row(orphan, Status.FAILED, "there", why)]
    named = [
        replace(row, host=HYPERVISOR, name=f"{orphan.lab}/{row.name}")
        for row in rows
        if row.status is not Status.OK
    ]
    return named or [_row(orphan, Status.CHANGED, "removed", None)]


def _remove_files(orphan: Orphan) -> None:
    driver = driver_for(orphan.uri.partition(":")[0], orphan.uri)
    keep = file_users(orphan.lab, orphan.uri)
    driver.remove(orphan.lab, orphan.host, f"{orphan.lab}-{orphan.host}", keep)


def _row(orphan: Orphan, status: Status, actual: str, why: str | None) -> Outcome:
    name = f"{orphan.lab}/{orphan.host}" if orphan.host else orphan.lab
    section = "machine" if orphan.host else "network"
    return Outcome(HYPERVISOR, section, name, status, "absent", actual, why)
