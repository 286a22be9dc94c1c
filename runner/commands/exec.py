"""`labrun exec CMD`: the same command on every host at once."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace

import click
from nornir.core.task import Result, Task

from labrun.outcome import Outcome, Status
from labrun.ports import Completed
from labrun.progress import report
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.engine.absence import with_absence
from labrun.runner.engine.channels import channels
from labrun.runner.engine.session import open_session
from labrun.runner.verb import verb
from labrun.tasks.guest.inside import OPENER
from labrun.tasks.guest.output import MOST_BYTES

_SECONDS = 60.0


def run_command(task: Task, script: str, timeout: float) -> Result:
    """Run a script as the login user, or as root by the way in the host's data. The result is one Outcome.

    It is failed on a non-zero exit status, unknown for a command that was cut off because it wrote too much.
    """
    from labrun.tasks.guest.inside import host_transport
    from labrun.tasks.guest.output import TooMuchOutputError

    host = task.host.name
    report(host, "running")
    began = time.monotonic()
    try:
        done = host_transport(task.host).run(script, timeout=timeout)
    except TooMuchOutputError as error:
        row = replace(_cut_off(host, script, error.kept), seconds=time.monotonic() - began)
        report(host, "failed")
        return Result(host=task.host, result=row, failed=True)
    failed = done.exit_status != 0
    errors = done.stderr.strip()
    why = f"exit status {done.exit_status}" + (f": {errors}" if errors else "")
    row = Outcome(
        host,
        "exec",
        script,
        Status.FAILED if failed else Status.OK,
        actual=done.stdout.rstrip("\n"),
        why=why if failed else errors or None,
        seconds=time.monotonic() - began,
    )
    report(host, "failed" if failed else "done")
    return Result(host=task.host, result=row, failed=failed)


def _cut_off(host: str, script: str, kept: Completed) -> Outcome:
    """Return the row of a command that was cut off: the whole lines that it had written, and what to do."""
    shown = kept.stdout or kept.stderr
    lines, newline, _ = shown.rpartition("\n")
    actual = lines if newline else shown
    stream = "its output" if kept.stdout else "its error output"
    return Outcome(
        host,
        "exec",
        script,
        Status.UNKNOWN,
        actual=actual,
        why=f"cut off: it wrote more than {MOST_BYTES // 1024**2} MiB, and how it ended is unknown; here are"
        f" the first {len(actual.encode())} bytes of {stream}. Let it write to a file there, or print less",
    )


@verb("exec", passthrough=True, recorded=True)
@click.option(
    "--via",
    type=click.Choice(("ssh", "agent", "console")),
    default="ssh",
    show_default=True,
    help="How to reach the host: SSH; guest agent (namespaces for containers); serial console. The last two"
    " run CMD as root.",
)
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED)
def command(invocation: Invocation, via: str, cmd: tuple[str, ...]) -> Report:
    """Run a command on all hosts (or --hosts) in parallel.

    A single argument is a shell command line; several are one command and its arguments.
    Exit code 1 if the command fails on a host, 4 if a host cannot be reached.
    """
    from labrun.runner.engine.nornir import outcomes_of

    session = open_session(invocation)
    script = cmd[0] if len(cmd) == 1 else shlex.join(cmd)
    budget = session.budget(_SECONDS, reads=True)
    openers = channels(session, via) if via != "ssh" else {}
    data = {host: {OPENER: opener} for host, opener in openers.items()}
    # Without SSH no address is needed.
    located = session.locate(leases=via == "ssh")
    with progress(session.hosts, invocation), session.engine(located, budget, data, watched=True) as nornir:
        result = nornir.run(run_command, script=script, timeout=budget.deadline)
    rows = with_absence(session, outcomes_of(result, "exec", script))
    text = None if invocation.json else "".join(_prefixed(row) for row in rows)
    return Report(session.lab.name, rows, text=text)


def _prefixed(row: Outcome) -> str:
    """Return the host's output, each line after the host's name."""
    from labrun.runner.cli.terminal import printable

    lines = printable(row.actual or "").splitlines()
    if row.why:
        lines += [f"({row.status.value}) {line}" for line in printable(row.why).splitlines()]
    return "".join(f"{row.host}: {line}\n" for line in lines or ["(no output)"])
