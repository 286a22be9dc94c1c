"""sshd: the hardened profiles with their reasons, values as sshd means them, and the real sshd's word."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labrun.inventory.model import Host
from labrun.outcome import Status
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.sshd import Sshd, render
from labrun.tasks.configure.sshd_profiles import Setting, desired_sshd, profile, profile_of, settings_in
from labrun.tasks.guest.facts.sshd import DROP_IN, effective_settings, meets, plain_value
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.fingerprint import fingerprint
from labrun.tasks.state.item import Item
from labrun.tasks.state.verdict import verdict
from tests.fuzz import examples
from tests.unit.small_labs import host, lab, network

MAIN = "/etc/ssh/sshd_config"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
ON_N1 = {"n1": "10.0.0.11/24"}
ON_BOTH = {**ON_N1, "n2": "10.0.1.11/24"}


def desired(one: Host, *others: Host) -> dict[str, tuple[str, ...]] | None:
    networks = [network("n1", "10.0.0.0/24"), network("n2", "10.0.1.0/24")]
    found = desired_sshd(lab(networks, [one, *others]), one)
    return None if found is None else {setting.key: setting.values for setting in found}


@pytest.mark.parametrize(
    ("one", "others", "name"),
    [
        (host("h", ON_N1), [], "host"),
        (host("r", ON_N1, role="router"), [], "router"),
        (host("h", ON_BOTH), [], "bastion"),
        (host("h", ON_N1), [replace(host("x", ON_N1), access_via="h")], "bastion"),
        (host("r", ON_N1, role="router"), [replace(host("x", ON_N1), access_via="r")], "bastion"),
        (replace(host("r", ON_BOTH, role="router"), sshd_profile="host"), [], "host"),
        (replace(host("h", ON_N1), sshd_profile="bastion"), [], "bastion"),
    ],
)
def test_the_profile_is_by_what_a_host_is_for_the_others_or_by_the_file(
    one: Host, others: list[Host], name: str
) -> None:
    networks = [network("n1", "10.0.0.0/24"), network("n2", "10.0.1.0/24")]
    assert profile_of(lab(networks, [one, *others]), one) == name


@pytest.mark.parametrize("name", ["host", "router", "bastion"])
def test_every_setting_of_a_profile_has_a_reason(name: str) -> None:
    reasons = {setting.keyword: setting.reason for setting in profile(name)}
    # The count belongs to the interval above it.
    assert [keyword for keyword, reason in reasons.items() if not reason] == ["ClientAliveCountMax"]
    assert all(reason.endswith(".") for reason in reasons.values() if reason)


def test_a_profile_names_no_keyword_twice() -> None:
    for name in ("host", "router", "bastion"):
        keys = [setting.key for setting in profile(name)]
        assert len(keys) == len(set(keys))


def test_what_would_lock_labrun_or_a_jump_out_is_not_in_a_profile() -> None:
    for name in ("host", "router", "bastion"):
        held = {setting.key: setting.values[0] for setting in profile(name)}
        assert int(held["maxsessions"]) >= 4
        assert int(held["maxauthtries"]) >= 4
        assert held["pubkeyauthentication"] == "yes"
        assert "allowusers" not in held


@pytest.mark.parametrize(
    ("one", "others", "forwarding"),
    [
        (host("h", ON_N1), [], "no"),
        (host("r", ON_N1, role="router"), [], "local"),
        (host("h", {"n1": "10.0.0.11/24", "n2": "10.0.1.11/24"}), [], "local"),
        (host("h", ON_N1), [replace(host("x", {"n1": "10.0.0.12/24"}), access_via="h")], "local"),
    ],
)
def test_whoever_others_come_through_forwards(one: Host, others: list[Host], forwarding: str) -> None:
    found = desired(one, *others)
    assert found is not None
    assert found["allowtcpforwarding"] == (forwarding,)


def test_root_is_shut_out_unless_labrun_is_root_there() -> None:
    assert (desired(host("h", ON_N1)) or {})["permitrootlogin"] == ("no",)
    as_root = replace(host("h", ON_N1), user="root")
    assert (desired(as_root) or {})["permitrootlogin"] == ("prohibit-password",)


def test_the_lab_file_wins_in_whatever_case_it_writes_the_keyword() -> None:
    said = {"maxauthtries": ("6",), "AcceptEnv": ("LANG", "LC_*")}
    found = desired_sshd(
        lab([network("n1", "10.0.0.0/24")], [one := replace(host("h", ON_N1), sshd=said)]), one
    )
    assert found is not None
    text = render(found)
    assert "\nMaxAuthTries 6\n" in text
    assert "MaxAuthTries 4" not in text
    assert "\n# As the lab file says.\nAcceptEnv LANG\nAcceptEnv LC_*\n" in text


def test_sshd_false_leaves_sshd_alone() -> None:
    assert desired(replace(host("h", ON_N1), sshd=None)) is None
    alone = replace(host("h", ON_N1), sshd=None)
    assert Sshd().desired(lab([network("n1", "10.0.0.0/24")], [alone]), alone) is None


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("permitrootlogin", "without-password", "prohibit-password"),
        ("logingracetime", "1m30s", "90"),
        ("logingracetime", "30", "30s"),
        ("clientaliveinterval", "1H", "3600"),
        ("passwordauthentication", "No", "no"),
        ("x11forwarding", '"yes"', "yes"),
        ("maxauthtries", "04", "4"),
    ],
)
def test_two_spellings_of_one_value(key: str, one: str, other: str) -> None:
    assert plain_value(key, one) == plain_value(key, other)


def test_repeated_keywords_are_lists_and_growing_ones_may_hold_more() -> None:
    effective = effective_settings("port 22\nport 2222\nacceptenv LANG\nacceptenv LC_*\nallowusers lab\n")
    assert meets("port", ("2222", "22"), effective)
    assert not meets("port", ("22",), effective)
    assert meets("acceptenv", ("LANG",), effective)
    assert not meets("acceptenv", ("FOO",), effective)
    assert not meets("allowusers", ("lab", "other"), effective)


def want(*pairs: tuple[str, tuple[str, ...]]) -> dict[str, object]:
    rows = [{"keyword": keyword, "values": list(values), "reason": ""} for keyword, values in pairs]
    return {"settings": rows, "user": "lab"}


def facts(
    said: str, files: dict[str, str] | None = None, status: int = 0, canonical: Captured | None = None
) -> Facts:
    commands = {"sshd": Captured(said, status)}
    if canonical is not None:
        commands["canonical"] = canonical
    return Facts({MAIN: INCLUDE, **(files or {})}, commands, frozenset())


@pytest.mark.parametrize("keyword", ["Port", "ListenAddress"])
def test_where_systemd_listens_a_port_of_sshd_s_is_refused_and_said(keyword: str) -> None:
    wanted = want((keyword, ("2222",)), ("MaxAuthTries", ("4",)))
    assert "is-active ssh.socket" in Sshd().facts(wanted)[0].script
    assert "is-active ssh.socket" not in Sshd().facts(want(("MaxAuthTries", ("4",))))[0].script
    have = facts("maxauthtries 6", canonical=Captured(f"{keyword.lower()} 2222", 0))
    plan = Sshd().plan(wanted, replace(have, words=frozenset({"sshd-socket"})))
    why = "systemd listens here in place of sshd (ssh.socket), so this would have no effect"
    assert states(plan) == {
        keyword.lower(): ("refused", why),
        "maxauthtries": ("refused", f"sshd was not changed, because of {keyword}"),
    }
    assert plan.apply == ""
    assert states(Sshd().plan(wanted, have))[keyword.lower()] == ("change", None)


def states(plan: SectionPlan) -> dict[str, tuple[str, str | None]]:
    return {item.name: (item.state, item.why) for item in plan.items}


def test_a_value_that_holds_by_chance_is_written_down_all_the_same() -> None:
    plan = Sshd().plan(want(("X11Forwarding", ("no",))), facts("x11forwarding no"))
    assert states(plan) == {"x11forwarding": ("change", None)}
    own, *file = (plan.items[0].diff or "").split("\n")
    assert own == f"+{DROP_IN}: X11Forwarding no"
    assert file[:2] == ["--- /dev/null", f"+++ {DROP_IN}"]
    assert file[-1] == "+X11Forwarding no"


@pytest.mark.parametrize(
    ("keyword", "value", "why"),
    [
        ("Match", "User lab", "Match cannot be set in the drop-in"),
        ("Include", "/etc/evil", "Include cannot be set in the drop-in"),
        ("Bad-Word", "x", "Bad-Word cannot be set in the drop-in"),
        ("Banner", "a\nPermitRootLogin yes", "Banner: a value must be one line of text"),
        ("Banner", "", "Banner: a value must be one line of text"),
    ],
)
def test_what_would_mean_something_else_in_a_file_changes_nothing(keyword: str, value: str, why: str) -> None:
    plan = Sshd().plan(want(("MaxAuthTries", ("3",)), (keyword, (value,))), facts("maxauthtries 6"))
    assert states(plan) == {
        "maxauthtries": ("refused", f"sshd was not changed, because of {keyword}"),
        keyword.lower(): ("refused", why),
    }
    assert plan.apply == ""


def test_a_configuration_that_is_broken_elsewhere_is_left_alone_with_sshd_s_words() -> None:
    said = "/etc/ssh/sshd_config.d/90-x.conf: line 1: Bad configuration option: Foo\n"
    said += "/etc/ssh/sshd_config.d/90-x.conf: terminating, 1 bad configuration options\n"
    plan = Sshd().plan(want(("MaxAuthTries", ("3",))), facts(said, status=255))
    why = f"sshd rejects its own configuration: {said.splitlines()[0]}"
    assert states(plan) == {"maxauthtries": ("refused", why)}
    assert plan.apply == ""


def test_a_drop_in_that_somebody_broke_is_written_anew() -> None:
    said = f"{DROP_IN}: line 3: Bad configuration option: Foo\n"
    files = {DROP_IN: "MaxAuthTries 3\nFoo bar\n"}
    plan = Sshd().plan(want(("MaxAuthTries", ("3",))), facts(said, files, status=255))
    assert states(plan) == {"maxauthtries": ("change", None)}
    assert "Foo" not in plan.apply.split("reload_sshd ||")[0]


def test_without_an_include_a_drop_in_would_not_be_read() -> None:
    have = Facts({MAIN: "# Include /etc/ssh/sshd_config.d/*.conf\n"}, {"sshd": Captured("x", 0)}, frozenset())
    plan = Sshd().plan(want(("MaxAuthTries", ("3",))), have)
    why = f"{MAIN} does not include sshd_config.d, so a drop-in would not be read"
    assert states(plan) == {"maxauthtries": ("refused", why)}


def test_what_holds_without_an_include_holds_and_only_the_rest_cannot_be_written() -> None:
    said = Captured("maxauthtries 3\nx11forwarding yes\n", 0)
    have = Facts({MAIN: "MaxAuthTries 3\n"}, {"sshd": said}, frozenset())
    plan = Sshd().plan(want(("MaxAuthTries", ("3",)), ("X11Forwarding", ("no",))), have)
    assert [(item.name, item.state, item.expected, item.actual) for item in plan.items] == [
        ("maxauthtries", "ok", "3", "3"),
        ("x11forwarding", "refused", "no", "yes"),
    ]
    assert [verdict(item, None).status for item in plan.items] == [Status.OK, Status.PENDING]
    assert plan.apply == ""


def test_a_guest_without_sshd_is_told_so() -> None:
    plan = Sshd().plan(want(("MaxAuthTries", ("3",))), facts("sh: sshd: not found\n", status=127))
    assert states(plan) == {"maxauthtries": ("refused", "sshd cannot be queried: sh: sshd: not found")}


def test_lists_are_judged_as_sshd_itself_writes_them() -> None:
    wanted = want(("Ciphers", ("+aes128-cbc",)))
    assert "canonical" in Sshd().facts(wanted)[0].script
    have = facts(
        "ciphers aes256-ctr,aes128-cbc",
        {DROP_IN: "Ciphers +aes128-cbc\n"},
        canonical=Captured("ciphers aes256-ctr,aes128-cbc", 0),
    )
    assert states(Sshd().plan(wanted, have)) == {"ciphers": ("ok", None)}


CIPHERS = "ciphers aes256-ctr,aes128-cbc"


@pytest.mark.parametrize(
    ("value", "said", "drop_in", "words", "status"),
    [
        ("+aes128-cbc", CIPHERS, "Ciphers +aes128-cbc\n", (), Status.OK),
        # sshd's spelling is another than the file's, and neither has moved.
        ("-aes128-cbc", CIPHERS, "Ciphers +aes128-cbc\n", (), Status.PENDING),
        ("+aes128-cbc", "ciphers aes128-ctr", "Ciphers +aes128-cbc\n", (), Status.DRIFTED),
        ("+aes128-cbc", "ciphers aes128-ctr", "Ciphers aes128-ctr\n", (), Status.DRIFTED),
        ("+aes128-cbc", CIPHERS, "", (), Status.DRIFTED),
        ("+aes128-cbc", CIPHERS, "Ciphers +aes128-cbc\n", ("stale-sshd",), Status.DRIFTED),
        ("-aes128-cbc", "ciphers aes128-ctr", "Ciphers aes128-ctr\n", (), Status.CONFLICT),
        ("-aes128-cbc", CIPHERS, "", (), Status.CONFLICT),
        (None, CIPHERS, "Ciphers +aes128-cbc\n", (), Status.PENDING),
        (None, CIPHERS, "Ciphers aes128-ctr\n", (), Status.CONFLICT),
    ],
)
def test_who_has_moved(
    value: str | None, said: str, drop_in: str, words: tuple[str, ...], status: Status
) -> None:
    def item(value: str | None, said: str, drop_in: str, words: tuple[str, ...] = ()) -> Item:
        canonical = {"+aes128-cbc": CIPHERS, "-aes128-cbc": "ciphers aes256-ctr", None: ""}[value]
        wanted = want() if value is None else want(("Ciphers", (value,)))
        have = facts(said, {DROP_IN: drop_in}, canonical=Captured(canonical, 0))
        (found,) = Sshd().plan(wanted, replace(have, words=frozenset(words))).items
        return found

    applied = fingerprint(item("+aes128-cbc", CIPHERS, "Ciphers +aes128-cbc\n"))
    assert verdict(item(value, said, drop_in, words), applied, asked=value is not None).status is status


def test_a_list_that_several_files_add_to_is_shown_once() -> None:
    said = "acceptenv LANG\nacceptenv LC_*\nacceptenv LANG\nacceptenv LC_*\nport 22\nport 22\n"
    assert effective_settings(said) == {"acceptenv": ("LANG", "LC_*"), "port": ("22", "22")}


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("HostKey", "/nope", "Unable to load host key: /nope\nsshd: no hostkeys available -- exiting."),
        (
            "AuthenticationMethods",
            "publickey,password",
            'Disabled method "password" in AuthenticationMethods list "publickey,password"\nsshd: ended',
        ),
        ("ListenAddress", "300.1.1.1", "bad addr or host: 300.1.1.1 (Name or service not known)"),
        ("AuthorizedKeysCommand", "/x", "AuthorizedKeysCommand set without AuthorizedKeysCommandUser"),
        ("HostCertificate", "/nope", 'Could not load host certificate "/nope": No such file or directory'),
    ],
)
def test_an_error_of_sshd_without_a_line_is_the_keyword_s_that_it_is_about(
    keyword: str, value: str, said: str
) -> None:
    wanted = want(("MaxAuthTries", ("4",)), ("PasswordAuthentication", ("no",)), (keyword, (value,)))
    plan = Sshd().plan(wanted, facts("maxauthtries 6", canonical=Captured("", 255, said)))
    why = f"sshd was not changed, because of {keyword}"
    assert states(plan) == {
        "maxauthtries": ("refused", why),
        "passwordauthentication": ("refused", why),
        keyword.lower(): ("refused", f"sshd -t: {said.splitlines()[0]}"),
    }


def test_the_plain_profile_asks_sshd_once() -> None:
    one = host("h", ON_N1)
    wanted = Sshd().desired(lab([network("n1", "10.0.0.0/24")], [one]), one)
    assert wanted is not None
    assert "canonical" not in Sshd().facts(wanted)[0].script


@settings(max_examples=examples(200))
@given(st.text(max_size=200))
def test_no_text_breaks_the_readers(text: str) -> None:
    assert all(setting.keyword for setting in settings_in(text))
    assert all(effective_settings(text).values())


@settings(max_examples=examples(200))
@given(st.text(max_size=60))
def test_a_value_never_adds_a_line_to_the_drop_in(value: str) -> None:
    wanted = want(("Banner", (value,)))
    plan = Sshd().plan(wanted, facts("banner none", canonical=Captured("banner none", 0)))
    if plan.items[0].state != "refused":
        lines = render([Setting("Banner", (value,))]).splitlines()
        assert [line for line in lines if line and not line.startswith("#")] == [f"Banner {value}"]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no OpenSSH here")
@pytest.mark.parametrize("name", ["host", "router", "bastion"])
def test_the_real_sshd_accepts_the_profile_and_means_what_it_says(name: str, tmp_path: Path) -> None:
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if sshd is None:
        pytest.skip("no sshd here")
    Path("/run/sshd").mkdir(exist_ok=True)
    key = tmp_path / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = tmp_path / "sshd_config"
    config.write_text(render(profile(name)) + f"HostKey {key}\n", encoding="utf-8")
    done = subprocess.run(
        [sshd, "-T", "-f", str(config), "-C", "user=lab,host=x,addr=10.0.0.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    effective = effective_settings(done.stdout)
    for setting in profile(name):
        values = tuple(plain_value(setting.key, value) for value in setting.values)
        assert meets(setting.key, values, effective), setting.keyword
