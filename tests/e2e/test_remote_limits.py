"""What a remote hypervisor cannot do for labrun is refused in one message, before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.second_hypervisor import SecondHypervisor, lab_on

pytestmark = [pytest.mark.lxc, pytest.mark.full]

LAB = """\
name: {name}
hypervisor: {uri}
defaults: {{image: debian-12, memory: 384, disk: 3}}
networks:
  lan: {{mode: isolated, cidr: {net}.1.0/24}}
  out: {{mode: nat, cidr: {net}.2.0/24}}
hosts:
  gate: {{role: router, networks: {{lan: {net}.1.254, out: {net}.2.5}}}}
  desk: {{networks: {{lan: dhcp}}}}
"""


def test_a_fork_is_refused(older: SecondHypervisor, tmp_path: Path) -> None:
    lab = lab_on(older, tmp_path, LAB.format(name="e2e-limits", uri=older.uri("lab"), net="10.197"))
    refused = lab.run("fork", "x")
    assert (refused.exit_code, refused.stdout) == (5, "")
    assert refused.stderr.startswith(
        f"error: fork: a fork has containers only, and {older.uri('lab')} has VMs of the lab alone\n"
        "hint: `labrun snapshot save NAME` keeps VMs too\n"
    ), refused.stderr


@pytest.mark.parametrize("kind", ["forward", "filter"])
def test_what_its_nftables_would_do_is_refused_before_anything_is_made(
    kind: str, older: SecondHypervisor, tmp_path: Path
) -> None:
    text = LAB.format(name=f"e2e-far-{kind}", uri="auto", net="10.197")
    if kind == "forward":
        text = text.replace("10.197.2.0/24}", "10.197.2.0/24, forward: [{port: 8080, to: 'gate:80'}]}")
    else:
        text = text.replace("lan: dhcp", "lan: {ipv4: 10.197.1.7, filter: f}")
        text += "filters: {f: [{allow: in, proto: tcp, port: 22}, {deny: in}]}\n"
    made = lab_on(older, tmp_path, text)
    made.env["LABRUN_HYPERVISOR"] = older.uri("lab")
    try:
        refused = made.run("up")
        assert refused.exit_code == 5, refused.stdout
        said = refused.stderr + refused.stdout
        assert "is another machine, and libvirt gives no access to its nftables" in " ".join(said.split())
        assert f"e2e-far-{kind}" not in older.leftovers()
    finally:
        made.run("-y", "down")


def test_a_socket_starts_its_libvirtd_again(older: SecondHypervisor, tmp_path: Path) -> None:
    lab = lab_on(older, tmp_path, LAB.format(name="e2e-limits", uri=older.uri("lab"), net="10.197"))
    older.inside("systemctl stop libvirtd.service 2>&1")
    assert older.inside("pgrep -x libvirtd; true").strip() == ""
    status = lab.json("status")
    assert [host["state"] for host in status.document["hosts"]] == ["absent", "absent"], status.stderr
    assert older.inside("systemctl is-active libvirtd.service").strip() == "active"
