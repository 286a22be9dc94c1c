"""Kernel parameters: what is asked for, which file wins at boot, and the script run by the real sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.sysctl import DROP_IN, Sysctl, desired_sysctl
from labrun.tasks.guest.facts.sysctl import Winner, settings_of, winner
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item
from tests.fuzz import examples
from tests.unit.small_labs import host, lab, network
from tests.unit.undoing import keeping, undoing

FORWARD = "net/ipv4/ip_forward"


def test_a_router_forwards_and_filters_loosely() -> None:
    assert desired_sysctl(host("r", {"n": "10.0.0.1/24"}, role="router")) == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "2",
        "net.ipv4.conf.default.rp_filter": "2",
    }


def test_a_router_with_ipv6_forwards_that_too() -> None:
    router = host("r", {"n": "10.0.0.1/24 fd00::1/64"}, role="router")
    assert desired_sysctl(router)["net.ipv6.conf.all.forwarding"] == "1"


def test_a_host_holds_only_what_the_file_says_and_the_file_wins_over_the_role() -> None:
    assert desired_sysctl(host("h", {"n": "10.0.0.1/24"})) == {}
    said = {"net.ipv4.conf.all.rp_filter": "1"}
    router = host("r", {"n": "10.0.0.1/24"}, role="router", sysctl=said)
    assert desired_sysctl(router)["net.ipv4.conf.all.rp_filter"] == "1"


def test_a_key_of_the_role_in_another_spelling_is_held_once() -> None:
    router = host("r", {"n": "10.0.0.1/24"}, role="router", sysctl={"net/ipv4/ip_forward": "1"})
    assert [key for key in desired_sysctl(router) if "ip_forward" in key] == ["net/ipv4/ip_forward"]


def test_files_win_by_base_name_and_etc_hides_the_vendor_s() -> None:
    files = {
        "/usr/lib/sysctl.d/50-a.conf": "net.ipv4.ip_forward = 1",
        "/etc/sysctl.d/50-a.conf": "# nothing",
        "/usr/lib/sysctl.d/40-b.conf": "net/ipv4/ip_forward=2",
        "/etc/sysctl.d/README": "net.ipv4.ip_forward = 9",
    }
    assert winner(FORWARD, files) == Winner("2", "/usr/lib/sysctl.d/40-b.conf")
    files["/run/sysctl.d/60-c.conf"] = "; no\n-net.ipv4.ip_forward = 3\n"
    assert winner(FORWARD, files) == Winner("3", "/run/sysctl.d/60-c.conf")
    assert winner("net/ipv4/other", files) is None


def test_a_key_written_out_beats_a_pattern_and_can_be_exempt_from_it() -> None:
    path = "net/ipv4/conf/eth0/rp_filter"
    files = {"/etc/sysctl.d/10-a.conf": "net.ipv4.conf.eth0.rp_filter = 1"}
    later = "/usr/lib/sysctl.d/50-b.conf"
    files[later] = "net.ipv4.conf.*.rp_filter = 2"
    assert winner(path, files) == Winner("1", "/etc/sysctl.d/10-a.conf")
    del files["/etc/sysctl.d/10-a.conf"]
    assert winner(path, files) == Winner("2", later)
    files[later] += "\n-net.ipv4.conf.eth0.rp_filter\n"
    assert winner(path, files) is None


@settings(max_examples=examples(200))
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert all(value is not None for value in settings_of(text).values())


def facts(running: dict[str, str], files: dict[str, str] | None = None, fixed: tuple[str, ...] = ()) -> Facts:
    paths = {f"/proc/sys/{path}": value + "\n" for path, value in running.items()}
    writable = {f"writable {path}" for path in paths if path.removeprefix("/proc/sys/") not in fixed}
    return Facts({**paths, **(files or {})}, {}, frozenset(writable))


def plan(values: dict[str, str], have: Facts) -> SectionPlan:
    return Sysctl().plan({"values": values}, have)


def only_item(values: dict[str, str], have: Facts) -> Item:
    (item,) = plan(values, have).items
    return item


def test_a_value_that_runs_and_lasts_needs_nothing() -> None:
    have = facts({FORWARD: "1"}, {"/etc/sysctl.d/99-sysctl.conf": "net.ipv4.ip_forward=1\n"})
    done = plan({"net.ipv4.ip_forward": "1"}, have)
    assert (done.items[0].state, done.apply, done.commands) == ("ok", "", ())


def test_the_kernel_s_tabs_are_no_difference() -> None:
    have = facts(
        {"net/ipv4/tcp_rmem": "4096\t131072\t6291456"}, {DROP_IN: "net.ipv4.tcp_rmem = 4096 131072 6291456"}
    )
    assert only_item({"net.ipv4.tcp_rmem": "4096 131072  6291456"}, have).state == "ok"


def test_what_only_runs_is_made_to_last() -> None:
    item = only_item({"net.ipv4.ip_forward": "1"}, facts({FORWARD: "1"}))
    assert (item.state, item.actual) == ("change", "1 (not kept across a reboot)")
    assert (item.diff or "").split("\n") == [
        f"+{DROP_IN}: net.ipv4.ip_forward = 1",
        "--- /dev/null",
        f"+++ {DROP_IN}",
        "@@ -0,0 +1,2 @@",
        "+# Written by labrun configure; changes made here are undone by its next run.",
        "+net.ipv4.ip_forward = 1",
    ]


def test_a_later_file_is_named_by_its_path_before_and_after() -> None:
    rival = {"/etc/sysctl.d/95-x.conf": "net.ipv4.ip_forward = 0"}
    why = f"/etc/sysctl.d/95-x.conf sets net.ipv4.ip_forward = 0 and is read after {DROP_IN}"
    before = only_item({"net.ipv4.ip_forward": "1"}, facts({FORWARD: "0"}, rival))
    assert (before.state, before.why) == ("change", why)
    after = facts({FORWARD: "1"}, {**rival, DROP_IN: "net.ipv4.ip_forward = 1"})
    item = only_item({"net.ipv4.ip_forward": "1"}, after)
    assert (item.state, item.why, item.actual) == ("refused", why, "1 (0 after a reboot)")
    assert plan({"net.ipv4.ip_forward": "1"}, after).apply == ""


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("vm.nope", "1", "this kernel has no vm.nope here"),
        ("kernel.pid_max", "9", "kernel.pid_max cannot be written here"),
        (
            "net.ipv4.ip_forward",
            "1\n2",
            "'1\\n2' cannot be the value of a kernel parameter 'net.ipv4.ip_forward'",
        ),
        ("net.ipv4.ip_forward", " ", "' ' cannot be the value of a kernel parameter 'net.ipv4.ip_forward'"),
        ("net.$(reboot)", "1", "'net.$(reboot)' cannot be the name of a kernel parameter"),
        ("net/../x", "1", "'net/../x' cannot be the name of a kernel parameter"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(key: str, value: str, why: str) -> None:
    item = only_item(
        {key: value}, facts({FORWARD: "0", "kernel/pid_max": "4194304"}, fixed=("kernel/pid_max",))
    )
    assert (item.state, item.why) == ("refused", why)


def test_a_container_skips_what_is_its_machine_s_and_not_its_network() -> None:
    fixed = ("kernel/pid_max", FORWARD)
    have = facts(
        {FORWARD: "0", "kernel/pid_max": "4194304"}, {"/run/systemd/container": "lxc\n"}, fixed=fixed
    )
    done = plan({"kernel.pid_max": "9", "net.ipv4.ip_forward": "1"}, have)
    assert done.apply == ""
    assert [(item.name, item.state, item.why) for item in done.items] == [
        (
            "kernel.pid_max",
            "skipped",
            "kernel.pid_max cannot be written here: it belongs to the machine, not the container",
        ),
        ("net.ipv4.ip_forward", "refused", "net.ipv4.ip_forward cannot be written here"),
    ]


def test_a_key_no_longer_declared_leaves_the_file() -> None:
    have = facts({FORWARD: "1"}, {DROP_IN: "net.ipv4.ip_forward = 1\nnet.ipv4.tcp_syncookies = 1\n"})
    done = plan({"net.ipv4.ip_forward": "1"}, have)
    assert [(item.name, item.state, item.expected) for item in done.items] == [
        ("net.ipv4.ip_forward", "ok", "1"),
        ("net.ipv4.tcp_syncookies", "change", "not declared"),
    ]
    assert "tcp_syncookies" not in done.apply


class Sandbox:
    """A directory in place of / for the scripts' fixed paths."""

    def __init__(self, root: Path, values: dict[str, str]) -> None:
        self.root = root
        for path, value in values.items():
            self.write(f"/proc/sys/{path}", value + "\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str | None:
        target = self.root / path.lstrip("/")
        return target.read_text(encoding="utf-8") if target.exists() else None

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        moved = (
            (guest_script("install_file") + script)
            .replace("/proc/sys/", f"{self.root}/proc/sys/")
            .replace("/etc/sysctl.d", f"{self.root}/etc/sysctl.d")
        )
        return subprocess.run(["sh", "-es"], input=moved, capture_output=True, text=True, check=False)

    def facts(self) -> Facts:
        files = {
            "/" + str(path.relative_to(self.root)): path.read_text(encoding="utf-8")
            for path in self.root.rglob("*")
            if path.is_file()
        }
        return Facts(files, {}, frozenset(f"writable {path}" for path in files))


def test_the_script_makes_the_plan_empty_and_undo_brings_the_old_state_back(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, {FORWARD: "0", "net/ipv4/tcp_rmem": "1\t2\t3"})
    box.write(DROP_IN, "net.ipv4.old = 1\n")
    values = {"net.ipv4.tcp_rmem": "4 5 6", "net.ipv4.ip_forward": "1"}
    first = plan(values, box.facts())
    assert box.run(keeping(first, tmp_path)).returncode == 0
    assert box.run(first.apply).returncode == 0
    assert plan(values, box.facts()).apply == ""
    assert box.read(f"/proc/sys/{FORWARD}") == "1\n"
    # Writing ip_forward resets other keys, so it must come first.
    assert first.apply.index("ip_forward") < first.apply.index("tcp_rmem")
    assert box.run(undoing(first, tmp_path)).returncode == 0
    assert box.read(f"/proc/sys/{FORWARD}") == "0\n"
    assert box.read(DROP_IN) == "net.ipv4.old = 1\n"


def test_a_value_the_kernel_refuses_is_named_and_keeps_no_other_key_back(tmp_path: Path) -> None:
    box = Sandbox(tmp_path, {"net/a": "0"})
    # The directory of the other key is missing in the sandbox: that write fails.
    have = facts({"net/a": "0", "net/missing/b": "0"})
    done = box.run(plan({"net.missing.b": "1", "net.a": "1"}, have).apply)
    assert done.returncode == 1
    assert done.stdout == "net.missing.b: the kernel refuses the value '1'\n"
    assert box.read("/proc/sys/net/a") == "1\n"
    written = box.read(DROP_IN)
    assert written is not None
    assert "net.a = 1" in written
    assert "missing" not in written


@settings(max_examples=examples(40))
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_any_value_is_written_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    box = Sandbox(tmp_path_factory.mktemp("sysctl"), {"net/a": "before"})
    planned = plan({"net.a": value}, box.facts())
    if planned.items[0].state == "refused":
        assert planned.apply == ""
        return
    done = box.run(planned.apply)
    assert (done.returncode, done.stderr) == (0, "")
    assert box.read("/proc/sys/net/a") == value + "\n"


@pytest.mark.parametrize("key", ["kernel.pid_max", "kernel.threads-max"])
def test_a_limit_below_what_runs_is_refused(key: str) -> None:
    path = key.replace(".", "/")
    have = Facts(
        {f"/proc/sys/{path}": "32768\n", "/proc/loadavg": "0.10 0.10 0.10 1/301 4711\n"},
        {},
        frozenset({f"writable /proc/sys/{path}"}),
    )
    item = next(iter(plan({key: "301"}, have).items))
    assert (item.state, item.why) == (
        "refused",
        "301 processes and threads run here, and with 301 none could be started",
    )
    assert next(iter(plan({key: "4000"}, have).items)).state == "change"
    assert "/proc/loadavg" in Sysctl().facts({"values": {key: "301"}})[0].patterns


LINKS = (
    '[{"ifname":"eth0","address":"02:00:00:00:00:01","link_type":"ether"},'
    '{"ifname":"eth1","address":"02:00:00:00:00:02","link_type":"ether"},'
    '{"ifname":"docker0","address":"02:00:00:00:00:09","link_type":"ether"}]'
)
NICS = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
OURS = "net.ipv4.ip_forward = 1\n"


def forwarding(off: tuple[str, ...] = (), later: str = "", **declared: str) -> SectionPlan:
    files = {f"/proc/sys/net/ipv4/conf/{name}/forwarding": "1\n" for name in ("eth0", "eth1", "all")}
    files |= {f"/proc/sys/net/ipv4/conf/{name}/forwarding": "0\n" for name in (*off, "docker0")}
    files |= {f"/proc/sys/{FORWARD}": "1\n", DROP_IN: OURS}
    values = {"net.ipv4.ip_forward": "1", **declared}
    paths = [f"/proc/sys/{key.replace('.', '/')}" for key in values]
    if later:
        files["/etc/sysctl.d/99-hardening.conf"] = later
    facts = Facts(files, {"link": Captured(LINKS, 0)}, frozenset(f"writable {path}" for path in paths))
    return Sysctl().plan({"values": values, "secrets": [], "forwards": NICS}, facts)


def test_a_router_s_nic_that_does_not_forward_is_named_and_made_to() -> None:
    assert [item.state for item in forwarding().items] == ["ok"]
    plan = forwarding(off=("eth1",))
    (item,) = plan.items
    assert (item.state, item.actual, item.why) == (
        "change",
        "1, 0 on eth1",
        "net.ipv4.conf.eth1.forwarding is 0",
    )
    assert "echo 1 >/proc/sys/net/ipv4/conf/eth1/forwarding || bad=1\nexit $bad" in plan.apply
    assert plan.kernel == (("/proc/sys/net/ipv4/conf/eth1/forwarding", "0"),)
    assert plan.commands[0] == "sysctl -w net.ipv4.conf.eth1.forwarding=1"


def test_a_file_that_stops_one_nic_at_the_next_boot_is_named() -> None:
    (item,) = forwarding(later="net.ipv4.conf.eth1.forwarding = 0").items
    assert (item.state, item.actual) == ("refused", "1 (1, 0 on eth1 after a reboot)")
    assert item.why == "/etc/sysctl.d/99-hardening.conf sets net.ipv4.conf.eth1.forwarding = 0"
    # A device that the lab file does not have may do as it likes.
    assert [item.state for item in forwarding(later="net.ipv4.conf.docker0.forwarding = 0").items] == ["ok"]


def test_a_nic_that_the_lab_file_itself_stops_is_as_declared() -> None:
    plan = forwarding(off=("eth1",), **{"net.ipv4.conf.eth1.forwarding": "0"})
    assert plan.items[0].state == "ok"


def test_a_router_s_nics_are_asked_about_and_a_host_s_are_not() -> None:
    router, plain = (host("r", {"n": "10.0.0.1/24"}, role=role) for role in ("router", "host"))
    of = lab([network("n", "10.0.0.0/24")], [router])
    assert (Sysctl().desired(of, router) or {})["forwards"] == [router.interfaces[0].mac]
    assert "forwards" not in (Sysctl().desired(of, plain) or {})
