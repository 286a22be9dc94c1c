"""Match blocks that reopen for others what the file closes: named, by the real sshd where it is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from labrun.outcome import Status
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.sshd import Sshd
from labrun.tasks.guest.facts.sshd import DROP_IN, MAIN
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Captured, Facts, Probe, gather_script, parse_facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.verdict import verdict

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no OpenSSH here")
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
OTHER = f"{MAIN}.d/50-a.conf"
CLOSED = {
    "PasswordAuthentication": "no",
    "PermitRootLogin": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "X11Forwarding": "no",
    "AllowTcpForwarding": "local",
    "MaxAuthTries": "4",
}
OPENED = {
    "PasswordAuthentication": "yes",
    "PermitRootLogin": "yes",
    "KbdInteractiveAuthentication": "yes",
    "PermitEmptyPasswords": "yes",
    "X11Forwarding": "yes",
    "AllowTcpForwarding": "all",
    "MaxAuthTries": "6",
}
DECLARED = "".join(f"{keyword} {value}\n" for keyword, value in CLOSED.items())


def want() -> Json:
    rows = [{"keyword": keyword, "values": [value], "reason": ""} for keyword, value in CLOSED.items()]
    return {"settings": rows, "user": "lab"}


def planned(facts: Facts) -> SectionPlan:
    return Sshd().plan(want(), facts)


def reasons(plan: SectionPlan) -> dict[str, str]:
    return {item.name: item.refused for item in plan.items if item.refused is not None}


def read(block: str, **answers: str) -> Facts:
    """Return what a host shows whose login has everything as declared, beside somebody's block."""
    commands = {"sshd": Captured(DECLARED.lower(), 0)}
    commands |= {f"sshd-match {criteria}": Captured(text, 0) for criteria, text in answers.items()}
    return Facts({MAIN: INCLUDE, DROP_IN: DECLARED, OTHER: block}, commands, frozenset())


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, Path]:
    """Return the directory of sshd's files, and one with an sshd that reads only those."""
    assert SSHD is not None
    Path("/run/sshd").mkdir(exist_ok=True)
    key, folder, programs = tmp_path / "key", tmp_path / "ssh", tmp_path / "bin"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "sshd_config.d").mkdir(parents=True)
    (folder / "sshd_config").write_text(f"Include {folder}/sshd_config.d/*.conf\nHostKey {key}\n")
    (folder / "sshd_config.d" / "00-labrun.conf").write_text(DECLARED)
    programs.mkdir()
    program = programs / "sshd"
    program.write_text(f'#!/bin/sh\necho >>{tmp_path}/asked\nexec {SSHD} -f {folder}/sshd_config "$@"\n')
    program.chmod(0o755)
    return folder, programs


def gathered(host: tuple[Path, Path]) -> Facts:
    """Run the script that guests run, on these files, and return what it shows under the usual paths."""
    folder, programs = host
    main = str(folder / "sshd_config")
    values: dict[str, str | int | bool] = {
        "login": "lab",
        "main": main,
        "drop_in": f"{main}.d/00-labrun.conf",
        "most": 4,
    }
    names = ("sshd_login", "sshd_files", "sshd_asked", "sshd_judge")
    script = assigned(values) + "".join(map(guest_script, names))
    text = gather_script([Probe((main, f"{main}.d/*.conf"), script)], "mark")
    text = text.replace("/run/sshd.pid", str(folder / "sshd.pid"))
    done = subprocess.run(
        ["/bin/sh", "-c", f"PATH={programs}:$PATH\n{text}"], capture_output=True, text=True, check=True
    )
    found = parse_facts(done.stdout, "mark")
    files = {path.replace(str(folder), "/etc/ssh"): file for path, file in found.files.items()}
    files[MAIN] = files[MAIN].replace(str(folder), "/etc/ssh")
    commands = {name.replace(str(folder), "/etc/ssh"): said for name, said in found.commands.items()}
    return Facts(files, commands, found.words)


CRITERIA = [
    "User alice",
    "User alice,bob",
    "User !lab,*",
    "Group root",
    "Group nobody-is-in-this-one",
    "Address 10.103.1.12",
    "Address 10.0.0.0/8,fd00::/8",
    "Address 10.103.*",
    "Host *.example.org",
    "LocalPort 2222",
    "LocalAddress 10.9.9.9",
    "User alice Address 10.103.1.12",
    "User alice Group root",
    "RDomain vrf1",
]


# Each criterion and each keyword; in make test-full each of the one with each of the other.
PAIRS = [
    pytest.param(
        criteria, keyword, marks=() if first % len(OPENED) == second % len(CRITERIA) else pytest.mark.full
    )
    for first, criteria in enumerate(CRITERIA)
    for second, keyword in enumerate(OPENED)
]


@needs_sshd
@pytest.mark.parametrize(("criteria", "keyword"), PAIRS)
def test_a_block_that_reopens_a_keyword_for_others_is_named(
    criteria: str, keyword: str, host: tuple[Path, Path]
) -> None:
    block = f"\nMatch {criteria}\n  {keyword} {OPENED[keyword]}\n"
    (host[0] / "sshd_config.d" / "50-a.conf").write_text(block)
    key = keyword.lower()
    why = (
        f"Match {criteria} in {OTHER}:3 sets {key} {OPENED[keyword]}:"
        " remove it there, labrun changes no sshd file but its own"
    )
    assert reasons(planned(gathered(host))) == {key: why}


@needs_sshd
def test_a_former_name_of_a_keyword_counts_as_well(host: tuple[Path, Path]) -> None:
    block = "Match User root\n  ChallengeResponseAuthentication yes\n"
    (host[0] / "sshd_config.d" / "50-a.conf").write_text(block)
    (why,) = [
        reason
        for key, reason in reasons(planned(gathered(host))).items()
        if key == "kbdinteractiveauthentication"
    ]
    assert f"Match User root in {OTHER}:2 sets kbdinteractiveauthentication yes" in why


@needs_sshd
@pytest.mark.parametrize(
    "block",
    [
        'Match User root\n"PasswordAuthentication" yes\n',
        '"Match" User root\nPasswordAuthentication = "yes"\n',
    ],
)
def test_a_keyword_in_quotes_counts_as_well(host: tuple[Path, Path], block: str) -> None:
    (host[0] / "sshd_config.d" / "50-a.conf").write_text(block)
    why = reasons(planned(gathered(host)))["passwordauthentication"]
    assert why.startswith(f"Match User root in {OTHER}:2 sets passwordauthentication yes")


@needs_sshd
@pytest.mark.parametrize(
    ("main", "included", "reason"),
    [
        (
            "Include more/*.conf\n",
            "Match Group root\n  PermitRootLogin yes\n",
            "Match Group root in /etc/ssh/more/a.conf:2",
        ),
        (
            "Match User alice\n  Include more/a.conf\n",
            "PermitRootLogin yes\n",
            "Match User alice in /etc/ssh/more/a.conf:1",
        ),
    ],
)
def test_a_block_in_a_file_from_elsewhere_counts_as_well(
    host: tuple[Path, Path], main: str, included: str, reason: str
) -> None:
    folder, _ = host
    (folder / "more").mkdir()
    (folder / "more" / "a.conf").write_text(included)
    with (folder / "sshd_config").open("a") as text:
        text.write(main.replace("more", f"{folder}/more"))
    found = gathered(host)
    facts = Facts({**found.files, MAIN: INCLUDE + main}, found.commands, found.words)
    plan = planned(facts)
    assert reasons(plan)["permitrootlogin"].startswith(f"{reason} sets permitrootlogin yes")


def test_files_that_include_each_other_come_to_an_end() -> None:
    loop = "Match User alice\n" + "Include /etc/ssh/sshd_config.d/*.conf\n" * 50 + "PermitRootLogin yes\n"
    files = {MAIN: INCLUDE, DROP_IN: DECLARED, OTHER: loop, OTHER.replace("50", "60"): loop}
    facts = Facts(files, {"sshd": Captured(DECLARED.lower(), 0)}, frozenset())
    assert "Match User alice" in reasons(planned(facts))["permitrootlogin"]


@needs_sshd
def test_an_earlier_block_that_has_it_right_counts(host: tuple[Path, Path]) -> None:
    folder = host[0] / "sshd_config.d"
    (folder / "40-a.conf").write_text("Match User alice\nPasswordAuthentication no\n")
    (folder / "50-a.conf").write_text("Match User alice\nPasswordAuthentication yes\n")
    assert reasons(planned(gathered(host))) == {}
    (folder / "40-a.conf").unlink()
    assert set(reasons(planned(gathered(host)))) == {"passwordauthentication"}


@needs_sshd
def test_sshd_is_asked_once_for_each_criterion_and_not_at_all_without_a_block(
    host: tuple[Path, Path],
) -> None:
    asked = host[0].parent / "asked"
    gathered(host)
    assert len(asked.read_text().splitlines()) == 1
    block = "Match User alice\nX11Forwarding yes\nMatch User bob\nMatch User alice\nMaxSessions 2\n"
    (host[0] / "sshd_config.d" / "50-a.conf").write_text(block)
    asked.unlink()
    gathered(host)
    # This login, root, alice and bob.
    assert len(asked.read_text().splitlines()) == 4
    (host[0] / "sshd_config.d" / "50-a.conf").write_text("".join(f"Match User u{n}\n" for n in range(90)))
    asked.unlink()
    gathered(host)
    assert len(asked.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    "block",
    [
        "Match User sftp\n  AllowTcpForwarding no\n  MaxAuthTries 2\n  X11Forwarding no # none\n",
        "Match User sftp\n  ForceCommand internal-sftp\n  ChrootDirectory /srv\n",
        "# Match User alice\n#  PasswordAuthentication yes\n",
        "Match User alice\n  # PasswordAuthentication yes\n  PasswordAuthentication = No\n",
    ],
)
def test_a_block_that_is_as_strict_or_sets_something_else_is_nobodys_business(block: str) -> None:
    assert {item.state for item in planned(read(block)).items} == {"ok"}


def test_the_row_shows_both_and_is_drift() -> None:
    before = {item.name: item for item in planned(read("")).items}["permitrootlogin"]
    plan = planned(read("Match Address 10.0.0.1\n\tPermitRootLogin  without-password\n"))
    item = {item.name: item for item in plan.items}["permitrootlogin"]
    assert (item.state, item.expected) == ("refused", "no")
    assert item.actual == "no (prohibit-password for Address 10.0.0.1)"
    assert plan.apply == ""
    assert verdict(item, fingerprint(before)).status is Status.DRIFTED


def test_the_drop_in_is_written_all_the_same_and_the_reason_stays_the_same() -> None:
    facts = read("Match User alice\nPasswordAuthentication yes\n")
    fresh = Facts({**facts.files, DROP_IN: ""}, facts.commands, frozenset())
    before, after = planned(fresh), planned(facts)
    assert "PasswordAuthentication no" in before.apply
    assert {item.state for item in before.items} == {"change"}
    row = {item.name: item for item in before.items}["passwordauthentication"]
    # Otherwise the guard would take the change for what has cost labrun its sight of the row.
    assert row.why == reasons(after)["passwordauthentication"]


def test_many_blocks_are_one_reason() -> None:
    text = "".join(f"Match User u{number}\nPasswordAuthentication yes\n" for number in range(5))
    (why,) = reasons(planned(read(text))).values()
    assert why.startswith(f"Match User u0 in {OTHER}:2 sets passwordauthentication yes; Match User u1 in ")
    assert "; and 2 more: remove it there" in why


@needs_sshd
@pytest.mark.parametrize(("seconds", "stale"), [(-60, False), (0.5, True), (500_000_000, False)])
def test_a_drop_in_from_before_the_clock_was_set_back_is_not_taken_for_unread(
    host: tuple[Path, Path], seconds: float, stale: bool
) -> None:
    drop_in, started = host[0] / "sshd_config.d" / "00-labrun.conf", time.time() - 30
    (host[0] / "sshd.pid").write_text("0\n")
    os.utime(host[0] / "sshd.pid", (started, started))
    os.utime(drop_in, (started + seconds, started + seconds))
    assert ("stale-sshd" in gathered(host).words) is stale
