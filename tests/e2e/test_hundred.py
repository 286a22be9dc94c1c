"""A hundred containers in one lab: they come up, are configured, verified and watched, and go down."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import libvirt
import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside
from tests.labs import Answer, RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.scale, pytest.mark.timeout(3600)]

NAME = "scale-hundred"
# Fewer on a small machine: 4 routers, and this many hosts on each of their networks.
SITES, PER_SITE = 4, int(os.environ.get("SCALE_PER_SITE", "24"))
HOSTS = SITES * (PER_SITE + 1)
_MEMORY = 128


def lab_text(*, extra: str = "") -> str:
    """Return four sites of as many hosts, each behind a router of its own, around one network."""
    lines = [
        f"name: {NAME}",
        "hypervisor: lxc:///system",
        f"defaults: {{image: debian-12, memory: {_MEMORY}, sysctl: {{net.ipv4.tcp_syncookies: 1}}}}",
        "networks:",
        "  core: {mode: isolated, cidr: 10.235.0.0/24}",
    ]
    lines += [f"  site{site}: {{mode: isolated, cidr: 10.235.{site}.0/24}}" for site in range(1, SITES + 1)]
    lines.append("hosts:")
    for site in range(1, SITES + 1):
        there = f"{{core: 10.235.0.{10 + site}, site{site}: 10.235.{site}.254}}"
        lines.append(f"  gate{site}: {{role: router, networks: {there}}}")
        lines += [
            f"  s{site}h{number:02}: {{networks: {{site{site}: 10.235.{site}.{10 + number}}}{extra}}}"
            for number in range(1, PER_SITE + 1)
        ]
    return "\n".join(lines) + "\n"


@dataclass
class Figures:
    """What each step cost: wall seconds, CPU seconds of labrun and its children, and its peak memory."""

    steps: dict[str, dict[str, float]] = field(default_factory=dict)

    def measured(self, name: str, step: Callable[[], Answer]) -> Answer:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        answer = step()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.steps[name] = {
            "seconds": round(time.monotonic() - began, 1),
            "cpu": round(cpu, 1),
            # Of the largest child so far.
            "peak_mib": round(after.ru_maxrss / 1024),
        }
        print(name, json.dumps(self.steps[name]), flush=True)  # noqa: T201 - shown by -s, and by a failure
        return answer


def domains() -> list[libvirt.virDomain]:
    found = libvirt.open("lxc:///system").listAllDomains()
    return [domain for domain in found if domain.name().startswith(f"{NAME}-")]


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures()


@pytest.fixture(scope="module")
def lab(hypervisor: None, figures: Figures, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("hundred"), lab_text())
    try:
        # Beside other work a boot may take longer than the two minutes that it has.
        up = figures.measured("up", lambda: made.json("up", "--timeout", "300"))
        assert up.exit_code == 0, "\n".join(f"{row['host']}: {row['why']}" for row in up.bad()) or up.stderr
        assert len(domains()) == HOSTS
        used = [domain.info() for domain in domains()]
        memory, cpu = (sum(int(each[place]) for each in used) / HOSTS for place in (2, 4))
        print(f"a host: {memory / 1024:.0f} MiB, {cpu / 1e9:.2f} CPU s", flush=True)  # noqa: T201
        # With what the page cache holds for it.
        assert memory / 1024 < 80
        yield made
    finally:
        down = figures.measured("down", lambda: made.run("-y", "down"))
    assert down.exit_code == 0, down.stderr
    assert domains() == []
    words = ["scripts/hypervisor", "enter", "ip", "-br", "link"]
    left = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.findall(r"^(?:vnet|veth)\S*", left.stdout, re.MULTILINE) == []


def test_it_comes_up_and_a_second_up_changes_nothing(lab: RunningLab, figures: Figures) -> None:
    again = figures.measured("second up", lambda: lab.json("up"))
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    assert len(again.of("ready")) == HOSTS


def test_it_is_configured_once_and_verified(lab: RunningLab, figures: Figures) -> None:
    first = figures.measured("configure", lambda: lab.json("configure"))
    assert first.exit_code == 0, first.trouble()
    assert len({row["host"] for row in first.rows}) == HOSTS
    assert "changed" in first.statuses()
    again = figures.measured("second configure", lambda: lab.json("configure"))
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    verified = figures.measured("verify", lambda: lab.json("verify"))
    assert verified.exit_code == 0, verified.trouble()
    assert len({row["host"] for row in verified.of("route")}) == HOSTS


def test_one_host_that_was_changed_by_hand_is_found_among_all(lab: RunningLab, figures: Figures) -> None:
    clean = figures.measured("drift", lambda: lab.json("drift"))
    assert (clean.exit_code, clean.bad()) == (0, [])
    inside(f"{NAME}-s3h02", "sysctl -qw net.ipv4.tcp_syncookies=0")
    moved = lab.json("drift")
    assert moved.exit_code == 3
    assert [(row["host"], row["section"], row["status"]) for row in moved.bad()] == [
        ("s3h02", "sysctl", "drifted")
    ]
    fixed = lab.json("-y", "drift", "--fix")
    assert fixed.exit_code == 0, fixed.trouble()


def test_labrun_itself_stays_small(lab: RunningLab, figures: Figures) -> None:
    assert max(step["peak_mib"] for step in figures.steps.values()) < 250
    # Each login costs the client 10 ms or so, and a few readings of all addresses.
    assert figures.steps["second configure"]["cpu"] < 15
