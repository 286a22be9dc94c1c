"""Notify others of a drift run's results: metrics, webhook, a command, the journal. None fails the run."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labrun.errors import LabrunError, UsageError
from labrun.outcome import Outcome
from labrun.runner.cli.document import as_text, document
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.outputs import OutputFile, is_stdout
from labrun.runner.cli.report import Report
from labrun.runner.cli.terminal import say
from labrun.runner.watching.state import (
    Change,
    DriftRecord,
    Verdicts,
    changes_between,
    drift_memory,
    read_last_drift,
    read_notified,
    record_of,
    remember_drift,
    remember_notified,
    with_fixed,
)
from labrun.runner.watching.webhook import Webhook, read_secret

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.json_values import JsonObject

__all__ = ["DriftRun", "Notifiers", "NotifyOptions", "notifiers_of", "notify", "notify_options"]

Body = Callable[..., Any]
_Send = Callable[[Report, Sequence[Change]], None]
_MEMBERS = (
    "schema",
    "labrun",
    "lab",
    "command",
    "run",
    "ok",
    "exit_code",
    "seconds",
    "error",
    "hint",
)
_DETAILS = ("expected", "actual", "why")


def notify_options(body: Body) -> Body:
    """Add ``--metrics``, ``--webhook``, ``--webhook-secret`` and ``--on-change`` to a command."""
    for option in (
        click.option(
            "--on-change",
            metavar="CMD",
            help="Run CMD when a verdict changes, with the JSON document as its input.",
        ),
        click.option(
            "--webhook-secret",
            metavar="FILE|env:NAME",
            help="Secret that signs the webhook's body (HMAC-SHA256).",
        ),
        click.option("--webhook", metavar="URL", help="POST changes to this URL as JSON."),
        click.option(
            "--metrics",
            type=OutputFile(),
            metavar="FILE",
            help="Write metrics for Prometheus' node_exporter, - for stdout.",
        ),
    ):
        body = option(body)
    return body


@dataclass(frozen=True, slots=True)
class NotifyOptions:
    """The values of :func:`notify_options`, as given."""

    metrics: Path | None = None
    webhook: str | None = None
    webhook_secret: str | None = None
    on_change: str | None = None


@dataclass(frozen=True, slots=True)
class Notifiers:
    """The listeners besides the user at the terminal."""

    metrics: Path | None = None
    webhook: Webhook | None = None
    on_change: str | None = None


def notifiers_of(options: NotifyOptions) -> Notifiers:
    """Return the listeners from the options. Raises UsageError before anything is done."""
    metrics, webhook = options.metrics, options.webhook
    if options.webhook_secret is not None and webhook is None:
        raise UsageError("--webhook-secret signs what --webhook sends", hint="give --webhook URL too")
    if metrics is not None and not metrics.parent.is_dir():
        raise UsageError(f"--metrics: there is no directory {metrics.parent}")
    secret = read_secret(options.webhook_secret) if options.webhook_secret is not None else None
    return Notifiers(metrics, Webhook(webhook, secret) if webhook is not None else None, options.on_change)


@dataclass(frozen=True, slots=True)
class DriftRun:
    """A run as it was reported, and the verdicts that changed since the last one."""

    report: Report
    changes: Sequence[Change] = ()


def notify(
    report: Report,
    invocation: Invocation,
    lab: Lab,
    listeners: Notifiers,
    *,
    skipped: bool = False,
) -> DriftRun:
    """Notify all listeners, save the run, and return its report with the changes since the last one.

    ``skipped`` = nothing was compared, because another labrun holds the lab's lock. A failed notification
    is reported on stderr, and the next run sends its changes again.
    """
    memory = drift_memory(invocation, lab.name)
    before = read_last_drift(memory.last)
    if skipped:
        return DriftRun(_with_metrics(report, listeners, lab.name, before, skipped=True))
    record = record_of(report, invocation, before, tuple(lab.hosts), time.time())
    known = before.verdicts if before else {}
    changes = with_fixed(changes_between(known, record.verdicts), known, report.outcomes)
    report = _with_changes(report, changes)
    remember_drift(memory.last, record)
    # Before the notifications: a receiver of the run's ID may look it up at once.
    invocation.recording.finish(report, invocation.seconds)
    _to_journal(report, invocation, lab.name, changes)
    _to_listeners(report, invocation, memory.notified, record.verdicts, listeners)
    return DriftRun(_with_metrics(report, listeners, lab.name, record, skipped=False), changes)


def _with_changes(report: Report, changes: Sequence[Change]) -> Report:
    return replace(report, extra={**report.extra, "changes": [change.as_json() for change in changes]})


def _with_metrics(
    report: Report, listeners: Notifiers, lab: str, record: DriftRecord | None, *, skipped: bool
) -> Report:
    """Write the metrics, readable by all. On standard output they replace the table."""
    from labrun.runner.watching.metrics import render_metrics, write_metrics

    if listeners.metrics is None:
        return report
    text = render_metrics(lab, record, skipped=skipped)
    if is_stdout(listeners.metrics):
        return replace(report, text=text, notes=())
    try:
        write_metrics(listeners.metrics, text)
    except LabrunError as error:
        say(f"warning: {error}")
    return report


def _to_listeners(
    report: Report, invocation: Invocation, memory: Path, verdicts: Verdicts, listeners: Notifiers
) -> None:
    for listener, send in _channels(invocation, listeners):
        known = read_notified(memory, listener)
        changes = with_fixed(changes_between(known, verdicts), known, report.outcomes)
        if not changes:
            continue
        try:
            send(report, changes)
        except LabrunError as error:
            say(f"warning: {error}")
        else:
            remember_notified(memory, listener, verdicts)


def _channels(invocation: Invocation, listeners: Notifiers) -> Iterator[tuple[str, _Send]]:
    """Yield each listener's name, which reveals no secret, and the function that notifies it."""
    from labrun.runner.watching.on_change import run_on_change

    webhook, command = listeners.webhook, listeners.on_change
    if webhook is not None:
        yield (
            _named("webhook", webhook.url),
            lambda report, changes: _post(webhook, report, changes, invocation),
        )
    if command is not None:
        yield (
            _named("on-change", command),
            lambda report, changes: run_on_change(
                command, as_text(document(_with_changes(report, changes), invocation)).encode()
            ),
        )


def _named(kind: str, what: str) -> str:
    return f"{kind} {hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _post(webhook: Webhook, report: Report, changes: Sequence[Change], invocation: Invocation) -> None:
    body = json.dumps(webhook_document(report, changes, invocation), allow_nan=False).encode("ascii")
    webhook.post(body, {"X-Labrun-Event": "drift", "X-Labrun-Delivery": invocation.run})


def webhook_document(report: Report, changes: Sequence[Change], invocation: Invocation) -> JsonObject:
    """Return the webhook's document: the run, the number of items by status, and the changes."""
    whole = document(report, invocation)
    rows = {(row.host, row.section, row.name): row for row in report.outcomes}
    return {
        **{key: whole[key] for key in _MEMBERS if key in whole},
        "counts": Counter(row.status.value for row in report.outcomes),
        "changes": [{**change.as_json(), **_details(rows.get(change.key))} for change in changes],
    }


def _details(row: Outcome | None) -> Mapping[str, str | None]:
    return {key: getattr(row, key, None) for key in _DETAILS}


def _to_journal(report: Report, invocation: Invocation, lab: str, changes: Sequence[Change]) -> None:
    from labrun.runner.watching.journal import entries, is_journal, log_entry

    if not is_journal():
        return
    for entry in entries(report, invocation, lab, changes):
        log_entry(entry)
