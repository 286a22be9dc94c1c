"""What `labrun --json verify` really printed for a lab, healthy and broken, as outcomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.outcome import Fault, Nic, Outcome, Pair, Status, Subject
from labrun.runner.views.diagram_input import DrawnLab, LastVerify
from tests import places

__all__ = ["CASES", "Captured", "captured", "drawn"]

CASES = places.RECORDED / "verify"


@dataclass(frozen=True)
class Captured:
    """One verify: the lab, its run ID and rows."""

    lab: Lab
    run: str
    seconds: float
    rows: tuple[Outcome, ...]


def captured(name: str) -> Captured:
    """Return the verify of ``cases/verify/<name>.json``."""
    document = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    rows = tuple(
        Outcome(
            **{**row, "status": Status(row["status"])},
            subject=_subject(row),
            blamed=_blamed(row),
            fault=_fault(row),
        )
        for row in document["results"]
    )
    return Captured(load_lab(CASES / "lab.yaml"), document["run"], document["seconds"], rows)


def _subject(row: Mapping[str, str]) -> Subject | None:
    """Return what a row is about; documents have it in its name alone."""
    if row["section"] == "path":
        return Pair(row["host"], row["name"].rpartition(" ")[2], 4)
    return Nic(row["host"], row["name"]) if row["section"] == "address" else None


def _blamed(row: Mapping[str, str | None]) -> str | None:
    host, colon, _ = (row["why"] or "").partition(": ")
    return host if colon and row["section"] == "path" else None


def _fault(row: Mapping[str, str | None]) -> Fault | None:
    """Return what a row follows from, as `verify` had it beside the document."""
    host, why = row["host"], row["why"] or ""
    if row["status"] == "unreachable":
        silent = host if "does not answer" not in why else why.split()[0]
        return Fault(silent, "the machine is shut off: `labrun up` starts it", "machine", str(silent))
    if row["section"] == "path" and why:
        blamed, _, what = why.partition(": ")
        key = what.partition(" is ")[0]
        return Fault(blamed, what, "sysctl", key, (f"sysctl -w {key}=1",))
    return None


def drawn(name: str | None) -> DrawnLab:
    """Return the lab with that verify as its last one, without any for None."""
    lab = load_lab(CASES / "lab.yaml")
    if name is None:
        return DrawnLab(lab, tuple(lab.hosts), None)
    found = captured(name)
    began = datetime.strptime(found.run[:20], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    last = LastVerify(found.run, lab.digest, found.seconds, found.rows, began)
    return DrawnLab(lab, tuple(lab.hosts), last)
