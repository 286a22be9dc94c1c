"""SELinux: what holds now, what holds at the next boot, and what would keep a machine from booting."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.selinux import CONFIG, Selinux
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.item import Item
from tests.unit.undoing import keeping, undoing

POLICY = "selinux-policy /etc/selinux/targeted/policy/policy.33"
FILE = "# a remark\nSELINUX={}\nSELINUXTYPE=targeted\n"


def plan(mode: str, live: str | None, config: str | None, *words: str) -> SectionPlan:
    files = {} if live is None else {"/sys/fs/selinux/enforce": live}
    files |= {} if config is None else {CONFIG: config}
    return Selinux().plan({"mode": mode}, Facts(files, {}, frozenset({"selinux-writable", *words})))


def only(section: SectionPlan) -> Item:
    (item,) = section.items
    return item


@pytest.mark.parametrize(
    ("mode", "live", "config", "state", "actual", "why"),
    [
        ("enforcing", None, None, "skipped", "disabled", "no SELinux in this kernel"),
        ("disabled", None, None, "ok", "disabled", None),
        ("enforcing", "1", FILE.format("enforcing"), "ok", "enforcing", None),
        ("permissive", "0", FILE.format("permissive"), "ok", "permissive", None),
        ("disabled", "0", FILE.format("disabled"), "ok", "permissive (disabled after a reboot)", None),
        ("enforcing", None, FILE.format("enforcing"), "ok", "disabled (enforcing after a reboot)", None),
        (
            "enforcing",
            None,
            FILE.format("disabled"),
            "change",
            "disabled",
            "enforcing only after a reboot",
        ),
        (
            "disabled",
            "1",
            FILE.format("enforcing"),
            "change",
            "enforcing",
            "disabled only after a reboot",
        ),
        ("permissive", "1", FILE.format("enforcing"), "change", "enforcing", None),
        (
            "enforcing",
            "1",
            FILE.format("permissive"),
            "change",
            "enforcing (permissive after a reboot)",
            None,
        ),
    ],
)
def test_the_mode_now_and_after_a_reboot(
    mode: str, live: str | None, config: str | None, state: str, actual: str, why: str | None
) -> None:
    section = plan(mode, live, config, POLICY)
    assert (only(section).state, only(section).actual, only(section).why) == (state, actual, why)
    assert bool(section.apply) is (state == "change")
    assert bool(section.undo) is (state == "change")


def test_a_container_of_a_machine_with_selinux_leaves_it_alone() -> None:
    facts = Facts({"/sys/fs/selinux/enforce": "1"})
    item = only(Selinux().plan({"mode": "permissive"}, facts))
    assert (item.state, item.why) == ("skipped", "SELinux belongs to the machine, not the container")


@pytest.mark.parametrize("words", [(), ("selinux-policy /etc/selinux/mls/policy/policy.33",)])
def test_what_would_keep_the_machine_from_booting_is_refused(words: tuple[str, ...]) -> None:
    section = plan("enforcing", "0", FILE.format("permissive"), *words)
    why = "no SELinux policy is installed here, and without one the next boot would halt"
    assert (only(section).state, only(section).why, section.apply) == ("refused", why, "")


@pytest.mark.parametrize(
    ("config", "after"),
    [
        (FILE.format("permissive"), FILE.format("enforcing")),
        ("selinux = Disabled # why\n", "SELINUX=enforcing\n"),
        ("SELINUXTYPE=targeted", "SELINUXTYPE=targeted\nSELINUX=enforcing\n"),
        (None, "SELINUX=enforcing\nSELINUXTYPE=default\n"),
    ],
)
def test_the_script_and_its_undo_touch_one_line_and_the_switch(
    config: str | None, after: str, tmp_path: Path
) -> None:
    file, switch = tmp_path / "config", tmp_path / "enforce"
    switch.write_text("0", encoding="ascii")
    if config is not None:
        file.write_text(config, encoding="ascii")
    section = plan("enforcing", "0", config, POLICY, "selinux-policy /etc/selinux/default/policy/policy.33")

    def run(script: str) -> None:
        script = script.replace("/etc/selinux", str(tmp_path)).replace("/sys/fs/selinux", str(tmp_path))
        subprocess.run(["sh", "-e"], input=script, text=True, check=True)

    run(keeping(section, tmp_path))
    run(guest_script("install_file") + section.apply)
    assert (file.read_text(encoding="ascii"), switch.read_text(encoding="ascii")) == (after, "1")
    assert plan("enforcing", "1", after, POLICY, "selinux-policy /etc/selinux/default/x").apply == ""
    run(undoing(section, tmp_path))
    assert switch.read_text(encoding="ascii") == "0"
    assert (file.read_text(encoding="ascii") if file.exists() else None) == config


@pytest.mark.parametrize(
    ("mode", "live", "config", "diff"),
    [
        ("permissive", "1", "enforcing", "-enforcing\n+permissive"),
        ("permissive", "0", "enforcing", "-enforcing\n+permissive"),
        ("disabled", "0", "enforcing", "-enforcing\n+disabled"),
        ("disabled", "1", "disabled", None),
    ],
)
def test_the_difference_is_the_mode_that_is_off(mode: str, live: str, config: str, diff: str | None) -> None:
    assert only(plan(mode, live, FILE.format(config))).diff == diff
