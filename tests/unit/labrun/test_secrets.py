"""Secrets: which names are secret, and that none of their values is ever shown."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Result, Task

from labrun.inventory.model import FileSpec
from labrun.outcome import Outcome, Status
from labrun.runner.engine.nornir import build_nornir
from labrun.runner.engine.raw_results import RawResults
from labrun.secrets import MASK, Secrets, is_secret, mask_settings
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.configure.nm_profiles import DIRECTORY
from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.configure.resources import explain, host_spec, plan_host, secrets_of
from labrun.tasks.drift.task import DriftSpec
from labrun.tasks.guest.keyfile import escaped, parse, render
from labrun.tasks.guest.shell import Captured, Facts, quote
from tests.fuzz import examples
from tests.unit.small_labs import host, lab, network
from tests.unit.tasks.configure.test_cases import facts_of, in_words, spec_of


@pytest.mark.parametrize(
    "name",
    [
        "802-1x.password",
        "802-1x.password-raw",
        "802-1x.private-key",
        "802-1x.private-key-password",
        "802-1x.private-key-pass",
        "802-1x.phase2-private-key-password",
        "802-1x.ca-cert-password",
        "802-1x.pin",
        "802-11-wireless-security.psk",
        "wifi-sec.psk",
        "wifi-sec.leap-password",
        "802-11-wireless-security.wep-key0",
        "802-11-wireless-security.wep-key3",
        "gsm.password",
        "gsm.pin",
        "pppoe.password",
        "pppoe.passw",
        "vpn.secrets",
        "wireguard.private-key",
        "wireguard.peers",
        "macsec.mka-cak",
        "net.ipv6.conf.all.stable_secret",
        "net/ipv6/conf/all/stable_secret",
        "net.ipv4.tcp_fastopen_key",
    ],
)
def test_a_property_whose_value_is_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "802-1x.password-flags",
        "802-1x.private-key-password-flags",
        "802-1x.identity",
        "802-1x.ca-cert",
        "802-1x.client-cert",
        "802-1x.pac-file",
        "802-11-wireless-security.wep-key-type",
        "802-11-wireless-security.key-mgmt",
        "connection.id",
        "connection.permissions",
        "connection.secondaries",
        "ethernet.mac-address",
        "ipv4.dns-priority",
        "ipv4.dns",
        "net.ipv4.ip_forward",
        "net.ipv4.tcp_fastopen",
        "passwordauthentication",
        "pubkeyauthentication",
        "permitrootlogin",
        "left",
        "",
    ],
)
def test_a_name_whose_value_may_be_seen(name: str) -> None:
    assert not is_secret(name)


# What stands around a secret here never contains one.
SECRET = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=30).filter(
    lambda text: text.strip() and "secret" not in text and not set(text) <= set("<>\\nrtxu'\" ")
)


@settings(max_examples=examples(200))
@given(SECRET)
def test_a_secret_is_masked_in_every_spelling(text: str) -> None:
    secrets = Secrets.of([text])
    for spelled in (text, quote(text), escaped(text.strip()), repr(text), json.dumps(text)):
        assert text.strip() not in secrets.mask(f"=== {spelled} ===").replace(MASK, "")
    row = Outcome("one", "nmcli", text, Status.FAILED, text, f"a {text}", f"why {text}", f"-{text}\n+{text}")
    masked = secrets.masked(row)
    for field in (masked.name, masked.expected, masked.actual, masked.why, masked.diff):
        assert field is not None
        assert text not in field.replace(MASK, "")


def test_short_secrets_are_masked_as_words_and_empty_ones_not_at_all() -> None:
    assert Secrets.of(["1"]).mask("10.1.1.1: the pin is 1") == f"10.{MASK}.{MASK}.{MASK}: the pin is {MASK}"
    assert Secrets.of(["no"]).mask("not known: no") == f"not known: {MASK}"
    assert not Secrets.of(["", "  "])
    assert Secrets.of([""]).mask("nothing") == "nothing"
    assert Secrets.of(["abc"]).mask(None) is None


def test_a_piece_that_a_tool_quotes_is_masked() -> None:
    secrets = Secrets.of(["s3cret; and more"])
    assert secrets.mask("Error: 's3cret;' is not a valid hex character.") == (
        f"Error: '{MASK}' is not a valid hex character."
    )
    assert secrets.mask("invalid property 'nonsense'") == "invalid property 'nonsense'"


def test_every_line_of_a_long_secret_is_masked() -> None:
    text = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n"
    assert Secrets.of([text]).mask("+MIIEvQIBADANBg\n+ab") == f"+{MASK}\n+ab"


NEW, OLD = "new pass;word", "the old 'one'"


def with_password() -> tuple[dict[str, Any], Facts]:
    """Return a configured router's spec with a password in a profile, and its facts with another."""
    spec, facts = spec_of("router-configured"), facts_of("router-configured")
    profile = spec["sections"]["nmcli"]["profiles"][0]
    profile["properties"] = {"802-1x.password": NEW}
    spec["sections"]["nmcli"]["secrets"] = [NEW]
    path = f"{DIRECTORY}/labrun-{profile['network']}.nmconnection"
    stored = {**parse(facts.files[path]), "802-1x": {"password": OLD}}
    said = {**profile["settings"], "802-1x": {"password": NEW}}
    return spec, replace(
        facts,
        files={**facts.files, path: render(stored)},
        commands={**facts.commands, f"profile-{profile['network']}": Captured(render(said), 0)},
    )


def shown(plan: HostPlan) -> str:
    return in_words(plan)


def test_a_profile_s_password_is_in_no_row_and_no_diff_and_yet_in_what_is_applied() -> None:
    spec, facts = with_password()
    plan = plan_host(spec, facts)
    assert f"-802-1x.password: {MASK}\n    +802-1x.password: {MASK}\n" in shown(plan)
    assert NEW not in shown(plan)
    assert OLD not in shown(plan)
    assert any(f"password={NEW}" in part.apply for part in plan.sections)


def test_what_nmcli_says_of_a_password_is_masked() -> None:
    spec, facts = with_password()
    network = spec["sections"]["nmcli"]["profiles"][0]["network"]
    said = Captured(f"Error: '{NEW}' is no password\n", 2)
    facts = replace(facts, commands={**facts.commands, f"profile-{network}": said})
    item = plan_host(spec, facts).items()["nmcli", network]
    assert item.why == f"nmcli refuses the properties: Error: '{MASK}' is no password"


def test_explain_has_a_placeholder_in_the_place_of_a_password() -> None:
    spec, _ = with_password()
    lines = explain(spec)
    assert any(f"802-1x.password '{MASK}'" in line for line in lines)
    assert NEW not in "\n".join(lines)


def test_a_secret_kernel_parameter_is_masked_old_and_new() -> None:
    new, old = "2001:db8::1", "2001:db8::2"
    key = "net.ipv6.conf.all.stable_secret"
    spec, facts = spec_of("router-configured"), facts_of("router-configured")
    spec["sections"]["sysctl"]["values"][key] = new
    spec["sections"]["sysctl"]["secrets"] = [new]
    running = "/proc/sys/net/ipv6/conf/all/stable_secret"
    facts = replace(
        facts, files={**facts.files, running: f"{old}\n"}, words=facts.words | {f"writable {running}"}
    )
    plan = plan_host(spec, facts)
    item = plan.items()["sysctl", key]
    assert (item.state, item.expected) == ("change", MASK)
    assert item.actual.startswith(MASK)
    assert new not in shown(plan)
    assert old not in shown(plan)
    assert secrets_of(spec).mask(f"x {new}") == f"x {MASK}"


def test_settings_read_on_a_host_are_masked_by_their_names() -> None:
    text = "[802-1x]\nidentity=me\npassword=a b;c\npassword-flags=0\n"
    assert mask_settings(text) == f"[802-1x]\nidentity=me\npassword={MASK}\npassword-flags=0\n"
    assert "a b" not in mask_settings(repr(text))
    read = "x file /proc/sys/net/ipv4/tcp_fastopen_key\n1-2-3-4\nx file /proc/sys/net/ipv4/ip_forward\n1\n"
    for text in (read, repr(read)):
        assert "1-2-3-4" not in mask_settings(text)
        assert "ip_forward\n1" in mask_settings(text).replace("\\n", "\n")
    assert mask_settings("net.ipv4.tcp_fastopen_key = 1-2-3-4") == f"net.ipv4.tcp_fastopen_key = {MASK}"


def test_raw_results_show_no_secret_of_the_file_and_none_of_the_guest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(task: Task) -> Result:
        return Result(
            task.host, result={"file": "psk=old wifi word\nx=1\n", "said": f"no {NEW} here, no fast open"}
        )

    verify = CollectSpec(settings={"sysctl": {"secrets": ["fast open"]}})
    data = {"drift": DriftSpec({"sections": {"nmcli": {"secrets": [NEW]}}}, verify)}
    host = Host("one", data=data)
    inventory = Inventory(hosts=Hosts({"one": host}), groups=Groups(), defaults=Defaults())
    build_nornir(inventory).with_processors([RawResults()]).run(read)
    out, err = capsys.readouterr()
    assert out == ""
    assert "x=1" in err
    assert f"no {MASK} here" in err
    assert NEW not in err
    assert "fast open" not in err
    assert "old wifi word" not in err


def test_the_content_of_a_private_file_is_a_secret_of_its_host() -> None:
    content = b"key = it's \\ secret\nno\n"
    one = replace(
        host("a", {"n1": "10.0.1.11/24"}),
        files=(FileSpec("/etc/k", content, mode="600"), FileSpec("/etc/open", b"seen by all\n", mode="644")),
    )
    spec = host_spec(lab([network("n1", "10.0.1.0/24")], [one]), "a")
    lines = "\n".join(explain(spec, ["files"]))
    assert "secret\n" not in lines
    assert "it's" not in lines
    assert "seen by all" in lines
    assert secrets_of(spec).mask("line 1: key = it's \\ secret: wrong") == f"line 1: {MASK}: wrong"


@pytest.mark.parametrize(
    "text",
    [(each * 500_000)[:500_000] for each in ("y", "/proc/sys/", "pin", "a.b-", "\\n", "a=", "a ", "'a")],
    ids=lambda text: text[:10],
)
def test_what_a_guest_prints_is_masked_in_time_that_grows_with_its_length(text: str) -> None:
    began = time.process_time()
    assert mask_settings(f"{text}\npsk=hidden\n").endswith(f"\npsk={MASK}\n")
    assert time.process_time() - began < 2
