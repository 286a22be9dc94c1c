"""What has changed on the lab's machines since a snapshot: settings of the machines, files of containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labrun.outcome import Outcome, Status
from labrun.runner.engine.session import Session
from labrun.tasks.provision.snapshot_store import KeptMachine, Snapshot

if TYPE_CHECKING:
    from labrun.tasks.provision.planning import SeenMachine

__all__ = ["MOST_FILES", "compare_lab"]

MOST_FILES = 20
"""Files that are named of one host; further ones are counted."""


def compare_lab(session: Session, snapshot: Snapshot) -> list[Outcome]:
    """Return the rows of all selected hosts."""
    seen = session.machines()
    absent, lost = session.absent(seen), session.lost()
    rows: list[Outcome] = []
    for host in session.hosts:
        if session.lab.hosts[host].machine is None:
            continue
        kept = snapshot.machines.get(host)
        if host in lost:
            rows.append(Outcome(host, "machine", host, Status.UNKNOWN, why=lost[host]))
        elif kept is None:
            rows.append(_skipped(host, "it is not in the snapshot"))
        elif host not in seen:
            rows.append(Outcome(host, "machine", host, Status.DRIFTED, kept.state, "absent", absent[host]))
        else:
            rows += _machine_rows(host, kept, seen[host])
            rows += _file_rows(snapshot, host, kept, seen[host])
    return rows


def _machine_rows(host: str, kept: KeptMachine, seen: SeenMachine) -> Iterator[Outcome]:
    now = seen.machine.defined
    differs = False
    for key in sorted(kept.have.keys() | now.keys()):
        before, after = kept.have.get(key), now.get(key)
        if before != after:
            differs = True
            yield Outcome(host, "machine", key, Status.DRIFTED, before or "-", after or "-")
    if not differs:
        yield Outcome(host, "machine", host, Status.OK, "as in the snapshot", "as in the snapshot")


def _file_rows(snapshot: Snapshot, host: str, kept: KeptMachine, seen: SeenMachine) -> Iterator[Outcome]:
    from labrun.tasks.provision.overlay import Overlay
    from labrun.tasks.snapshots.containers import UPPER
    from labrun.tasks.snapshots.differences import Layers, changes, is_noise

    if kept.kind != "lxc" or seen.kind != "lxc":
        yield _skipped(host, "the files of a VM cannot be seen from outside")
        return
    overlay = Overlay.of(snapshot.lab, host, seen.uri)
    before = Layers.of(snapshot.of(host) / UPPER, kept.base)
    after = Layers.of(overlay.upper, str(overlay.lower))
    shown, noise, further = 0, 0, Counter[str]()
    for change in changes(before, after):
        if is_noise(change.path):
            noise += 1
        elif shown < MOST_FILES:
            shown += 1
            yield Outcome(
                host,
                "files",
                f"/{change.path}",
                Status.DRIFTED,
                change.before,
                change.after,
                change.kind,
                change.diff,
            )
        else:
            further[change.kind] += 1
    logs = f"{noise} more below /var/log, /var/cache and the like" if noise else None
    if further:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(further.items()))
        yield Outcome(host, "files", "further files", Status.DRIFTED, "as in the snapshot", counts, logs)
    elif not shown:
        yield Outcome(host, "files", host, Status.OK, "as in the snapshot", "as in the snapshot", logs)


def _skipped(host: str, why: str) -> Outcome:
    return Outcome(host, "files", host, Status.SKIPPED, why=why)
