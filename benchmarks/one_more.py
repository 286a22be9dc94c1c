"""Measure what one more host costs: bring a small and a larger lab up, and divide the difference."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.labs import BenchLab, bench_lab
from labrun.hypervisor import connect
from labrun.tasks.provision.domains import tagged_domains

__all__ = ["Cost", "cost_of", "main"]

_SIZES = {"lxc:///system": (2, 10), "qemu:///system": (1, 3)}
_OCTET = 162


@dataclass(frozen=True, slots=True)
class Cost:
    """What a lab costs: ``seconds`` until it is ready, CPU seconds of its guests and of labrun, and MiB."""

    hosts: int
    seconds: float
    guests: float
    labrun: float
    memory: float

    def per_host(self, smaller: Cost) -> Cost:
        """Return the cost of each host that this lab has more than a smaller one."""
        more = self.hosts - smaller.hosts
        return Cost(
            1,
            (self.seconds - smaller.seconds) / more,
            (self.guests - smaller.guests) / more,
            (self.labrun - smaller.labrun) / more,
            (self.memory - smaller.memory) / more,
        )


def cost_of(lab: BenchLab) -> Cost:
    """Bring a lab up and return what it has cost. Raises RuntimeError if a host does not get ready."""
    before, began = _own_cpu(), time.monotonic()
    lab.up()
    seconds, own = time.monotonic() - began, _own_cpu() - before
    domains = [domain for domain, _, _ in tagged_domains(connect(lab.uri), lab.lab.name)]
    memory = _each(domains, _memory)
    return Cost(len(domains), seconds, lab.guests_cpu(), own, memory)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _each(domains: list[Any], value: Callable[[Any], float]) -> float:
    return sum(value(domain) for domain in domains)


def _memory(domain: Any) -> float:
    """Return what a machine takes now, in MiB: of QEMU, or of the container's group."""
    if domain.connect().getURI().startswith("lxc"):
        return float(domain.info()[2]) / 1024
    return float(domain.memoryStats()["rss"]) / 1024


def main() -> None:
    """Measure containers and, with ``--vms``, virtual machines, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_more", description=__doc__)
    parser.add_argument("--vms", action="store_true", help="virtual machines instead of containers")
    uri = "qemu:///system" if parser.parse_args().vms else "lxc:///system"
    costs = []
    with tempfile.TemporaryDirectory() as base:
        for number, hosts in enumerate(_SIZES[uri]):
            octet = _OCTET + 2 * number
            with bench_lab(Path(base), f"bench-more{hosts}", hosts, octet, uri=uri) as lab:
                costs.append(cost_of(lab))
    print("| hosts | seconds | guests' CPU s | labrun's CPU s | MiB |\n|---|---|---|---|---|")
    for cost in costs:
        print(_row(str(cost.hosts), cost))
    print(_row("one more", costs[-1].per_host(costs[0])))


def _row(name: str, cost: Cost) -> str:
    return f"| {name} | {cost.seconds:.1f} | {cost.guests:.1f} | {cost.labrun:.2f} | {cost.memory:.0f} |"


if __name__ == "__main__":
    main()
