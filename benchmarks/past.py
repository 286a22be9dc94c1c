"""A history of a hundred thousand outcomes, for the commands that query past runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from benchmarks.measure import Contender
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import new_run_id
from labrun.runner.history.store import open_to_write
from labrun.runner.history.writing import Beginning, Ending, begin, finish

__all__ = ["looking_back", "make_history"]

_LAB = "bench-past"
_RUNS = 200
_HOSTS = 20
_ROWS = 500


def make_history(base: Path) -> Path:
    """Write 200 runs of verify with 500 outcomes each, every tenth with a fault; return the file."""
    path = base / "past.sqlite"
    now = time.time()
    with contextlib.closing(open_to_write(path)) as connection:
        for number in range(_RUNS):
            began = now - (_RUNS - number) * 900
            run = Beginning(new_run_id(began), _LAB, "verify", "", "d" * 64, began)
            rows = _rows(broken=number % 10 == 9)
            code = int(any(row.exit_code for row in rows))
            finish(connection, begin(connection, run), Ending(rows, 3.0, code, uri="lxc:///system"))
    return path


def _rows(*, broken: bool) -> list[Outcome]:
    hosts = [f"host{number:02}" for number in range(_HOSTS)]
    pairs = [(one, other) for one in hosts for other in hosts if one != other]
    found = [_path(one, other, broken=broken and one == hosts[1]) for one, other in pairs]
    rest = _ROWS - len(found)
    names = [f"net.ipv4.conf.eth{number}.rp_filter" for number in range(rest)]
    return found + [Outcome(hosts[0], "sysctl", name, Status.OK, "2", "2") for name in names]


def _path(source: str, target: str, *, broken: bool) -> Outcome:
    name, way = f"{source} -> {target}", "10.150.0.254 10.151.0.17"
    if broken:
        why = "host00: net.ipv4.ip_forward is 0"
        return Outcome(source, "path", name, Status.FAILED, way, "10.150.0.254 *", why, seconds=1.5)
    return Outcome(source, "path", name, Status.OK, way, way, seconds=0.3)


def looking_back(labrun: tuple[str, ...], path: Path) -> dict[str, Contender]:
    """Return the commands to measure, by name."""
    about = ["--history", str(path), "--name", _LAB]
    words = {
        "history": ["history", *about],
        "history of a host": ["history", "--host", "host01", "--failed", *about],
        "show": ["show", "last", *about],
        "diff": ["diff", "-2", "-1", *about],
    }
    return {name: Contender([*labrun, *args]) for name, args in words.items()}
