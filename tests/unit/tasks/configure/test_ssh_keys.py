"""The keys of people: by what they are, wherever sshd reads them, and whoever put them there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from labrun.outcome import Status
from labrun.tasks.configure.ssh_keys import SshKeys
from labrun.tasks.guest.facts.applied import PATH, SCHEMA
from labrun.tasks.guest.facts.authorized_keys import Key, accounts, keys_in, probe
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import Captured, Facts, apply_script, gather_script, parse_facts
from labrun.tasks.state.item import Item
from labrun.tasks.state.rows import standing
from labrun.tasks.state.verdict import verdict

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="files of other users need root")
HOME = "/home/lab/.ssh/authorized_keys"


def blob(kind: str, letter: str) -> str:
    name = kind.encode()
    return base64.b64encode(len(name).to_bytes(4, "big") + name + letter.encode() * 40).decode()


def key(letter: str, kind: str = "ssh-ed25519") -> str:
    return f"{kind} {blob(kind, letter)}"


A, B, C, OWN = key("a"), key("b", "ecdsa-sha2-nistp256"), key("c", "ssh-rsa"), f"{key('o')} labrun-small"


def want(*keys: str, **others: Any) -> dict[str, Any]:
    plain = {"user": "lab", "comment": "labrun-small", "files": "", "sshd": [], "exclusive": False}
    return {**plain, "keys": list(keys), **others}


def host(
    files: Mapping[str, str], seed: tuple[str, ...] = (OWN,), root: Mapping[str, str] | None = None
) -> Facts:
    """Return what a host shows whose sshd reads these files for the login user, and those for root."""
    commands = {"keys-seed": Captured("\n".join(seed), 0)}
    for user, each in (("lab", files), ("root", root or {})):
        paths = list(each) or [HOME.replace("lab", user)]
        commands[f"keys-files {user}"] = Captured("\n".join(paths), 0)
        commands |= {f"keys-in {user} {path}": Captured(text, 0) for path, text in each.items()}
    return Facts({}, commands, frozenset())


def items(wanted: Mapping[str, Any], facts: Facts) -> dict[str, Item]:
    return {item.name: item for item in SshKeys().plan(wanted, facts).items}


def name(line: str, user: str = "lab") -> str:
    (one,) = keys_in(line)
    return f"{user} {one.fingerprint}"


@pytest.mark.parametrize(
    "line",
    [
        f"{A}",
        f"{A} alice@laptop",
        f"{A}   a comment  with  spaces",
        f"  \t{A}\r",
        A.replace(" ", "\t"),
        f'no-pty,command="echo \'a b\' \\"c d\\"" {A} alice',
        f'from="10.0.0.0/8,fd00::/8"  {A}',
        f'environment="A={B}",restrict {A}',
    ],
)
def test_a_key_is_its_type_and_blob_whatever_stands_around_it(line: str) -> None:
    assert list(keys_in(f"# a comment\n\n{line}\n")) == list(keys_in(A))


@pytest.mark.parametrize(
    "line", ["", "# " + A, "ssh-ed25519", "ssh-ed25519 AAAA", A.replace("ed25519", "rsa"), f"{A[:30]} alice"]
)
def test_what_sshd_would_skip_is_no_key(line: str) -> None:
    assert list(keys_in(line)) == []


def test_one_that_signs_certificates_is_another_thing() -> None:
    (signer,) = keys_in(f"cert-authority {A} ca")
    assert signer == Key("ssh-ed25519", blob("ssh-ed25519", "a"), authority=True)
    assert str(signer) == "certificates by ssh-ed25519 ca"
    found = items(want(A), host({HOME: f"{OWN}\n{A}\ncert-authority {A}\n"}))
    assert {each: item.state for each, item in found.items()} == {
        name(A): "ok",
        f"{name(A)} cert-authority": "left",
    }


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (f"{OWN}\n", "change"),
        (f"{OWN}\n{A}\n", "ok"),
        (f"{OWN}\nno-pty {A} other\n", "ok"),
        (f"{OWN}\n#{A}\n", "change"),
    ],
)
def test_a_key_of_the_file_has_to_get_in(content: str, state: str) -> None:
    assert {each: item.state for each, item in items(want(A), host({HOME: content})).items()} == {
        name(A): state
    }


def test_every_file_that_sshd_reads_counts() -> None:
    two = {"/etc/ssh/keys/lab": OWN, HOME: A}
    assert items(want(A), host(two))[name(A)].state == "ok"
    plan = SshKeys().plan(want(A, B), host(two))
    assert [call for call in plan.apply.splitlines() if "put_keys lab" in call] == [
        f"put_keys {words(('lab', '/etc/ssh/keys/lab', '', B))}"
    ]
    assert plan.saves == ("/etc/ssh/keys/lab",)
    assert plan.undo == "restore /etc/ssh/keys/lab\n"


@pytest.mark.parametrize("user", ["lab", "root"])
def test_what_the_first_boot_put_there_is_taken_out_once_the_file_has_it_no_longer(user: str) -> None:
    there = {HOME.replace("/home/lab", "/root") if user == "root" else HOME: f"{OWN}\nno-pty {A} alice\n"}
    facts = host(there if user == "lab" else {HOME: OWN}, (OWN, A), there if user == "root" else None)
    (item,) = SshKeys().plan(want(), facts).items
    assert (item.name, item.state) == (name(A, user), "change")
    assert item.why == "labrun put it there, and the lab file no longer has it"
    assert f"put_keys {words((user, next(iter(there)), f'no-pty {A} alice', ''))}" in (
        SshKeys().plan(want(), facts).apply
    )


def test_somebody_elses_key_is_named_and_left_unless_the_file_is_exclusive() -> None:
    facts = host({HOME: f"{OWN}\n{C} mallory\n"})
    (item,) = SshKeys().plan(want(), facts).items
    assert (item.state, item.actual) == ("left", f"ssh-rsa mallory in {HOME}")
    assert standing(item) == (
        Status.WARNING,
        (
            "neither the lab file nor labrun put it there: remove it, add it to `ssh_keys`,"
            " or let `exclusive: true` remove such keys"
        ),
    )
    assert verdict(item, None, asked=False).status is Status.DRIFTED
    assert verdict(item, None, asked=False, recorded=False).status is Status.DRIFTED
    plan = SshKeys().plan(want(exclusive=True), facts)
    assert [each.state for each in plan.items] == ["change"]
    assert f"put_keys {words(('lab', HOME, f'{C} mallory', ''))}" in plan.apply


@pytest.mark.parametrize("exclusive", [False, True])
def test_an_existing_machine_keeps_keys_that_the_file_never_had(exclusive: bool) -> None:
    facts = host({HOME: f"{OWN}\n{C} mallory\n"}, (), {"/root/.ssh/authorized_keys": B})
    plan = SshKeys().plan(want(A, exclusive=exclusive, existing=True), facts)
    assert {item.name: item.state for item in plan.items} == {name(A): "change"}
    assert f"put_keys {words(('lab', HOME, '', A))}" in plan.apply
    # What labrun put there before goes with the line of the file; the others still stay.
    there = host({HOME: f"{A}\n{C} mallory\n"}, (C,))
    items_before = {"ssh_keys": {name(A): "x"}}
    record = {"schema": SCHEMA, "run": "r", "labrun": "0", "digest": "d", "items": items_before}
    applied = Facts({PATH: json.dumps(record)}, there.commands, frozenset())
    for facts, states in ((there, {}), (applied, {name(A): "change"})):
        found = items(want(exclusive=exclusive, existing=True), facts)
        assert {each: item.state for each, item in found.items()} == states


@pytest.mark.parametrize("exclusive", [False, True])
def test_the_labs_own_key_stays(exclusive: bool) -> None:
    assert items(want(exclusive=exclusive), host({HOME: OWN}, root={"/root/.ssh/authorized_keys": OWN})) == {}
    # One that is not on record may be that of another state directory.
    found = items(want(exclusive=exclusive), host({HOME: f"{OWN}\n{C} labrun-small"}))
    assert {each: item.state for each, item in found.items()} == {name(C): "left"}


def test_the_labs_own_key_goes_along_where_the_file_moves_the_keys() -> None:
    facts = host({HOME: f"{OWN}\n{A}\n"})
    commands = {**facts.commands, "keys-meant lab": Captured("/etc/ssh/keys/lab", 0)}
    plan = SshKeys().plan(want(A, files="/etc/ssh/keys/%u"), Facts({}, commands, frozenset()))
    assert {item.name: item.state for item in plan.items} == {name(A): "change", name(OWN): "change"}
    assert f"put_keys {words(('lab', '/etc/ssh/keys/lab', '', f'{A}{chr(10)}{OWN}'))}" in plan.apply


def test_a_command_of_sshds_is_named_and_never_changed() -> None:
    facts = host({HOME: OWN})
    printed = {**facts.commands, "keys-printed lab /bin/keys": Captured(f"{C} mallory\n", 0)}
    shown = Facts({}, printed, frozenset({"keys-by-key root /bin/ask %k", "keys-ca lab /etc/ssh/ca.pub"}))
    found = items(want(exclusive=True), shown)
    assert {each: (item.state, item.why) for each, item in found.items()} == {
        name(C): ("left", "/bin/keys prints it: remove it there, or add it to `ssh_keys`"),
        "lab TrustedUserCAKeys": (
            "left",
            "sshd accepts keys through TrustedUserCAKeys, which the lab file does not set",
        ),
        "root AuthorizedKeysCommand": (
            "left",
            "sshd accepts keys through AuthorizedKeysCommand, which the lab file does not set",
        ),
    }
    assert items(want(sshd=["authorizedkeyscommand", "trustedusercakeys"]), shown) == {}
    assert items(want(C), shown)[name(C)].state == "ok"


def test_an_sshd_that_does_not_answer_is_one_reason() -> None:
    facts = Facts(
        {}, {"keys-sshd lab": Captured("/etc/ssh/sshd_config line 3: Bad thing\n", 255)}, frozenset()
    )
    (item,) = SshKeys().plan(want(A), facts).items
    assert (item.state, item.why) == (
        "refused",
        "sshd cannot be queried: /etc/ssh/sshd_config line 3: Bad thing",
    )


@pytest.fixture
def sshd(tmp_path: Path) -> Path:
    """Return a directory with an sshd that reads only the file ``sshd_config`` beside it."""
    assert SSHD is not None
    Path("/run/sshd").mkdir(exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    program = tmp_path / "bin" / "sshd"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {SSHD} -f {tmp_path}/sshd_config "$@"\n')
    program.chmod(0o755)
    return tmp_path


def asked(sshd: Path, config: str, meant: str = "", others: int = 0) -> Facts:
    (sshd / "sshd_config").write_text(f"HostKey {sshd}/key\n{config}")
    text = gather_script([probe("root", meant, others)], "mark").replace("/run/sshd.pid", str(sshd / "none"))
    text = text.replace("/etc/passwd", str(sshd / "passwd"))
    text = text.replace("/etc/ssh/sshd_config", str(sshd / "sshd_config"))
    done = subprocess.run(
        ["/bin/sh", "-c", f"PATH={sshd}/bin:$PATH\n{text}"], capture_output=True, text=True, check=True
    )
    return parse_facts(done.stdout, "mark")


@pytest.mark.skipif(SSHD is None, reason="no OpenSSH here")
@AS_ROOT
def test_the_files_are_those_that_sshd_reads_for_the_user(sshd: Path) -> None:
    folder = sshd / "keys"
    folder.mkdir()
    (folder / "root").write_text(f"{A} alice")
    (folder / "link").symlink_to(folder / "root")
    config = f"AuthorizedKeysFile none {folder}/%u %h/none-of-these 100%% {folder}/link\n"
    (account,) = accounts(asked(sshd, config))
    home = Path("~root").expanduser()
    paths = (f"{folder}/root", f"{home}/none-of-these", f"{home}/100%", f"{folder}/root")
    assert (account.user, account.files) == ("root", paths)
    assert account.keys == {f"{folder}/root": tuple(keys_in(A))}
    match = "AuthorizedKeysFile /nowhere\nMatch User root\n  AuthorizedKeysFile /elsewhere/%U\n"
    (account,) = accounts(asked(sshd, match, "/meant/%u"))
    assert (account.files, account.meant) == (("/elsewhere/0",), ("/meant/root",))


def account_lines(sshd: Path, **shells: str) -> None:
    """Write a list of accounts, each with a key in its home and the shell given."""
    lines = ["root:x:0:0:root:/root:/bin/bash", "lp:x:7:7:lp:/nonexistent:/usr/sbin/nologin"]
    for user, shell in shells.items():
        home = sshd / user / ".ssh"
        home.mkdir(parents=True)
        (home / "authorized_keys").write_text(f"{A} {user}\n")
        lines.append(f"{user}:x:0:0:{user}:{home.parent}:{shell}")
    (sshd / "passwd").write_text("\n".join(lines) + "\n")


# With Match blocks sshd is asked about each user.
@pytest.mark.parametrize("match", ["", "Match User nobody-at-all\n  X11Forwarding no\n"])
@pytest.mark.skipif(SSHD is None, reason="no OpenSSH here")
@AS_ROOT
def test_keys_of_accounts_that_somebody_added_are_found_and_drift(sshd: Path, match: str) -> None:
    account_lines(sshd, bob="/bin/bash", tunnel="/usr/sbin/nologin")
    found = asked(sshd, f"AuthorizedKeysFile .ssh/authorized_keys\n{match}", others=9)
    assert [(each.user, each.other) for each in accounts(found)] == [
        ("root", False),
        ("bob", True),
        ("tunnel", True),
    ]
    files = {user: f"{sshd}/{user}/.ssh/authorized_keys" for user in ("bob", "tunnel")}
    wanted = want(user="root")
    rows = {key: item for key, item in items(wanted, found).items() if not key.startswith("root ")}
    assert set(rows) == {name(A, "bob"), name(A, "tunnel")}
    assert rows[name(A, "bob")].actual == f"ssh-ed25519 bob in {files['bob']}"
    assert {verdict(item, None, asked=False).status for item in rows.values()} == {Status.DRIFTED}
    assert name(A, "bob") not in items({**wanted, "declared": [files["bob"]]}, found)
    assert name(A, "bob") not in items(want(A, user="root"), found)
    assert [each.user for each in accounts(asked(sshd, f"{match}"))] == ["root"]


@pytest.mark.skipif(SSHD is None, reason="no OpenSSH here")
@AS_ROOT
def test_of_too_many_accounts_it_is_said_that_the_rest_is_unknown(sshd: Path) -> None:
    account_lines(sshd, bob="/bin/bash", eve="/bin/bash")
    found = asked(sshd, "AuthorizedKeysFile .ssh/authorized_keys\n", others=2)
    assert [each.user for each in accounts(found)] == ["root", "bob"]
    assert items(want(user="root"), found)["accounts"].why == (
        "it has more than 200 accounts: whose keys the others accept is not known"
    )


@pytest.mark.skipif(SSHD is None or shutil.which("runuser") is None, reason="no OpenSSH or runuser here")
@AS_ROOT
def test_a_command_is_asked_as_its_user(sshd: Path) -> None:
    sshd.chmod(0o755)
    command = sshd / "keys"
    command.write_text(f'#!/bin/sh\necho "{C} $(id -un) $*"\n')
    command.chmod(0o755)
    base = f"AuthorizedKeysCommandUser root\nAuthorizedKeysCommand {command}"
    (account,) = accounts(asked(sshd, f"{base}\n"))
    assert (account.command, [each.comment for each in account.printed]) == (str(command), ["root root"])
    (account,) = accounts(asked(sshd, f"{base} of %u %h\n"))
    assert [each.comment for each in account.printed] == [f"root of root {Path('~root').expanduser()}"]
    (account,) = accounts(asked(sshd, f"{base} %u %k\n"))
    assert (account.printed, account.by_key) == ((), f"{command} %u %k")


@AS_ROOT
def test_lines_go_and_come_and_all_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "authorized_keys"

    def put(drop: str, add: str) -> None:
        call = guest_script("keys_apply") + f"put_keys root {path} {words((drop, add))}\n"
        text = apply_script([("ssh_keys", call)], "mark")
        done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=True, timeout=60)
        assert parse_facts(done.stdout, "mark").commands["ssh_keys"] == Captured("\n", 0)

    put("", A)
    assert path.read_text() == f"{A}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(f"# mine\n{A} x\n  no-pty {A}\n{B}")
    path.chmod(0o644)
    put(f"{A} x\n  no-pty {A}", C)
    assert path.read_text() == f"# mine\n{B}\n{C}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    put(f"# mine\n{B}\n{C}", "")
    assert path.read_text() == ""
    assert [each.name for each in path.parent.iterdir()] == ["authorized_keys"]
