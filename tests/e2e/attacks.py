"""Changes meant to close the way in, tried on real hosts: one host a case, all in one run.

An attack makes the bad change on every host, looks whether labrun gets in afterwards and how each host is
then, restarts all of them and looks again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.lockouts import SUBNET, WHOLE, Case
from tests.labs import Answer, RunningLab

__all__ = ["IPV6", "JUMP", "OPENRC", "URI", "Attacked", "Way", "at", "attack", "attacked", "check", "faults"]

URI = "lxc:///system"
ENDINGS = {"changed", "rolled-back", "failed"}


@dataclass
class Attacked:
    """The bad run over all hosts; how each was before, after, and after a restart; the good file's run."""

    cases: Mapping[str, Case]
    answer: Answer
    before: dict[str, str]
    after: dict[str, str]
    reached: dict[str, bool]
    booted: dict[str, bool]
    again: Answer


def _each_of(hosts: Mapping[str, Case], work: Callable[[str], str]) -> dict[str, str]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(hosts, pool.map(work, hosts), strict=True))


def attack(
    good: RunningLab, bad: RunningLab, name: str, cases: Mapping[str, Case], come_up: Callable[[], None]
) -> Attacked:
    """Have ``bad`` change the hosts of ``good``, which are up and configured.

    ``name`` is the lab's that made them; ``come_up`` waits until they are there after a restart.
    """

    def on_all(script_of: Callable[[Case], str]) -> dict[str, str]:
        def run(host: str) -> str:
            script = script_of(cases[host])
            return inside(f"{name}-{host}", script) if script else ""

        return _each_of(cases, run)

    def logins() -> dict[str, bool]:
        said = _each_of(cases, lambda host: str(good.run("--timeout", "30", "ssh", host, "true").exit_code))
        return {host: code == "0" for host, code in said.items()}

    def virsh(action: str) -> None:
        def run(host: str) -> str:
            words = ["virsh", "-q", "-c", URI, action, f"{name}-{host}"]
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout

        _each_of(cases, run)

    on_all(lambda case: case.before)
    before = on_all(lambda _: WHOLE)
    answer = bad.json("configure", "--confirm-timeout", "15")
    # A file that is refused as a whole attacks nobody.
    assert {row["host"] for row in answer.rows} >= set(cases), answer.stderr or answer.stdout
    for host in cases:
        wait_until(f"{name}-{host}", "[ ! -e /var/lib/labrun/guard ]")
    reached = logins()
    after = on_all(lambda _: WHOLE)
    on_all(lambda case: case.after)
    virsh("destroy")
    virsh("start")
    come_up()
    booted = logins()
    return Attacked(cases, answer, before, after, reached, booted, good.json("configure"))


def at(subnet: str, case: Case) -> tuple[str, str]:
    """Return the case's properties of the NIC and its other keys, for a host in this network."""
    nmcli, more = (text.replace(f"{SUBNET}.", f"{subnet}.") for text in (case.nmcli, case.text))
    return nmcli, more


@dataclass(frozen=True)
class Way:
    """How the hosts of the cases are reached: texts of the lab file, with ``NET`` for the subnet.

    ``networks`` are the lab's, ``gate`` those of the router, ``nic`` is what a host's NIC on ``left`` has,
    with ``NUMBER`` in its address.
    """

    networks: str
    gate: str
    nic: str
    rest: str = ", gateway: NET.254"
    image: str = "debian-12"
    images: str = ""


IPV4 = Way("left: {mode: isolated, cidr: NET.0/24}", "left: NET.254", "ipv4: NET.NUMBER")
"""Beside the hypervisor."""
JUMP = Way(
    "near: {mode: isolated, cidr: NET.128/25}, left: {mode: very-isolated, cidr: NET.0/25}",
    "near: NET.254, left: NET.126",
    "ipv4: NET.NUMBER",
    ", gateway: NET.126",
)
"""On a network that only the router is on, which is their jump host."""
IPV6 = Way(
    'left: {mode: isolated, cidr6: "fd00:60:5::/64"}', 'left: {ipv6: "fd00:60:5::fe"}', "ipv6: SIX", ""
)
"""Beside the hypervisor, and IPv6 is all that there is."""
OPENRC = replace(IPV4, image="chosen", images='chosen: {build: "debian-12:openrc"}')
"""Guests without systemd and NetworkManager: OpenRC, and ifupdown."""


def _lab_text(name: str, subnet: str, cases: Mapping[str, Case], way: Way, *, bad: bool) -> str:
    """Return a lab with a host a case, as it is or as the case would have it."""
    lines = [
        f"name: {name}",
        f"hypervisor: {URI}",
        f"defaults: {{image: {way.image}, memory: 128}}",
        f"images: {{{way.images}}}",
        f"networks: {{{way.networks}}}",
        "hosts:",
        f"  gate: {{role: router, networks: {{{way.gate}}}}}",
    ]
    for number, (host, case) in enumerate(cases.items(), start=11):
        nmcli, more = at(subnet, case) if bad else ("", "")
        six = case.ipv6 or f'"fd00:60:5::{number}"'
        nic = f"{{{way.nic.replace('NUMBER', str(number)).replace('SIX', six)}, nmcli: {{{nmcli}}}}}"
        lines.append(f"  {host}: {{networks: {{left: {nic}}}{way.rest}{more}}}")
    return "\n".join(lines).replace("NET", subnet) + "\n"


@contextmanager
def attacked(
    directory: Path, name: str, subnet: str, cases: Mapping[str, Case], way: Way = IPV4
) -> Iterator[Attacked]:
    """Attack hosts that labrun makes for it and removes again."""
    lab = write_lab(directory, _lab_text(name, subnet, cases, way, bad=False))
    path = directory / "bad.yaml"
    path.write_text(_lab_text(name, subnet, cases, way, bad=True), encoding="utf-8")
    try:
        up = lab.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        yield attack(lab, RunningLab(path, lab.state), name, cases, lambda: _up(lab))
    finally:
        lab.run("-y", "down")


def _up(lab: RunningLab) -> None:
    # Hosts that do not come up are found by the logins that follow.
    lab.json("up")


def check(seen: Attacked, host: str, *, may_stay: bool = False) -> None:
    """Assert that labrun gets in, and that the host is as declared or as it was before."""
    rows = [row for row in seen.answer.rows if row["host"] == host and row["status"] != "ok"]
    assert seen.reached[host], rows
    assert seen.booted[host], rows
    assert {row["status"] for row in rows} <= ENDINGS, rows
    changed = {row["status"] for row in rows} == {"changed"}
    assert may_stay or changed is seen.cases[host].stays, rows
    if not changed:
        assert seen.after[host] == seen.before[host]
        # The host was as before: no row may say otherwise, of the host's own comparison or of labrun's.
        assert not any(re.search("not as (it was )?before", str(row["why"])) for row in rows), rows


def faults(seen: Attacked) -> dict[str, str]:
    """Return what is wrong with each host of a long run, and say how each ended."""
    found = {}
    for host in seen.cases:
        rows = [row for row in seen.answer.rows if row["host"] == host and row["status"] != "ok"]
        ends = {f"{row['status']} after {row['seconds']:.0f} s: {row['why']}" for row in rows}
        sys.stdout.write(f"{host}: {' | '.join(sorted(ends)) or 'nothing to do'}\n")
        try:
            check(seen, host, may_stay=True)
        except AssertionError as error:
            found[host] = str(error)
    return found
