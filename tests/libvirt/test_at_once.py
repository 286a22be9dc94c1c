"""Labs that come up at the same moment do not meet: names of bridges, filters, machines."""

from __future__ import annotations

from pathlib import Path

import libvirt

from tests.labs import RunningLab

LABS = 6
TEXT = """\
name: at-once-{number}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks:
  a: {{mode: isolated, cidr: 10.16{number}.201.0/24}}
  b: {{mode: nat, cidr: 10.16{number}.202.0/24}}
  c: {{mode: very-isolated, cidr: 10.16{number}.203.0/24}}
filters: {{f: [{{deny: out, proto: tcp, port: 80}}]}}
hosts: {{h: {{networks: {{a: 10.16{number}.201.9, c: {{ipv4: 10.16{number}.203.9, filter: f}}}}}}}}
"""


def test_labs_that_come_up_at_once_all_get_there(tmp_path: Path) -> None:
    labs = []
    for number in range(LABS):
        path = tmp_path / f"{number}.yaml"
        path.write_text(TEXT.format(number=number), encoding="utf-8")
        labs.append(RunningLab(path, tmp_path / f"state{number}"))
    try:
        runs = [lab.start("up", "--no-wait") for lab in labs]
        assert [run.wait(timeout=300) for run in runs] == [0] * LABS
        connection = libvirt.open("lxc:///system")
        networks = [each for each in connection.listAllNetworks() if each.name().startswith("at-once-")]
        assert len({network.bridgeName() for network in networks}) == 3 * LABS
        assert all(network.isActive() for network in networks)
        connection.close()
        assert [lab.run("plan").exit_code for lab in labs] == [0] * LABS
    finally:
        ended = [lab.start("-y", "down") for lab in labs]
        assert [run.wait(timeout=300) for run in ended] == [0] * LABS
