"""The benchmark cases, with the labs they need and the contenders they are compared with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.by_hand import by_hand_command
from benchmarks.containers import up_command, write_up_files
from benchmarks.labs import LABRUN, BenchLab, bench_lab
from benchmarks.machines import define_machines, start_command
from benchmarks.measure import Case, Contender
from benchmarks.openssh import parallel_ssh
from benchmarks.past import looking_back, make_history
from benchmarks.peer_work import SECTIONS, prepare
from benchmarks.peers import peer_cases
from benchmarks.reset import plans, remember, reset
from labrun.tasks.collect.schedule import collect_spec
from labrun.tasks.collect.script import collect_script
from labrun.tasks.configure.resources import gather, host_spec
from labrun.tasks.drift.task import drift_script
from labrun.tasks.guest.scripts import wrapped
from labrun.tasks.guest.shell import apply_script

__all__ = ["GROUPS", "Group"]

_MARK = "labrun-benchmark"
_SSH = "parallel OpenSSH"
_BY_HAND = "virsh and ssh"
_ADMINISTRATOR = "an administrator's script"
# Routers rate-limit replies to successive traceroutes and recover within this time (seconds).
_ICMP_PAUSE = 6.0


Cases = Callable[[Path], Iterator[list[Case]]]


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that share their labs: ``open`` provides them while they are measured, in order."""

    name: str
    open: Callable[[Path], AbstractContextManager[list[Case]]]


def _help(_base: Path) -> Iterator[list[Case]]:
    ours = Contender([*LABRUN, "--help"])
    yield [Case("labrun --help", ours, Contender([sys.executable, "-c", ""]), "python -c ''", seconds=0.150)]


def _paths(_base: Path) -> Iterator[list[Case]]:
    ours = Contender([sys.executable, "-m", "benchmarks.thousand"])
    name = "routes and paths of 1,000 hosts, 100 routers"
    yield [Case(name, ours, seconds=2.0, mebibytes=300.0)]


def _past(base: Path) -> Iterator[list[Case]]:
    nothing = Contender([sys.executable, "-c", ""])
    commands = looking_back(LABRUN, make_history(base)).items()
    # This includes the start of Python, so it is more than the goal asks for.
    yield [
        Case(f"{name}, 100,000 outcomes", ours, nothing, "python -c ''", seconds=0.2)
        for name, ours in commands
    ]


def _up(hosts: int, octet: int) -> Cases:
    def cases(base: Path) -> Iterator[list[Case]]:
        with (
            bench_lab(base, f"bench-up{hosts}", hosts, octet) as ours,
            bench_lab(base, f"bench-hand{hosts}", hosts, octet + 2) as other,
        ):
            script = Contender(up_command(other), before=lambda: write_up_files(other), after=other.down)
            mine = Contender(ours.labrun("up"), after=ours.down)
            yield [Case(f"up, {hosts} containers", mine, script, _BY_HAND, factor=1.15)]

    return cases


def _machines(hosts: int, octet: int) -> Cases:
    def cases(base: Path) -> Iterator[list[Case]]:
        uri = "qemu:///system"
        with (
            bench_lab(base, f"bench-vm{hosts}", hosts, octet, uri=uri) as ours,
            bench_lab(base, f"bench-virsh{hosts}", hosts, octet + 2, uri=uri) as other,
        ):
            script = Contender(start_command(other), before=lambda: define_machines(other), after=other.down)
            mine = Contender(ours.labrun("up"), after=ours.down)
            yield [Case(f"up, {hosts} virtual machines", mine, script, _BY_HAND, factor=1.05, warm=False)]

    return cases


def _work(hosts: int, octet: int) -> Cases:
    def cases(base: Path) -> Iterator[list[Case]]:
        with bench_lab(base, f"bench-work{hosts}", hosts, octet, up=True) as lab:
            yield [_second_up(lab), _everything(lab), _nothing(lab), _verify(lab), _drift(lab)]

    return cases


def _second_up(lab: BenchLab) -> Case:
    hosts = len(lab.lab.hosts)
    floor = parallel_ssh(lab, "look", dict.fromkeys(lab.lab.hosts, "ip -j address\n"), sudo=False)
    goal = 1.0 if hosts == 5 else None
    return Case(
        f"second up, {hosts} hosts", Contender(lab.labrun("up")), Contender(floor), _SSH, seconds=goal
    )


def _everything(lab: BenchLab) -> Case:
    """Return the case whose floor reads and changes the same, but does not verify it with a new login."""
    remember(lab)
    wanted = plans(lab)
    scripts = {}
    for name, plan in wanted.items():
        changes = [(part.section, part.apply) for part in plan.sections if part.apply]
        text = gather(host_spec(lab.lab, name), (), _MARK) + apply_script(changes, _MARK)
        scripts[name] = wrapped(text)

    def back() -> None:
        reset(lab, wanted)

    def check() -> None:
        if left := [name for name, plan in plans(lab).items() if not plan.is_empty]:
            raise RuntimeError(f"not configured: {', '.join(left)}")

    return Case(
        f"configure, {len(lab.lab.hosts)} hosts, everything to change",
        Contender(lab.labrun("configure"), before=back, after=check),
        Contender(parallel_ssh(lab, "apply", scripts), before=back, after=check),
        _SSH,
        guests=lab.guests_cpu,
    )


def _nothing(lab: BenchLab) -> Case:
    """Return the case against a script with checks of its own, which grows no faster when labrun does."""
    hosts = len(lab.lab.hosts)
    prepared = prepare(lab)
    return Case(
        f"configure, {hosts} hosts, nothing to change",
        Contender(lab.labrun("configure", "--only", SECTIONS)),
        Contender(by_hand_command(prepared), after=prepared.check),
        _ADMINISTRATOR,
        factor=1.15 if hosts >= 20 else 1.3,
        setup=lambda: lab.run("configure"),
    )


def _verify(lab: BenchLab) -> Case:
    scripts = {name: wrapped(collect_script(collect_spec(lab.lab, name), _MARK)) for name in lab.lab.hosts}
    return Case(
        f"verify, {len(lab.lab.hosts)} hosts",
        Contender(lab.labrun("verify")),
        Contender(parallel_ssh(lab, "collect", scripts)),
        _SSH,
        pause=_ICMP_PAUSE,
        setup=lambda: lab.run("configure"),
    )


def _drift(lab: BenchLab) -> Case:
    """Return the case whose floor reads all that drift reads in one login per host, but judges nothing."""
    scripts = {
        name: wrapped(drift_script(host_spec(lab.lab, name), collect_spec(lab.lab, name), _MARK))
        for name in lab.lab.hosts
    }
    return Case(
        f"drift, {len(lab.lab.hosts)} hosts, untouched",
        Contender(lab.labrun("drift")),
        Contender(parallel_ssh(lab, "observe", scripts)),
        _SSH,
        pause=_ICMP_PAUSE,
        setup=lambda: lab.run("configure"),
        guests=lab.guests_cpu,
        cpu_factor=1.2,
    )


def _group(name: str, cases: Cases) -> Group:
    return Group(name, contextmanager(cases))


GROUPS = (
    _group("help", _help),
    _group("paths", _paths),
    _group("past", _past),
    _group("up5", _up(5, 150)),
    _group("up20", _up(20, 150)),
    _group("work5", _work(5, 154)),
    _group("work10", _work(10, 154)),
    _group("work20", _work(20, 154)),
    _group("work50", _work(50, 154)),
    _group("work100", _work(100, 154)),
    _group("peers10", peer_cases(10, 154)),
    _group("peers50", peer_cases(50, 154)),
    _group("vms", _machines(5, 158)),
)
"""All groups in the order they are measured, one after the other, so that subnets can be reused."""
