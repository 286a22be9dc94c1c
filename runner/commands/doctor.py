"""`labrun doctor`: whether this machine can run a lab, and how to fix what prevents it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from labrun.errors import UsageError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.lab_file import lab_path, load
from labrun.runner.cli.report import Report
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.tasks.doctor.model import Finding


@verb("doctor")
def command(invocation: Invocation) -> Report:
    """Check that this machine can run a lab, and show how to fix what would prevent it.

    With a lab file, the checks are for that lab and its hypervisor, otherwise for any lab. Nothing is
    changed. Exit code 5 if libvirt does not answer, 1 if something else would fail, 0 otherwise, even with
    warnings.
    """
    from labrun.runner.views.findings import render
    from labrun.tasks.doctor.catalogue import examine
    from labrun.tasks.doctor.gather import gather

    lab = _lab(invocation)
    invocation.interruption.lab = lab.name if lab else None
    findings = examine(gather(lab))
    rows = [_row(finding) for finding in findings]
    extra = {"doctor": [_member(finding) for finding in findings]}
    text = None if invocation.json else render(findings, sys.stdout, invocation)
    return Report(lab.name if lab else None, rows, extra=extra, text=text)


def _lab(invocation: Invocation) -> Lab | None:
    """Return the lab of the file that is named or found, None if there is none."""
    if invocation.lab is None:
        try:
            lab_path(None)
        except UsageError:
            return None
    return load(invocation)


def _row(finding: Finding) -> Outcome:
    bad = finding.status in (Status.FAILED, Status.WARNING)
    why = "; ".join(filter(None, (finding.matters, f"mend: {finding.mend}" if finding.mend else "")))
    return Outcome(
        HYPERVISOR,
        "doctor",
        finding.name,
        finding.status,
        actual=finding.what,
        why=why if bad else None,
        hypervisor_fault=finding.hypervisor_fault,
    )


def _member(finding: Finding) -> dict[str, str | None]:
    return {
        "name": finding.name,
        "status": finding.status.value,
        "what": finding.what,
        "matters": finding.matters or None,
        "mend": finding.mend or None,
    }
