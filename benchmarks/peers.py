"""Cases that measure `configure` against Ansible, pyinfra and a script over parallel OpenSSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.by_hand import by_hand_command
from benchmarks.labs import bench_lab
from benchmarks.measure import Case, Contender, do_nothing
from benchmarks.peer_tools import (
    ansible_command,
    end_masters,
    naive_command,
    pyinfra_command,
)
from benchmarks.peer_work import SECTIONS, Prepared, prepare

__all__ = ["peer_cases"]

_MANY = 50
_PEERS: dict[str, tuple[Callable[[Prepared], list[str]], float | None, float | None]] = {
    # Goals for 50 hosts: ours as a multiple of theirs, with everything and with nothing to change.
    "OpenSSH script": (by_hand_command, 1.4, 1.15),
    "Nornir, a task a command": (naive_command, None, 1 / 1.2),
    "pyinfra": (pyinfra_command, None, 1 / 1.2),
    "Ansible": (ansible_command, None, 1 / 15),
}


def peer_cases(hosts: int, octet: int) -> Callable[[Path], Iterator[list[Case]]]:
    """Return the cases for a lab of this many containers: first runs, then second ones without changes."""

    def cases(base: Path) -> Iterator[list[Case]]:
        with bench_lab(base, f"bench-peers{hosts}", hosts, octet, up=True) as lab:
            prepared = prepare(lab)
            commands = {name: make(prepared) for name, (make, _, _) in _PEERS.items()}
            yield [
                *(_first_run(prepared, name, command) for name, command in commands.items()),
                *(_second_run(prepared, name, command) for name, command in commands.items()),
            ]

    return cases


def _after(prepared: Prepared, name: str, check: Callable[[], None]) -> Callable[[], None]:
    def after() -> None:
        if name == "Ansible":
            end_masters(prepared)
        check()

    return after


def _first_run(prepared: Prepared, name: str, command: list[str]) -> Case:
    ours = prepared.lab.labrun("configure", "--only", SECTIONS)
    return Case(
        f"configure, {len(prepared.hosts)} hosts, first run",
        Contender(ours, before=prepared.back, after=prepared.check),
        Contender(command, before=prepared.back, after=_after(prepared, name, prepared.check)),
        name,
        factor=_PEERS[name][1] if len(prepared.hosts) >= _MANY else None,
    )


def _second_run(prepared: Prepared, name: str, command: list[str]) -> Case:
    ours = prepared.lab.labrun("configure", "--only", SECTIONS)
    goal = _PEERS[name][2]
    if goal is not None and goal > 1 and len(prepared.hosts) < _MANY:
        goal = 1.3
    return Case(
        f"configure, {len(prepared.hosts)} hosts, second run",
        Contender(ours),
        Contender(command, after=_after(prepared, name, do_nothing)),
        name,
        factor=goal,
        setup=lambda: prepared.lab.run("configure", "--only", SECTIONS),
    )
