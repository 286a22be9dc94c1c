"""Measure verify, drift and configure on thousands of simulated hosts: CPU and memory of the client.

The hosts are :mod:`benchmarks.simulated_hosts`. Every process of the client counts, its children as well;
the simulator is counted apart. Wall seconds say something on a quiet machine only: the simulator shares it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.labs import LABRUN
from benchmarks.measure import tree_of
from labrun.key_pairs import make_host_key, public_half
from labrun.state_files import write_private

__all__ = ["Figure", "lab_text", "main", "simulated", "table"]

_LOOK = 0.1  # seconds between two looks at the memory
_SECONDS = 3600
_PAGE = resource.getpagesize()
_MEBIBYTE = 1024 * 1024
_TICK = os.sysconf("SC_CLK_TCK")
COMMANDS = {
    "verify": ("verify", "--no-evidence"),
    "verify, with evidence": ("verify",),
    "drift": ("drift",),
    "configure --dry-run": ("configure", "--dry-run"),
}
# The recorded host is not quite what the lab file wants; a run that could not judge would end otherwise.
_JUDGED = (0, 1, 3)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run took: wall and CPU seconds of all its processes, peak MiB of their memory together.

    ``simulator`` is the CPU time that the hosts have used meanwhile, ``scripts`` how many they have answered.
    ``busiest`` are the CPU seconds of the process that has used the most: with a processor for each, a run
    takes no less.
    """

    command: str
    engine: str
    hosts: int
    wall: float
    cpu: float
    busiest: float
    mebibytes: float
    simulator: float
    scripts: int

    @property
    def per_host(self) -> float:
        """Return the client's CPU milliseconds for each host."""
        return 1000 * self.cpu / self.hosts


def lab_text(hosts: int, port: int) -> str:
    """Return a lab of existing machines, each at an address of loopback, with settings and no networks."""
    login = f"{{user: lab, port: {port}, identity: key, known_hosts: known_hosts}}"
    values = "{net.ipv4.ip_forward: 1, net.ipv4.conf.all.rp_filter: 2, net.ipv4.conf.default.rp_filter: 2}"
    lines = [f"name: simulated-{port}", f"defaults: {{ssh: {login}, sysctl: {values}}}", "hosts:"]
    lines += [f"  h{number:05}: {{address: {_address(number)}}}" for number in range(hosts)]
    return "\n".join(lines) + "\n"


def _address(number: int) -> str:
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


@dataclass(frozen=True, slots=True)
class Simulated:
    """A running simulator and the directory of its lab."""

    directory: Path
    process: subprocess.Popen[str]

    def command(self, engine: str, words: Sequence[str]) -> list[str]:
        """Return the command line of ``labrun`` on this lab, with an engine or its own choice."""
        where = ["--lab", str(self.directory / "lab.yaml"), "--state-dir", str(self.directory / "state")]
        chosen = ["--engine", engine] if engine else []
        return [*LABRUN, *where, *chosen, *words]

    def stop(self) -> dict[str, float]:
        """End the simulator and return what it has cost."""
        self.process.terminate()
        said, _ = self.process.communicate(timeout=60)
        return dict(json.loads(said.strip().splitlines()[-1]))


@contextmanager
def simulated(directory: Path, hosts: int) -> Iterator[Simulated]:
    """Run the simulator with a lab of this many hosts, and end it after the block."""
    directory.mkdir(parents=True)
    for name in ("key", "host_key"):
        write_private(directory / name, make_host_key(name).private)
    public = {name: public_half((directory / name).read_bytes()) for name in ("key", "host_key")}
    (directory / "authorized").write_text(f"{public['key']}\n", encoding="utf-8")
    files = ["--host-key", str(directory / "host_key"), "--authorized", str(directory / "authorized")]
    command = [sys.executable, "-m", "benchmarks.simulated_hosts", *files]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        known = (f"[{_address(number)}]:{port} {public['host_key']}\n" for number in range(hosts))
        (directory / "known_hosts").write_text("".join(known), encoding="utf-8")
        (directory / "lab.yaml").write_text(lab_text(hosts, port), encoding="utf-8")
        yield Simulated(directory, process)
    finally:
        process.kill()
        process.wait()


def measure(base: Path, hosts: int, name: str, engine: str, beside: Sequence[int] = ()) -> Figure:
    """Run one command once. ``beside`` are processes of the client that it does not start itself.

    Raises RuntimeError if the command could not judge every host.
    """
    with simulated(base / f"{hosts}-{name.replace(' ', '')}-{engine.split(':')[0]}", hosts) as fleet:
        # It reads the lab file and leaves it in the cache, as the run before it would have done.
        subprocess.run(fleet.command("", ["list"]), check=False, capture_output=True)
        before = {pid: _cpu_of(pid) for pid in beside}
        with tempfile.TemporaryFile("w+") as out:
            began = time.perf_counter()
            words = fleet.command(engine, [*COMMANDS[name], "--json", "--quiet"])
            client = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
            peak, used = _watch(client, beside, began)
            wall = time.perf_counter() - began
            out.seek(0)
            said = out.read()
        used |= {pid: _cpu_of(pid) - before[pid] for pid in beside}
        cpu = _Children.cpu + sum(used[pid] for pid in beside)
        if client.returncode not in _JUDGED:
            raise RuntimeError(f"exit status {client.returncode} of {' '.join(words)}\n{said[-2000:]}")
        cost = fleet.stop()
    busiest = max(used.values())
    made = engine or "threads"
    return Figure(name, made, hosts, wall, cpu, busiest, peak, cost["cpu"], int(cost["scripts"]))


class _Children:
    """The CPU seconds of the last child that was waited for, with its own children."""

    cpu = 0.0


def _watch(
    client: subprocess.Popen[bytes], beside: Sequence[int], began: float
) -> tuple[float, dict[int, float]]:
    """Wait for the client. Return the largest sum of its processes' resident sets, in MiB, and their CPU.

    The CPU seconds are by process, as they were at the last look.
    """
    peak = 0
    seen: dict[int, float] = {client.pid: 0.0}
    while True:
        pid, status, used = os.wait4(client.pid, os.WNOHANG)
        if pid:
            client.returncode = os.waitstatus_to_exitcode(status)
            _Children.cpu = used.ru_utime + used.ru_stime
            # A short peak of a single process is known to the kernel.
            return max(peak / _MEBIBYTE, used.ru_maxrss / 1024 if not beside else 0.0), seen
        if time.perf_counter() - began > _SECONDS:
            client.kill()
        processes = [*tree_of(client.pid), *beside]
        peak = max(peak, sum(map(_resident, processes)))
        for process in processes:
            with suppress(OSError, IndexError):
                seen[process] = _own_cpu_of(process)
        time.sleep(_LOOK)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process and of the children that it has waited for."""
    return sum(_ticks(pid)) / _TICK


def _own_cpu_of(pid: int) -> float:
    return sum(_ticks(pid)[:2]) / _TICK


def _ticks(pid: int) -> list[int]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return list(map(int, fields[11:15]))


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    heads = "command | engine | hosts | wall s | client CPU s | of the busiest process | CPU ms a host"
    heads += " | peak MiB | simulator CPU s"
    lines = [f"| {heads} |", "|" + "---|" * (heads.count("|") + 1)]
    lines += [
        f"| `{each.command}` | {each.engine} | {each.hosts:,} | {each.wall:.1f} | {each.cpu:.1f}"
        f" | {each.busiest:.1f} | {each.per_host:.1f} | {each.mebibytes:.0f} | {each.simulator:.1f} |"
        for each in figures
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure the chosen commands and sizes and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_hosts", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 300, 1000, 5000], metavar="N")
    parser.add_argument("--command", action="append", choices=list(COMMANDS), default=[])
    parser.add_argument("--engine", action="append", default=[], help="as labrun's --engine; may be repeated")
    help_ = (
        "a process of the client that labrun does not start itself, such as a Dask worker; may be repeated"
    )
    parser.add_argument("--beside", action="append", type=int, default=[], metavar="PID", help=help_)
    found = parser.parse_args()
    figures = []
    os.environ.pop("LABRUN_LAB", None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-many-") as base:
        for engine in found.engine or [""]:
            for name in found.command or ["verify", "drift", "configure --dry-run"]:
                for hosts in found.hosts:
                    figure = measure(Path(base), hosts, name, engine, found.beside)
                    figures.append(figure)
                    print(table(figures).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
