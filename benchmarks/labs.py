"""The benchmark labs: two networks around a router, of any size, taken down in every case."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labrun.hypervisor import connect
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.state import LabState
from labrun.tasks.provision.domains import tagged_domains

if TYPE_CHECKING:
    from nornir.core import Nornir

__all__ = ["LABRUN", "BenchLab", "bench_lab"]

LABRUN = (str(Path(sys.executable).with_name("labrun")),)


def lab_text(name: str, hosts: int, octet: int, uri: str) -> str:
    """Return a lab file: a router, and hosts alternating between two networks, the last one with DHCP."""
    lines = [
        f"name: {name}",
        f"hypervisor: {uri}",
        "networks:",
        f"  left: {{mode: isolated, cidr: 10.{octet}.0.0/24}}",
        f"  right: {{mode: isolated, cidr: 10.{octet + 1}.0.0/24}}",
        "hosts:",
        f"  host00: {{role: router, networks: {{left: 10.{octet}.0.254, right: 10.{octet + 1}.0.254}}}}",
    ]
    for number in range(1, hosts):
        side, add = ("left", 0) if number % 2 else ("right", 1)
        address = "dhcp" if number == hosts - 1 else f"10.{octet + add}.0.{10 + number}"
        lines.append(f"  host{number:02}: {{networks: {{{side}: {address}}}}}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class BenchLab:
    """A lab on disk, with a separate directory for its state and for scripts."""

    directory: Path
    lab: Lab
    uri: str

    @property
    def state(self) -> LabState:
        """Return the lab's keys and known hosts."""
        return LabState.open(self.lab.name, self.uri, self.directory / "state")

    @property
    def addresses(self) -> dict[str, str]:
        """Return each host's first address, including reserved ones."""
        return {
            host.name: str(host.interfaces[0].ipv4.ip)
            for host in self.lab.hosts.values()
            if host.interfaces[0].ipv4 is not None
        }

    def labrun(self, *words: str) -> list[str]:
        """Return the command line of ``labrun`` on this lab."""
        where = ["--lab", str(self.directory / "lab.yaml"), "--state-dir", str(self.directory / "state")]
        return [*LABRUN, *where, *words]

    def run(self, *words: str) -> None:
        """Run ``labrun`` on this lab. Raises RuntimeError if it fails."""
        done = subprocess.run(self.labrun(*words), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"labrun {' '.join(words)}: {done.stdout}{done.stderr}")

    def up(self) -> None:
        """Bring the lab up."""
        self.run("up")

    def down(self) -> None:
        """Take the lab down; no error if there is none."""
        self.run("-y", "down")

    def guests_cpu(self) -> float:
        """Return the CPU seconds that the lab's containers have used since their start."""
        domains = tagged_domains(connect(self.uri), self.lab.name)
        return float(sum(domain.info()[4] for domain, _, _ in domains)) / 1e9

    @contextmanager
    def engine(self, data: Mapping[str, Mapping[str, Any]]) -> Iterator[Nornir]:
        """Yield Nornir over the lab's hosts, with ``data`` merged in, as labrun's commands use it."""
        from labrun.inventory.hosts.locate import locate
        from labrun.inventory.hosts.plugin import inventory_of
        from labrun.runner.engine.budget import Budget
        from labrun.runner.engine.nornir import build_nornir, closing_connections

        inventory = inventory_of(self.lab, locate(self.lab, None), self.state)
        for name, added in data.items():
            inventory.hosts[name].data.update(added)
        with closing_connections(inventory):
            yield build_nornir(inventory, Budget(deadline=300.0))


@contextmanager
def bench_lab(
    base: Path, name: str, hosts: int, octet: int, *, uri: str = "lxc:///system", up: bool = False
) -> Iterator[BenchLab]:
    """Yield a lab of ``hosts`` hosts on 10.``octet`` and the next one, and remove it after the block."""
    directory = base / name
    directory.mkdir(parents=True)
    path = directory / "lab.yaml"
    path.write_text(lab_text(name, hosts, octet, uri), encoding="utf-8")
    made = BenchLab(directory, load_lab(path), uri)
    # An earlier run may have been killed and left the lab.
    made.down()
    try:
        if up:
            made.up()
        yield made
    finally:
        made.down()
