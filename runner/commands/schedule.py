"""`labrun schedule`: install, show and remove a systemd timer that runs `labrun drift`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from labrun.errors import UsageError
from labrun.moments import stamp, told
from labrun.outcome import Status
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import load
from labrun.runner.cli.report import Report
from labrun.runner.timer.files import install_units, other_lab_file, remove_units
from labrun.runner.timer.scheduled_run import When, make_state_base, schedule_of
from labrun.runner.timer.status import schedule_row, timer_status, unit_row
from labrun.runner.timer.systemd import Systemd
from labrun.runner.timer.units import Schedule, cron_line, render_units, unit_name
from labrun.runner.verb import VerbGroup, verb
from labrun.runner.watching.notify import NotifyOptions, notify_options

command = VerbGroup("schedule", "Check the lab for drift regularly with systemd or cron.")

_manager = click.option(
    "--user/--system", default=None, help="User or system instance of systemd; root defaults to system."
)


@verb("install", group=command)
@click.option("--every", metavar="DURATION", help="Interval; by default that of the file's `schedule`.")
@click.option(
    "--calendar", metavar="WHEN", help="Calendar expression as in systemd's OnCalendar: Mon..Fri 06:00."
)
@click.option("--jitter", metavar="DURATION", help="Longest random delay; 0 for none.")
@_manager
@click.option("--linger", is_flag=True, help="With --user: also run while you are not logged in.")
@click.option("--cron", is_flag=True, help="Print a crontab line and install nothing.")
@click.option("--explain", is_flag=True, help="Print the units and install nothing.")
@notify_options
def install(
    invocation: Invocation,
    every: str | None,
    calendar: str | None,
    jitter: str | None,
    user: bool | None,
    linger: bool,
    cron: bool,
    explain: bool,
    metrics: Path | None,
    webhook: str | None,
    webhook_secret: str | None,
    on_change: str | None,
) -> Report:
    """Write, check and start a timer that runs `labrun drift` on this lab.

    A second install changes nothing; with other options it replaces the first.
    """
    lab = load(invocation)
    systemd = _systemd(user)
    when = When(every, calendar, jitter)
    options = NotifyOptions(metrics, webhook, webhook_secret, on_change)
    schedule = schedule_of(invocation, lab, user=systemd.user, when=when, options=options)
    if cron:
        return Report(lab.name, text=_cron(schedule))
    units = render_units(schedule)
    if explain:
        files = [f"# {systemd.directory / name}\n{text}" for name, text in units.items()]
        return Report(lab.name, text="\n".join(files))
    systemd.require()
    unchecked = systemd.verify(units)
    if other := other_lab_file(systemd, units):
        confirm(invocation, f"Replace the schedule of another lab file, {other}?")
    make_state_base(invocation)
    changed = install_units(systemd, lab.name, units, at_once=schedule.every is not None)
    rows = [unit_row(unit, Status.CHANGED if unit in changed else Status.OK, "installed") for unit in units]
    notes = [f"systemd-analyze could not check the units: {unchecked}"] if unchecked else []
    notes += _lingering(systemd, enable=linger) if systemd.user else []
    return Report(lab.name, rows, notes=notes, extra={"schedule": timer_status(systemd, lab.name).as_json()})


@verb("remove", group=command)
@_manager
def remove(invocation: Invocation, user: bool | None) -> Report:
    """Stop the timer and remove what install wrote."""
    lab = load(invocation)
    removed = remove_units(_systemd(user), lab.name)
    rows = [unit_row(unit, Status.CHANGED, "removed") for unit in removed]
    none = unit_row(f"{unit_name(lab.name)}.timer", Status.SKIPPED, "absent", "no schedule is installed")
    return Report(lab.name, rows or [none])


@verb("status", group=command)
@_manager
def status(invocation: Invocation, user: bool | None) -> Report:
    """Show whether a timer is installed, its last run and its next."""
    lab = load(invocation)
    systemd = _systemd(user)
    systemd.require()
    timer = timer_status(systemd, lab.name)
    return Report(
        lab.name,
        [schedule_row(timer, stamp if invocation.json else told)],
        extra={"schedule": timer.as_json()},
    )


def _systemd(user: bool | None) -> Systemd:
    return Systemd(user=os.geteuid() != 0 if user is None else user)


def _cron(schedule: Schedule) -> str:
    if schedule.every is None:
        raise UsageError("cron does not read systemd's calendar", hint="--every in place of --calendar")
    path = ["env", f"PYTHONPATH={schedule.python_path}"] if schedule.python_path else []
    return cron_line([*path, *schedule.command], schedule.every)


def _lingering(systemd: Systemd, *, enable: bool) -> list[str]:
    if systemd.lingers:
        return []
    if enable:
        systemd.linger()
        return ["lingering is on now: the timer also runs while you are not logged in"]
    return [
        "the timer runs only while you are logged in; `--linger` or `loginctl enable-linger` changes that"
    ]
