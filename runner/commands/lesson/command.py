"""`labrun lesson`: plant one fault after the other, and keep score."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labrun.errors import LabrunError
from labrun.outcome import exit_code
from labrun.runner.cli.confirm import confirm
from labrun.runner.cli.formats import format_of
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout, write_output
from labrun.runner.cli.report import Report
from labrun.runner.commands.faults.fault_state import (
    Planted,
    recall,
    remember,
    require_planted,
    without_reasons,
)
from labrun.runner.commands.faults.mend import mend_fault
from labrun.runner.commands.faults.plant import LEVELS, plant_fault
from labrun.runner.commands.lesson.lesson_state import (
    Done,
    Lesson,
    forget_lesson,
    recall_lesson,
    remember_lesson,
)
from labrun.runner.commands.verify.command import verify_rows
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import VerbGroup, verb

if TYPE_CHECKING:
    from labrun.outcome import Outcome

command = VerbGroup("lesson", "Find and mend a series of faults, with hints and a score.")

_FAULTS = 5
_ENDINGS = {".json": "json", ".xml": "junit"}
_AIDS = ("verify", "drift", "configure", "up", "mend", "report", "graph")
"""Commands that say what is wrong, or put it right, when they are recorded."""
_HOW = "`labrun lesson check` when it is mended, `labrun lesson hint` for a hint."


@verb("start", group=command)
@click.option(
    "--faults", type=click.IntRange(1, 50), default=_FAULTS, show_default=True, help="Number of faults."
)
@click.option("--level", type=LEVELS, help="Only faults of this level.")
@click.option("--seed", type=int, metavar="N", help="Random seed: the same faults for everyone in a class.")
def start(invocation: Invocation, faults: int, level: str | None, seed: int | None) -> Report:
    """Begin a lesson: check that the lab works, and plant the first fault.

    A lesson that is over is replaced.
    """
    session = open_session(invocation)
    with lab_lock(session.state.lock, "lesson"):
        if session.state.lesson.exists() and not recall_lesson(session.state).is_over:
            raise LabrunError("a lesson is under way in this lab", hint="`labrun lesson stop` ends it")
        if recall(session.state) is not None:
            raise LabrunError("a fault is planted in this lab already", hint="`labrun mend` removes it")
        bad = [row for row in _seen(session) if row.exit_code]
        if bad:
            raise LabrunError(
                f"the lab is not well: verify finds {len(bad)} row{'' if len(bad) == 1 else 's'}",
                hint="`labrun up --configure` and `labrun verify` come first",
            )
        lesson = Lesson(faults, level, seed)
        _plant(session, lesson)
        remember_lesson(session.state, lesson)
    return Report(session.lab.name, extra={"lesson": lesson.as_json()}, notes=_next(lesson))


@verb("check", group=command)
def check(invocation: Invocation) -> Report:
    """See whether the fault is mended, and go on to the next one if it is.

    Otherwise shows which paths and checks fail, but not why; exit code 1.
    """
    session = open_session(invocation)
    with lab_lock(session.state.lock, "lesson"):
        lesson, planted = _current(session)
        rows = _seen(session)
        if any(row.exit_code for row in rows):
            failing = without_reasons(rows)
            notes = [] if failing else ["No path or check fails: the fault is elsewhere."]
            extra = {"lesson": lesson.as_json()}
            return Report(session.lab.name, failing, extra=extra, notes=notes, code=exit_code(rows))
        planted = planted.as_solved()
        aids = _aids(session, planted.began)
        mended = mend_fault(session, planted, silent=True)
        if any(row.exit_code for row in mended):
            return Report(session.lab.name, mended)
        return _go_on(session, lesson, _over(planted, aids), f"Solved: it was {planted.story}.")


@verb("hint", group=command)
def hint(invocation: Invocation) -> Report:
    """Give one more hint; each costs a point."""
    session = open_session(invocation)
    with lab_lock(session.state.lock, "lesson"):
        _, planted = _current(session)
        planted = planted.next_hint()
        remember(session.state, planted)
    hints = planted.hints[: planted.given]
    notes = [f"hint {number} of {len(planted.hints)}: {text}" for number, text in enumerate(hints, 1)]
    return Report(session.lab.name, extra={"hints": list(hints)}, notes=notes)


@verb("skip", group=command)
def skip(invocation: Invocation) -> Report:
    """Give up on this fault: say what it was, undo it, and go on to the next one."""
    session = open_session(invocation)
    with lab_lock(session.state.lock, "lesson"):
        lesson, planted = _current(session)
        mended = mend_fault(session, planted, silent=True)
        if any(row.exit_code for row in mended):
            return Report(session.lab.name, mended)
        done = replace(_over(planted, ()), given_up=True)
        return _go_on(session, lesson, done, f"It was {planted.fault}, on {planted.host}. It is undone.")


@verb("score", group=command)
@click.option(
    "--output",
    "-o",
    type=OutputFile(),
    metavar="FILE",
    help="Write the score to this file: .json, or .xml for JUnit.",
)
def score(invocation: Invocation, output: Path | None) -> Report:
    """Show each fault of the lesson with its points.

    Exit code 1 if one was given up, 3 while there are faults to find.
    """
    format_ = format_of(output, None, _ENDINGS, "json", option=False)
    session = open_session(invocation)
    lesson = recall_lesson(session.state)
    rows = lesson.rows(recall(session.state))
    report = Report(session.lab.name, rows, extra={"lesson": lesson.as_json()}, notes=[lesson.score])
    if output is None:
        return report
    text = _as(format_, report, invocation, rows)
    if is_stdout(output):
        return replace(report, text=text, notes=())
    write_output(output, text)
    return replace(report, notes=[*report.notes, f"wrote {output}"])


@verb("stop", group=command)
def stop(invocation: Invocation) -> Report:
    """End the lesson, undo its fault, and forget the score. Asks first, unless -y is given."""
    session = open_session(invocation)
    with lab_lock(session.state.lock, "lesson"):
        lesson = recall_lesson(session.state)
        if not lesson.is_over:
            confirm(invocation, "End the lesson?", [f"its score: {lesson.score}"])
        planted = recall(session.state)
        mended = mend_fault(session, planted) if planted is not None else []
        if not any(row.exit_code for row in mended):
            forget_lesson(session.state)
    return Report(session.lab.name, mended, notes=[lesson.score])


def _seen(session: Session) -> list[Outcome]:
    """Return the rows of `verify` for all hosts, which --hosts does not limit."""
    return verify_rows(replace(session, hosts=tuple(session.lab.hosts)), evidence=False)


def _current(session: Session) -> tuple[Lesson, Planted]:
    """Return the lesson and its fault, planted now if a run was interrupted before. Raises LabrunError."""
    lesson = recall_lesson(session.state)
    if lesson.is_over:
        raise LabrunError("the lesson is over", hint="`labrun lesson score` shows it, `start` begins another")
    if recall(session.state) is None:
        _plant(session, lesson)
    return lesson, require_planted(session.state)


def _plant(session: Session, lesson: Lesson) -> None:
    """Plant the next fault, one that the lesson has not had; once it had all, any."""
    had = {each.fault for each in lesson.done}
    seed = None if lesson.seed is None else lesson.seed + len(lesson.done)
    try:
        plant_fault(session, None, seed, lesson.level, had)
    except LabrunError as error:
        if not had or "no place" not in error.reason:
            raise
        plant_fault(session, None, seed, lesson.level)


def _over(planted: Planted, aids: tuple[str, ...]) -> Done:
    from labrun.tasks.faults.catalogue import FAULTS
    from labrun.tasks.faults.levels import level_of

    level = level_of(FAULTS[planted.fault]).value if planted.fault in FAULTS else ""
    seconds = round((planted.solved or time.time()) - planted.began, 1)
    return Done(planted.fault, planted.host, level, planted.given, max(seconds, 0.0), aids)


def _aids(session: Session, since: float) -> tuple[str, ...]:
    """Return the commands recorded since then that say what is wrong, or put it right."""
    history = session.history()
    runs = history.runs(hosts=[], since=since, failed=False, limit=None) if history is not None else []
    return tuple(sorted({run.command for run in runs} & set(_AIDS)))


def _go_on(session: Session, lesson: Lesson, done: Done, said: str) -> Report:
    """Record what is over, and plant the next fault, if there is one."""
    lesson = replace(lesson, done=(*lesson.done, done))
    remember_lesson(session.state, lesson)
    points = f"{done.points} point{'' if done.points == 1 else 's'}" + (
        f" ({done.told})" if done.told else ""
    )
    if not lesson.is_over:
        _plant(session, lesson)
    notes = [f"{said} {points}", *_next(lesson)]
    return Report(session.lab.name, extra={"lesson": lesson.as_json()}, notes=notes)


def _next(lesson: Lesson) -> list[str]:
    if lesson.is_over:
        return [f"The lesson is over: {lesson.score}."]
    return [f"Fault {len(lesson.done) + 1} of {lesson.count} is planted. {_HOW}"]


def _as(format_: str, report: Report, invocation: Invocation, rows: list[Outcome]) -> str:
    if format_ == "junit":
        from labrun.runner.views.junit import junit

        lab = report.lab_name or ""
        return junit(lab, invocation.command, invocation.run, rows, sum(row.seconds for row in rows))
    from labrun.runner.cli.document import as_text, document

    return as_text(document(report, invocation), one_line=False)
