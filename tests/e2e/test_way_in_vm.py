"""Changes meant to close the way into VMs: labrun gets in afterwards, also after a real restart.

Three machines are attacked at a time and restored from a snapshot between attacks. Each is as declared
afterwards, or as it was before.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.lockouts import Case
from tests.e2e.vm_lockouts import CASES, STATE
from tests.labs import Answer, RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

NAMES = ("one", "two", "three")
# Without KVM, and beside other tests.
SLOW = ("--timeout", "500")
ENDINGS = {"changed", "rolled-back", "failed"}
BEFORE = "/srv/state.before"


def lab_text(cases: dict[str, Case]) -> str:
    """Return the lab, with what each case says of the machine that it is tried on."""
    lines = [
        "name: grd-vmway",
        "hypervisor: qemu:///system",
        "defaults: {image: debian-12, memory: 512}",
        "networks: {left: {mode: isolated, cidr: 10.60.61.0/24}}",
        "hosts:",
    ]
    for number, name in enumerate(NAMES, start=11):
        case = cases.get(name, Case())
        nic = f"{{ipv4: 10.60.61.{number}, nmcli: {{{case.nmcli}}}}}"
        lines.append(f"  {name}: {{networks: {{left: {nic}}}{case.text}}}")
    return "\n".join(lines) + "\n"


@dataclass
class Machines:
    """The lab, up, configured and saved."""

    lab: RunningLab

    def on_all(self, script: str, hosts: tuple[str, ...] = NAMES) -> dict[str, str]:
        """Run a script as root on machines through their agents; returns what each printed or why not."""
        answer = self.lab.json(*SLOW, "exec", "--via", "agent", "--hosts", ",".join(hosts), script)
        return {row["host"]: str(row["actual"] or "") + str(row["why"] or "") for row in answer.rows}

    def logins(self) -> dict[str, bool]:
        """Return where labrun gets in."""
        return {
            name: self.lab.run("--timeout", "120", "ssh", name, "sudo -n true").exit_code == 0
            for name in NAMES
        }

    def changes(self) -> dict[str, str]:
        """Return what is not as it was before, as a diff for each machine."""
        return self.on_all(f"{{ {STATE}\n}} >/srv/state.now 2>&1; diff {BEFORE} /srv/state.now; true")


@pytest.fixture(scope="module")
def machines(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    lab = write_lab(tmp_path_factory.mktemp("way-in-vm"), lab_text({}))
    try:
        up = lab.json(*SLOW, "up", "--configure")
        assert up.exit_code == 0, up.trouble()
        made = Machines(lab)
        made.on_all(f"{{ {STATE}\n}} >{BEFORE} 2>&1")
        saved = lab.json(*SLOW, "snapshot", "save", "good")
        assert saved.exit_code == 0, saved.trouble()
        yield made
    finally:
        lab.run("-y", "down")


def fault(case: Case, rows: list[dict[str, object]], reached: bool, booted: bool, changes: str) -> str:
    """Return what is wrong with how an attack ended, else ''."""
    statuses = {str(row["status"]) for row in rows}
    if not reached:
        return "no way in after the change"
    if not booted:
        return "no way in after a restart"
    if not statuses <= ENDINGS:
        return f"a row that is none of {sorted(ENDINGS)}"
    if case.stays != (statuses == {"changed"}):
        return "it was to stay" if case.stays else "it was not to stay"
    if statuses == {"changed"}:
        return ""
    if any(re.search("not as (it was )?before", str(row["why"])) for row in rows):
        return "a row says that the machine is not as before"
    return changes and f"not as before: {changes}"


def attack(machines: Machines, cases: dict[str, Case]) -> dict[str, str]:
    """Try one case on each machine; returns what is wrong with each, and prints how each ended."""
    lab = machines.lab
    restored = lab.json(*SLOW, "-y", "snapshot", "restore", "good")
    assert restored.exit_code == 0, restored.trouble()
    path = lab.path.with_name("bad.yaml")
    path.write_text(lab_text(cases), encoding="utf-8")
    answer: Answer = RunningLab(path, lab.state).json(*SLOW, "configure", "--confirm-timeout", "120")
    assert {row["host"] for row in answer.rows} >= set(cases), answer.trouble()
    reached, changes = machines.logins(), machines.changes()
    restarted = lab.json(*SLOW, "restart")
    booted = machines.logins()
    found = {}
    for name, case in cases.items():
        rows = [row for row in answer.rows if row["host"] == name and row["status"] != "ok"]
        ends = [
            f"  {row['status']} after {row['seconds']:.0f} s: {row['section']} {row['why']}" for row in rows
        ]
        said = [name, f"{reached[name]} {booted[name]}", *ends, changes[name], restarted.trouble()]
        sys.stdout.write("\n".join(said) + "\n")
        found[name] = fault(case, rows, reached[name], booted[name], changes[name])
    return {name: why for name, why in found.items() if why}


@pytest.mark.parametrize("first", range(0, len(CASES), len(NAMES)))
def test_labrun_gets_in_and_the_machine_is_as_it_was(machines: Machines, first: int) -> None:
    names = list(CASES)[first : first + len(NAMES)]
    found = attack(machines, dict(zip(NAMES, map(CASES.__getitem__, names), strict=False)))
    assert found == {}, names
