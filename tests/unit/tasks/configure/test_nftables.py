"""What is planned for labrun's nftables table: from listings as real guests gave them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from labrun.inventory.model import Host, Lab
from labrun.inventory.traffic import Firewall, Forward, Nat
from labrun.outcome import Status
from labrun.tasks.configure.nft_loader import OPENRC, SYSTEMD
from labrun.tasks.configure.nftables import FILE, NftSection
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.item import Item
from labrun.tasks.state.verdict import Verdict, verdict
from tests.unit.small_labs import host, lab, network

UNIT = next(iter(SYSTEMD.files))
BOOT = frozenset({"nft-at-boot", "nft-ssh 22"})


def chain(name: str, *lines: str) -> str:
    return f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}"


INPUT = chain(
    "input", "type filter hook input priority filter; policy drop;", "icmp type echo-request accept"
)
FORWARD = chain("forward", "type filter hook forward priority filter; policy accept;")
POST = chain("postrouting", "type nat hook postrouting priority srcnat; policy accept;", "masquerade")


def listing(*chains: str) -> str:
    return "table inet labrun {\n" + "\n\n".join(chains) + "\n}"


def small(*, firewall: bool = True, nat: bool = False, port: str | None = None) -> Lab:
    gate = host("fw", {"outer": "10.1.0.254/24", "inner": "10.2.0.254/24"}, "router")
    gate = Host(
        **{
            **{name: getattr(gate, name) for name in gate.__slots__},
            "firewall": Firewall("drop") if firewall else None,
            "nat": Nat(("inner",), (Forward("outer", 80, "10.2.0.9", 80),)) if nat else None,
            "sshd": {"port": (port,)} if port else {},
        }
    )
    return lab([network("outer", "10.1.0.0/24"), network("inner", "10.2.0.0/24")], [gate])


def want(section: str, what: Lab) -> Mapping[str, Any]:
    found = NftSection(section).desired(what, what.hosts["fw"])
    assert found is not None
    return found


def plan(
    section: str,
    what: Lab,
    *,
    found: str | None = None,
    wanted: str | None = None,
    files: Mapping[str, str] | None = None,
    words: frozenset[str] = BOOT,
) -> SectionPlan:
    commands = {
        "nft-table": Captured(f"{found}\n", 0)
        if found
        else Captured("Error: No such file or directory\n", 1),
        "nft-wanted": Captured(f"{wanted}\n", 0) if wanted else Captured("Error: syntax error\nx\n", 1),
    }
    return NftSection(section).plan(want(section, what), Facts(files or {}, commands, words))


def settled(what: Lab) -> dict[str, str]:
    """Return the files as a run leaves them, by the commands that it would name."""
    fresh = plan("firewall" if what.hosts["fw"].firewall else "nat", what, wanted=listing(INPUT, POST))
    files = {}
    for command in fresh.commands:
        first, _, text = command.partition("\n")
        if first.startswith("install "):
            files[first.split()[-2]] = text.removesuffix("EOF")
    return files


def item(planned: SectionPlan) -> Item:
    (found,) = planned.items
    return found


def test_a_fresh_host_gets_table_file_and_unit_and_can_go_back() -> None:
    planned = plan("firewall", small(), wanted=listing(INPUT, FORWARD))
    found = item(planned)
    assert (found.name, found.state, found.actual) == ("firewall", "change", "absent")
    assert found.expected == "input drop (1 rule), forward (0 rules)"
    assert found.diff is not None
    assert "+input: icmp type echo-request accept" in found.diff.splitlines()
    assert planned.apply.index("nft -c -f -") < planned.apply.index("| nft -f -") < planned.apply.index(FILE)
    assert f"restore {FILE}\n" in planned.undo
    assert "delete table inet labrun" in planned.undo
    assert planned.commands[1] == f"nft -f {FILE}"
    assert planned.commands[-1] == "systemctl enable labrun-nftables.service"


def test_what_is_as_declared_and_lasts_needs_nothing() -> None:
    planned = plan("firewall", small(), found=listing(INPUT), wanted=listing(INPUT), files=settled(small()))
    assert (item(planned).state, planned.apply, planned.undo, planned.commands) == ("ok", "", "", ())
    # A file that somebody edited is another observation, although the same rules are in force.
    edited = {**settled(small()), FILE: "flush ruleset\n"}
    other = plan("firewall", small(), found=listing(INPUT), wanted=listing(INPUT), files=edited)
    assert item(other).seen != item(planned).seen


def test_who_has_moved_is_told_of_rules_and_file_apart() -> None:
    files, here = settled(small()), listing(INPUT)
    applied = fingerprint(item(plan("firewall", small(), found=here, wanted=here, files=files)))

    def found(what: Lab, **seen: Any) -> Verdict:
        planned = plan("firewall", what, **{"found": here, "wanted": here, "files": files, **seen})
        return verdict(item(planned), applied)

    assert found(small()).status is Status.OK
    flushed = found(small(), found=None)
    assert flushed == Verdict(Status.DRIFTED, {"rules": Status.DRIFTED})
    edited = found(small(), files={**files, FILE: "flush ruleset\n"})
    assert edited == Verdict(Status.DRIFTED, {"boot": Status.DRIFTED})
    # The other section is of the same file; its rules are not this one's.
    beside = found(small(nat=True), wanted=listing(INPUT, POST))
    assert beside == Verdict(Status.PENDING, {"boot": Status.PENDING})
    missing = found(small(), found=None, wanted=None, words=frozenset({"nft-missing"}))
    assert missing.parts["rules"] is Status.DRIFTED


def test_rules_that_are_declared_no_longer_are_pending_while_they_are_the_same() -> None:
    files, here = settled(small()), listing(INPUT)
    applied = fingerprint(item(plan("firewall", small(), found=here, wanted=here, files=files)))
    nothing = small(firewall=False)
    left = item(plan("firewall", nothing, found=here, files=files))
    assert verdict(left, applied, asked=False).status is Status.PENDING
    other = item(plan("firewall", nothing, found=listing(FORWARD), files=files))
    assert verdict(other, applied, asked=False).status is Status.CONFLICT


@pytest.mark.parametrize("lost", [FILE, UNIT, "nft-at-boot"])
def test_what_would_not_outlive_a_reboot_is_made_to(lost: str) -> None:
    files = {path: text for path, text in settled(small()).items() if path != lost}
    words = BOOT - {lost}
    found = item(
        plan("firewall", small(), found=listing(INPUT), wanted=listing(INPUT), files=files, words=words)
    )
    assert (found.state, found.actual) == ("change", "input drop (1 rule) (not after a reboot)")


def test_openrc_loads_it_by_a_service_of_its_own_and_systemd_is_not_asked() -> None:
    words, rules = frozenset({"nft-by-openrc", "nft-ssh 22"}), listing(INPUT)
    first = plan("firewall", small(), wanted=rules, words=words)
    (service,) = OPENRC.files
    assert first.saves == (FILE, service, *OPENRC.links)
    assert f"install_file {service} " in first.apply
    assert "ln -s /etc/init.d/labrun-nftables" in first.apply
    assert first.commands[-1] == "rc-update add labrun-nftables boot"
    assert [f"restore {path}\n" in first.undo for path in first.saves] == [True] * 4
    assert not any("systemctl" in text for text in (first.apply, first.undo, *first.commands))
    files = {FILE: settled(small())[FILE], **OPENRC.files}
    at_boot = words | {"nft-at-boot"}
    assert (
        item(plan("firewall", small(), found=rules, wanted=rules, files=files, words=at_boot)).state == "ok"
    )
    later = item(plan("firewall", small(), found=rules, wanted=rules, files=files, words=words))
    assert (later.state, later.actual) == ("change", "input drop (1 rule) (not after a reboot)")
    gone = plan("firewall", small(firewall=False), found=rules, files=files, words=at_boot)
    assert f"rm -f {' '.join(first.saves)}\n" in gone.apply
    assert "systemctl" not in gone.apply


def test_a_changed_rule_is_shown_and_the_old_table_comes_back_by_undo() -> None:
    other = INPUT.replace("echo-request", "router-solicitation")
    files = settled(small())
    planned = plan("firewall", small(), found=listing(other), wanted=listing(INPUT), files=files)
    assert item(planned).diff == (
        "-input: icmp type router-solicitation accept\n+input: icmp type echo-request accept"
    )
    assert item(planned).actual == "input drop (1 rule), but different rules"
    assert "router-solicitation" in planned.undo
    assert "router-solicitation" not in planned.apply


def test_a_flushed_table_and_a_foreign_chain_are_noticed() -> None:
    files, wanted = settled(small()), listing(INPUT)
    gone = plan("firewall", small(), wanted=wanted, files=files)
    assert (item(gone).state, item(gone).actual) == ("change", "absent")
    more = plan("firewall", small(), found=listing(INPUT, "\tchain mine {\n\t}"), wanted=wanted, files=files)
    assert item(more).actual == "input drop (1 rule), mine (0 rules)"
    assert item(more).state == "change"


def test_each_section_has_its_own_chains() -> None:
    what = small(nat=True)
    both = listing(INPUT, POST)
    files = settled(what)
    assert item(plan("firewall", what, found=listing(INPUT), wanted=both, files=files)).state == "ok"
    planned = plan("nat", what, found=listing(INPUT), wanted=both, files=files)
    assert (item(planned).name, item(planned).state) == ("nat", "change")
    assert "filter" not in (item(planned).diff or "filter")
    assert "type filter hook input" in planned.apply


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"nft-missing"}, "nft is not installed (packages: [nftables] installs it)"),
        (
            {"nft-rival firewalld"},
            (
                "firewalld is active, and two firewalls would conflict:"
                " stop it (systemctl disable --now firewalld), or remove these keys"
            ),
        ),
        (set(), "nft refuses the rules: syntax error"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(words: set[str], why: str) -> None:
    planned = plan("firewall", small(), words=frozenset(words))
    assert (item(planned).state, item(planned).why, planned.apply) == ("refused", why, "")


def test_no_longer_declared_means_removed() -> None:
    nothing = small(firewall=False)
    assert NftSection("firewall").names(want("firewall", nothing)) == ()
    assert plan("firewall", nothing, words=frozenset()).items == ()
    left = plan("firewall", nothing, found=listing(INPUT), files=settled(small()))
    assert (item(left).state, item(left).expected, item(left).why) == (
        "change",
        "not declared",
        "no longer in the lab file",
    )
    assert f"rm -f {FILE} {UNIT}" in left.apply
    assert "icmp type echo-request" in left.undo
    assert plan("nat", nothing, found=listing(INPUT), files=settled(small())).items == ()


def test_only_one_of_the_two_no_longer_declared() -> None:
    files = settled(small())
    planned = plan("nat", small(), found=listing(INPUT, POST), wanted=listing(INPUT), files=files)
    assert (item(planned).state, item(planned).actual) == ("change", "postrouting (1 rule)")
    assert "masquerade" not in planned.apply


@pytest.mark.parametrize(
    ("declared", "files", "ports"),
    [
        (None, {}, "22"),
        (None, {"sshd_config": "#Port 22\n"}, "22"),
        ("2222", {"sshd_config": "#Port 22\n"}, "2222"),
        (
            "2222",
            {"sshd_config": " port = 23\nPort 24\n", "sshd_config.d/50-x.conf": "PORT 25"},
            "2222 23 24 25",
        ),
        (None, {"sshd_config.d/00-labrun.conf": "Port 99\n", "sshd_config": "PortX 1\n"}, "22"),
    ],
)
def test_sshd_s_ports_are_those_it_will_have(
    tmp_path: Path, declared: str | None, files: dict[str, str], ports: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    script = NftSection("firewall").facts(want("firewall", small(port=declared)))[0].script
    functions = script[: script.rindex("[ -n ")]
    said = subprocess.run(
        ["sh", "-s"],
        input=f"frame() {{ echo $*; }}\n{functions}nft_ssh_ports\n".replace("/etc/ssh", str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (said.stdout, said.stderr) == (f"nft-ssh {ports}\n", "")


def test_a_host_without_a_firewall_is_only_asked_for_leftovers() -> None:
    script = NftSection("nat").facts(want("nat", small(firewall=False)))[0].script
    assert "unshare" not in script
    assert f"[ ! -e {FILE} ] || nft_look" in script
