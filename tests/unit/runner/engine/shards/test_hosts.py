"""A host is made plain and back: its login, its jump host, its keys; what must not travel does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import ConnectionOptions, Host

from labrun.inventory.hosts.connections import JUMP, OPTIONS
from labrun.runner.engine.shards.codec import from_line, to_line
from labrun.runner.engine.shards.hosts import host_of, spec_of, why_it_stays
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.drift.task import DriftSpec
from labrun.tasks.guest.inside import OPENER
from labrun.tasks.guest.known_hosts import known_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1iKXmVjPS6TDKWVEBBqZYDFDlmd8uiAEQdT2PBDUDg"
LOGIN = {
    "alt_host_keys": True,
    "alt_key_file": "/state/known_hosts",
    "conn_timeout": 10,
}


def host(name: str, without: str = "", key_file: str = "/state/id", **data: Any) -> Host:
    extras = {**LOGIN, "key_file": key_file, "host_key_alias": name}
    extras.pop(without, None)
    options = {OPTIONS: ConnectionOptions(extras=extras)}
    return Host(name, hostname="10.0.0.1", port=2222, username="lab", data=data, connection_options=options)


def no_folder() -> Path:
    raise AssertionError("no folder is needed")


def made(spec: object, folder: Callable[[], Path] = no_folder) -> Host:
    return host_of(from_line(to_line(spec)), folder)


def test_a_host_logs_in_as_before() -> None:
    web = host("web", labrun_expected=["10.0.0.2"], verify=CollectSpec(macs=("02:00",)))
    back = made(spec_of(web, {"web": KEY}))
    assert back.get_connection_parameters(OPTIONS).dict() == web.get_connection_parameters(OPTIONS).dict()
    assert (back.name, back.data) == (web.name, web.data)


def test_its_jump_host_comes_along() -> None:
    gate = host("gate", labrun_expected=["10.0.0.9"], configure={"secrets": ["its own psk"]})
    data: dict[str, Any] = {JUMP: gate}
    web = host("web", **data)
    jump = made(spec_of(web, {})).data[JUMP]
    assert jump.get_connection_parameters(OPTIONS).dict() == gate.get_connection_parameters(OPTIONS).dict()
    # Its own settings, with their secrets, are nobody else's business.
    assert jump.data == {"labrun_expected": ["10.0.0.9"]}
    assert b"psk" not in to_line(spec_of(web, {}))


def test_where_no_file_is_named_the_keys_are_written(tmp_path: Path) -> None:
    web = host("web", without="alt_key_file")
    options = made(spec_of(web, {"web": KEY}), lambda: tmp_path).get_connection_parameters(OPTIONS).extras
    assert options is not None
    assert options["alt_host_keys"] is True
    (key,) = known_keys(Path(options["alt_key_file"]), "web")
    assert f"{key.get_name()} {key.get_base64()}" == KEY


def test_the_file_of_a_user_is_not_written() -> None:
    """Without an alias, its keys are those of known_hosts on the worker."""
    own = Host("own", hostname="192.0.2.1", connection_options={OPTIONS: ConnectionOptions(extras={})})
    assert spec_of(own, {"own": KEY}).host_keys == ()
    assert made(spec_of(own, {"own": KEY})).get_connection_parameters(OPTIONS).extras == {}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({}, ""),
        ({"configure": {"sections": {"nmcli": {"secrets": []}}}}, ""),
        ({OPENER: print}, "it is entered without a login, by libvirt"),
        (
            {"configure": {"sections": {"nmcli": {"secrets": ["psk of the lab"]}}}},
            "its settings have secrets, which are not sent",
        ),
        (
            {"drift": DriftSpec({"sections": {"files": {"secrets": ["x"]}}}, CollectSpec())},
            "its settings have secrets, which are not sent",
        ),
        (
            {"verify": CollectSpec(settings={"sysctl": {"secrets": ["x"]}})},
            "its settings have secrets, which are not sent",
        ),
        ({"other": object()}, "builtins.object does not travel to workers"),
    ],
)
def test_what_must_not_travel_stays(data: dict[str, Any], why: str) -> None:
    assert why_it_stays(host("web", **data)) == why


def test_no_key_and_no_secret_is_in_what_travels(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----", encoding="ascii")
    web = host("web", key_file=str(key))
    web.password = "a password"
    line = to_line(spec_of(web, {"web": KEY}))
    assert b"PRIVATE KEY" not in line
    assert b"a password" not in line
    assert str(key).encode() in line
