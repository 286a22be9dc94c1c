"""Machines that end while a run works on their hosts, in libvirt's own test driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Task

from labrun.hypervisor import connect
from labrun.outcome import Status
from labrun.runner.engine import gone
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.gone import GoneMachines
from labrun.runner.engine.nornir import build_nornir, outcomes_of
from labrun.tasks.provision.objects import Observed
from labrun.tasks.provision.planning import SeenMachine

URI = "test:///default"
XML = """\
<domain type='test'>
  <name>gone-one</name>
  <metadata><labrun:lab xmlns:labrun='urn:labrun:1' name='gone' host='one'/></metadata>
  <memory>8192</memory>
  <os><type>hvm</type></os>
</domain>
"""


@dataclass(frozen=True)
class Watched:
    """A domain that runs, and what is watched of it."""

    domain: Any
    machines: GoneMachines

    def until(self, fate: str) -> None:
        deadline = time.monotonic() + 20
        while self.machines.why("one") != fate:
            assert time.monotonic() < deadline, self.machines.why("one")
            time.sleep(0.02)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(gone, "_FIRST", 0.0)
    monkeypatch.setattr(gone, "_GRACE", 0.5)
    domain = connect(URI).defineXML(XML)
    domain.create()
    seen = {"one": SeenMachine("qemu", URI, Observed("gone-one", {}, host="one"))}
    machines = GoneMachines("gone", ["one", "other"], lambda: seen)
    try:
        with machines.watching():
            yield Watched(domain, machines)
    finally:
        for each in connect(URI).listAllDomains():
            if each.name() == "gone-one":
                if each.isActive():
                    each.destroy()
                each.undefine()


def test_a_machine_that_stops_is_gone_until_it_runs_again(watched: Watched) -> None:
    watched.domain.suspend()
    watched.domain.resume()
    assert watched.machines.why("one") == ""
    watched.domain.destroy()
    watched.until("stopped")
    assert watched.machines.why("other") == ""
    watched.domain.create()
    watched.until("")


def test_a_machine_that_is_removed_is_gone(watched: Watched) -> None:
    watched.domain.destroy()
    watched.domain.undefine()
    watched.until("removed")


def test_power_that_is_cut_and_comes_back_is_no_end(watched: Watched) -> None:
    for _ in range(5):
        watched.domain.destroy()
        watched.domain.create()
        time.sleep(0.2)
        assert watched.machines.why("one") == ""


def test_a_host_whose_machine_is_gone_is_not_waited_for_and_the_others_go_on() -> None:
    open_, began_on_it = threading.Event(), threading.Event()
    hosts = Hosts({name: Host(name) for name in ("one", "two")})

    def hangs_on_one(task: Task) -> str:
        if task.host.name == "one":
            began_on_it.set()
            assert open_.wait(60)
        return "done"

    def why(host: str) -> str:
        return "stopped" if host == "one" and began_on_it.is_set() else ""

    began = time.monotonic()
    try:
        nornir = build_nornir(Inventory(hosts=hosts, groups=Groups(), defaults=Defaults()), Budget(gone=why))
        results = nornir.run(hangs_on_one)
    finally:
        open_.set()
    assert time.monotonic() - began < 30
    assert results["two"][0].result == "done"
    (row,) = outcomes_of({"one": results["one"]}, "nmcli", "left")  # type: ignore[arg-type]
    assert (row.status, row.why) == (
        Status.UNKNOWN,
        "the machine was stopped while labrun worked on it (`labrun up` brings it back)",
    )
