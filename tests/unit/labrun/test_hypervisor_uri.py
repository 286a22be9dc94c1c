"""What a file may say about where libvirt is: a place, and nothing that runs or reads anything here."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from labrun.hypervisor_uri import PLAIN_URI, is_plain
from labrun.inventory.file.load import json_schema
from labrun.tasks.provision import hypervisor_choice as choose
from tests.unit.command_line import run_labrun

LAB = "name: demo\nhypervisor: {uri}\nnetworks: {{n: {{cidr: 10.64.0.0/24}}}}\n"
LAB += "hosts: {{a: {{networks: {{n: dhcp}}}}}}\n"
PLACES = ("", "host", "me@host", "host:22", "me@host.example.org:2222", "[fd00::1]:22", "10.0.0.1")
GOOD = [
    f"{scheme}{transport}://{place}/{path}"
    for scheme, transport, place, path in product(
        ("qemu", "lxc"), ("", "+ssh", "+tls"), PLACES, ("system", "session")
    )
] + ["test:///default"]
PARAMETERS = (
    "command=./x",
    "keyfile=/root/.ssh/id_rsa",
    "no_verify=1",
    "no_tty=1",
    "socket=/tmp/s",
    "netcat=./x",
    "sshauth=agent",
    "known_hosts=/dev/null",
    "known_hosts_verify=ignore",
    "pkipath=/tmp",
    "tls_priority=NONE",
    "proxy=native",
    "mode=direct",
    "name=qemu:///system",
    "",
)
BAD = [
    *(
        f"{base}?{parameter}"
        for base in ("qemu:///system", "qemu+ssh://h/system")
        for parameter in PARAMETERS
    ),
    *(f"qemu+{transport}:///system" for transport in ("ext", "unix", "tcp", "libssh", "libssh2", "x")),
    *(f"{scheme}:///system" for scheme in ("xen", "vz", "esx", "openvz", "ch", "bhyve", "remote", "QEMU")),
    "lxc+ext:///system?command=./x",
    "qemu+ssh://-oProxyCommand=x/system",
    "qemu+ssh://-l@h/system",
    "qemu+ssh://%2doProxyCommand=x/system",
    "qemu+ssh://h:22x/system",
    "qemu+ssh://me:word@h/system",
    "qemu:///system#x",
    "qemu:///system/",
    "qemu:///embed",
    "qemu:////system",
    "qemu:///system\n",
    "test:///etc/passwd",
    "test+ssh://h/default",
    "an-alias",
]


@pytest.mark.parametrize("uri", GOOD)
def test_a_place_is_taken(uri: str) -> None:
    assert is_plain(uri)
    assert re.search(schema_pattern(), uri)


@pytest.mark.parametrize("uri", BAD)
def test_what_says_more_than_a_place_is_refused_by_file_and_schema(uri: str) -> None:
    assert not is_plain(uri)
    # JSON Schema's $ does not match before a line's end, as Python's does.
    assert re.search(schema_pattern().replace("$", r"\Z"), uri) is None


@cache
def schema_pattern() -> str:
    schema: Any = json_schema()
    found = json.dumps(schema["properties"]["hypervisor"])
    assert json.dumps(PLAIN_URI)[1:-1] in found
    return str(next(pattern for pattern in _patterns(schema["properties"]["hypervisor"])))


def _patterns(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["pattern"]] if "pattern" in schema else []
        return own + [each for value in schema.values() for each in _patterns(value)]
    return [each for value in schema for each in _patterns(value)] if isinstance(schema, list) else []


@pytest.mark.parametrize("command", ["validate", "status", "plan", "verify", "down"])
def test_no_command_runs_what_the_file_names(tmp_path: Path, command: str) -> None:
    program = tmp_path / "x"
    program.write_text(f"#!/bin/sh\n: >{tmp_path}/ran\n")
    program.chmod(0o755)
    uri = f"qemu+ext:///system?command={program}"
    (tmp_path / "lab.yaml").write_text(LAB.format(uri=yaml.dump(uri, default_style='"').strip()))
    done = run_labrun("-y", "--state-dir", "state", command, cwd=tmp_path)
    shown = uri if len(uri) <= 60 else uri[:59] + "…"
    expected = (
        f'lab.yaml:2: hypervisor: "{shown}" is not a valid hypervisor for a lab file'
        " (auto, or qemu or lxc with ssh, tls or nothing: qemu+ssh://user@host/system;"
        " LABRUN_HYPERVISOR takes any URI)\n"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert not (tmp_path / "ran").exists()


def test_the_user_may_name_any_uri_in_the_file_s_place(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB.format(uri="qemu:///system"))
    uri = "qemu+unix:///system?socket=/nowhere"
    env = {"LABRUN_HYPERVISOR": uri}
    for words in (("plan",), ("-y", "down"), ("-y", "down", "--name", "demo")):
        done = run_labrun("--state-dir", "state", *words, cwd=tmp_path, env=env)
        assert done.returncode == 5
        assert f"error: libvirt: cannot open {uri}: " in done.stderr
        assert f"hint: is libvirtd running? `virsh -c '{uri}' list` must work\n" in done.stderr


def test_a_schedule_says_that_it_would_not_have_the_variable(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB.format(uri="qemu:///system"))
    env = {"LABRUN_HYPERVISOR": "qemu:///session"}
    done = run_labrun("schedule", "install", "--cron", "--every", "1h", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: LABRUN_HYPERVISOR: a scheduled run has no such variable\nhint: name it in the lab file\n"
    )


@pytest.mark.parametrize(
    ("named", "uri"),
    [("qemu+ext:///system?command=./x", "lxc:///system"), ("qemu:///system", "qemu:///system")],
)
def test_a_tag_names_a_place_too_and_nothing_else(
    named: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = f"<labrun:lab xmlns:labrun='urn:labrun:1' name='demo' hypervisor='{named}'/>"
    xml = f"<network><name>demo-n</name><metadata>{tag}</metadata></network>"
    network = SimpleNamespace(name=lambda: "demo-n")
    monkeypatch.setattr(choose, "connect", lambda uri: uri)
    monkeypatch.setattr(
        choose, "networks_of", lambda at: iter([(network, xml)] if at == "lxc:///system" else [])
    )
    monkeypatch.setattr(choose, "tagged_domains", lambda _connection, _lab: [])
    assert choose.lab_uris("demo") == (uri,)
