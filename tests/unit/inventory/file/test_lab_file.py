"""What a good lab file becomes: merged keys, derived values, notices."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, ip_address
from pathlib import Path
from textwrap import dedent

import pytest

from labrun.errors import LabFileError
from labrun.inventory.check_model import Check
from labrun.inventory.duration import duration_seconds, is_duration
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import (
    DhcpRange,
    Gateway,
    Lab,
    Mode,
    Notice,
    Role,
    Service,
    SshSettings,
    StaticRoute,
)
from labrun.inventory.traffic import Firewall, FirewallRule, Forward, Nat
from tests import places

EXAMPLES = places.EXAMPLES
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
NETS = "networks: {net1: {cidr: 10.1.0.0/24}, net2: {cidr: 10.2.0.0/24}}\n"


def lab_of(tmp_path: Path, text: str) -> Lab:
    """Load a lab file of this text, with two networks where it has none of its own."""
    text = dedent(text)
    more = "" if "networks:\n" in text.split("hosts:")[0] else NETS
    file = tmp_path / "lab.yaml"
    file.write_text(f"name: demo\n{more}{text}", encoding="utf-8")
    return load_lab(file)


def test_the_example_lab() -> None:
    lab = load_lab(EXAMPLES / "kvm-network-lab.yaml")
    assert lab.name == "kvm-network-lab"
    assert list(lab.hosts) == ["host00", "host01", "host02", "host03", "host04"]
    assert [network.hypervisor4 for network in lab.networks.values()] == [
        IPv4Interface("172.16.0.1/24"),
        IPv4Interface("172.17.0.1/24"),
    ]
    router, last = lab.hosts["host00"], lab.hosts["host04"]
    assert router.role is Role.ROUTER
    assert [str(nic.ipv4) for nic in router.interfaces] == ["172.16.0.254/24", "172.17.0.254/24"]
    # Written down: a release that derives others would renumber every lab that exists.
    assert [(nic.mac, str(nic.ipv4), nic.dhcp) for nic in last.interfaces] == [
        ("02:48:11:90:08:6a", "172.17.0.163/24", True)
    ]
    assert lab.checks == (Check("no-telnet", "host01", "host03", "tcp", "23", "blocked"),)
    assert lab.schedule_every == "15m"
    assert lab.libvirt_name("host04") == "kvm-network-lab-host04"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_examples_load(example: Path) -> None:
    lab = load_lab(example)
    data = example.read_bytes()
    assert (lab.source, lab.directory) == (str(example), str(example.parent))
    assert lab.digest == hashlib.sha256(data).hexdigest()


def test_a_host_may_be_called_like_a_group_that_it_is_not_in(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts: {web: {networks: {net1: dhcp}}, db: {networks: {net1: dhcp}}}
        groups: {web: {hosts: [db]}}
        checks: [{name: both, from: web, to: "@web", ping: true}]
        """,
    )
    assert [(check.source, check.to) for check in lab.checks] == [("web", "@web")]


@pytest.mark.parametrize(
    "name", ["web.example.com", "WEB", "Web-1.Example", "a" * 63, f"{'a' * 52}.example.com"]
)
def test_a_hostname_may_be_qualified_and_keeps_its_case(name: str, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, f"hosts: {{one: {{networks: {{net1: dhcp}}, hostname: {name}}}}}")
    assert lab.hosts["one"].hostname == name


@pytest.mark.parametrize(
    "keys",
    [
        "net.ipv4.ip_forward: 0",  # replaces the role's value
        "net.ipv4.ip_forward: 0, net.ipv4.conf.all.forwarding: 0",
        "net.ipv4.conf.all.forwarding: 1",
        "net/ipv4/ip_forward: 1, net.ipv4.conf.default.forwarding: 0, net.ipv4.conf.eth0.forwarding: 0",
        "net.ipv4.conf.default.rp_filter: 1, net.ipv4.conf.eth0.rp_filter: 0",
        "net/ipv4/conf/eth0.100/rp_filter: 1, net.ipv4.conf.eth0/100.rp_filter: 1",
        "net.ipv4.neigh.default.retrans_time: 100, net.ipv4.neigh.default.retrans_time_ms: 1000",
        "net.ipv4.ip_local_port_range: 1024 2000, net/ipv4/ip_local_port_range: 1024  2000",
        "vm.dirty_ratio: 20, vm.dirty_bytes: 0",
        "kernel.hostname: one",
    ],
)
def test_one_kernel_value_may_be_set_twice_if_it_is_the_same(keys: str, tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        f"hosts: {{one: {{networks: {{net1: 10.1.0.9}}, role: router, hostname: one, sysctl: {{{keys}}}}}}}",
    )
    assert len(lab.hosts["one"].sysctl) == keys.count(":")


@pytest.mark.parametrize(
    "settings",
    [
        "Port: [22, 2222]",
        "ListenAddress: 0.0.0.0",
        "ListenAddress: [10.1.0.9, 127.0.0.1]",
        "Port: 2222, ListenAddress: ['10.1.0.9:22', 10.1.0.9]",
        "ListenAddress: own.name",  # its address is not in the file
        "AddressFamily: inet",
        "AllowUsers: 'alice l*'",
        "AllowUsers: lab@10.0.0.0/8",  # where labrun comes from is not in the file
        "DenyUsers: [lab@192.0.2.1, la]",
        "AllowGroups: users",
        "DenyGroups: wheel",
        "PermitRootLogin: no",
        "PubkeyAuthentication: yes, ForceCommand: none",
        "AuthenticationMethods: 'publickey,password publickey'",
        "AuthenticationMethods: any",
    ],
)
def test_sshd_settings_that_leave_labrun_in_are_fine(settings: str, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, f"hosts: {{one: {{networks: {{net1: 10.1.0.9}}, sshd: {{{settings}}}}}}}")
    assert lab.hosts["one"].sshd


def test_modes_derive_the_hypervisors_part(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        networks:
          nat: {mode: nat, cidr: 10.1.0.0/24, cidr6: "fd00:1::/64", dev: eth0, nat_ports: [1024, 2048],
                mtu: 9000}
          quiet: {mode: very-isolated, cidr: 10.2.0.0/24}
          outer: {mode: bridge, bridge: br0}
          wire: {mode: macvtap, dev: enp3s0, cidr: 10.4.0.0/24}
          own: {cidr: 10.5.0.0/24, dhcp: {range: [10.5.0.20, 10.5.0.29]}, autostart: false, domain: lab.test,
                dns: {www: 10.5.0.7}}
          none: {mode: route, cidr: 10.6.0.0/24, dhcp: false}
          wide: {mode: open, cidr: 11.0.0.0/8}
          tiny: {cidr: 10.8.0.0/30}
        hosts:
          a: {networks: {outer: dhcp, wire: dhcp}}
        """,
    )
    nets = lab.networks
    assert {name: net.mode for name, net in nets.items()} == {
        "nat": Mode.NAT,
        "quiet": Mode.VERY_ISOLATED,
        "outer": Mode.BRIDGE,
        "wire": Mode.MACVTAP,
        "own": Mode.ISOLATED,
        "none": Mode.ROUTE,
        "wide": Mode.OPEN,
        "tiny": Mode.ISOLATED,
    }
    assert {name: str(net.hypervisor4) for name, net in nets.items() if net.hypervisor4} == {
        "nat": "10.1.0.1/24",
        "own": "10.5.0.1/24",
        "none": "10.6.0.1/24",
        "wide": "11.0.0.1/8",
        "tiny": "10.8.0.1/30",
    }
    assert {name: (str(net.dhcp.first), str(net.dhcp.last)) for name, net in nets.items() if net.dhcp} == {
        "nat": ("10.1.0.128", "10.1.0.254"),
        "own": ("10.5.0.20", "10.5.0.29"),
        "wide": ("11.255.128.0", "11.255.255.254"),
        "tiny": ("10.8.0.2", "10.8.0.2"),
    }
    assert (nets["nat"].hypervisor6, nets["nat"].dev, nets["nat"].nat_ports, nets["nat"].mtu) == (
        IPv6Interface("fd00:1::1/64"),
        "eth0",
        (1024, 2048),
        9000,
    )
    assert (nets["own"].autostart, nets["own"].domain, dict(nets["own"].dns)) == (
        False,
        "lab.test",
        {"www": "10.5.0.7"},
    )
    assert [(nic.dhcp, nic.ipv4) for nic in lab.hosts["a"].interfaces] == [(True, None), (True, None)]


def test_nics_take_every_form(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        networks:
          one: {cidr: 10.1.0.0/24, cidr6: "fd00:1::/64"}
          two: {cidr6: "fd00:2::/64"}
        hosts:
          a:
            networks:
              two: "fd00:2::5"
              one:
                ipv4: 10.1.0.5/24
                ipv6: "fd00:1::5"
                mac: 02-AA-00-00-00-01
                nmcli: {connection.autoconnect: no, ipv4.route-metric: 50, ipv4.dns: ""}
          b: {networks: {one: {ipv4: dhcp, ipv6: "fd00:1::6"}}}
        """,
    )
    two, one = lab.hosts["a"].interfaces
    assert (two.network, two.ipv4, two.ipv6) == ("two", None, IPv6Interface("fd00:2::5/64"))
    assert (one.mac, one.ipv4, one.ipv6) == (
        "02:aa:00:00:00:01",
        IPv4Interface("10.1.0.5/24"),
        IPv6Interface("fd00:1::5/64"),
    )
    assert dict(one.nmcli) == {"connection.autoconnect": "no", "ipv4.route-metric": "50", "ipv4.dns": ""}
    (nic,) = lab.hosts["b"].interfaces
    assert nic.dhcp
    assert nic.ipv4 is not None
    assert nic.ipv4.ip in IPv4Network("10.1.0.128/25")
    assert nic.ipv6 == IPv6Interface("fd00:1::6/64")


def test_host_wins_over_group_over_defaults_key_by_key(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        f"""
        ssh_keys: ["{KEY} one"]
        defaults:
          memory: 256
          sysctl: {{vm.swappiness: 10, kernel.sysrq: 0, net.core.somaxconn: 100}}
          sshd: {{MaxAuthTries: 3, AllowUsers: [lab, ann]}}
          packages: [tcpdump, curl]
        groups:
          g1: {{hosts: [a, b], vcpus: 2, ssh_keys: ["{KEY} two"],
                sysctl: {{vm.swappiness: 20, kernel.sysrq: 1}}}}
          g2: {{hosts: [b, a], vcpus: 2, packages: [vim], sshd: {{maxauthtries: 4}}}}
          g3: {{hosts: [c], sshd: false}}
        hosts:
          a:
            networks: {{net1: dhcp}}
            sysctl: {{vm.swappiness: 30}}
            sshd: {{AllowUsers: lab, X11Forwarding: no}}
            ssh_keys: ["{KEY} three", "{KEY} one"]
          b: {{networks: {{net1: dhcp}}, memory: 1024, packages: []}}
          c: {{networks: {{net1: dhcp}}}}
        """,
    )
    a, b, c = (lab.hosts[name] for name in "abc")
    assert a.machine is not None
    assert b.machine is not None
    assert (a.machine.memory, a.machine.vcpus, b.machine.memory) == (256, 2, 1024)
    assert dict(a.sysctl) == {"vm.swappiness": "30", "kernel.sysrq": "1", "net.core.somaxconn": "100"}
    assert a.sshd is not None
    assert dict(a.sshd) == {"maxauthtries": ("4",), "allowusers": ("lab",), "x11forwarding": ("no",)}
    assert b.sshd is not None
    assert dict(b.sshd) == {"maxauthtries": ("4",), "allowusers": ("lab", "ann")}
    assert c.sshd is None
    assert (a.packages, b.packages, c.packages) == (("vim",), (), ("tcpdump", "curl"))
    assert a.ssh_keys == (f"{KEY} one", f"{KEY} two", f"{KEY} three")
    assert (a.groups, c.groups) == (("g1", "g2"), ("g3",))
    assert dict(lab.groups) == {"g1": ("a", "b"), "g2": ("b", "a"), "g3": ("c",)}


def test_routes_of_others_are_left_alone_for_all_hosts_or_some(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        routes: {ignore: [proto bird]}
        groups: {g: {hosts: [c, d], routes: [{to: 10.9.0.0/16, via: 10.1.0.9}]}}
        hosts:
          a: {networks: {net1: 10.1.0.11}}
          b: {networks: {net1: 10.1.0.12}, routes: [{to: 10.8.0.0/16, via: a}]}
          c: {networks: {net1: 10.1.0.13}, routes: {ignore: [dev wg0, to 10.7.0.0/16]}}
          d: {networks: {net1: 10.1.0.14}, routes: {static: [{to: 10.6.0.0/16, via: a}], ignore: []}}
        """,
    )
    found = {name: [str(each) for each in host.ignored_routes] for name, host in lab.hosts.items()}
    assert found == {"a": ["proto bird"], "b": ["proto bird"], "c": ["dev wg0", "to 10.7.0.0/16"], "d": []}
    static = {name: [str(each.to) for each in host.routes] for name, host in lab.hosts.items()}
    assert static == {"a": [], "b": ["10.8.0.0/16"], "c": ["10.9.0.0/16"], "d": ["10.6.0.0/16"]}


def test_what_is_wrong_with_a_route_has_its_line_in_either_form(tmp_path: Path) -> None:
    for routes in ("[{to: 10.9.0.0/16, via: x}]", "{static: [{to: 10.9.0.0/16, via: x}]}"):
        with pytest.raises(LabFileError) as caught:
            lab_of(
                tmp_path,
                f"""
                hosts:
                  a: {{networks: {{net1: 10.1.0.11}}, routes: {routes}}}
                """,
            )
        (problem,) = caught.value.problems
        place = "routes.static[0]" if "static" in routes else "routes[0]"
        assert (problem.line, problem.path) == (5, f"hosts.a.{place}.via")


def test_gateways_and_routes_become_addresses(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a: {networks: {net1: dhcp}, gateway: r,
              routes: [{to: 10.9.0.0/16, via: r}, {to: 10.8.0.7, via: 10.1.0.9}]}
          b: {networks: {net1: dhcp}, gateway: 10.1.0.1}
          c: {networks: {net2: dhcp}, gateway: none, routes: [{to: 10.9.0.0/16, via: r}]}
          r: {role: router, networks: {net1: 10.1.0.254, net2: 10.2.0.254}}
        routing: manual
        """,
    )
    assert lab.hosts["a"].gateway == Gateway("host", host="r")
    assert lab.hosts["a"].routes == (
        StaticRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.1.0.254")),
        StaticRoute(IPv4Network("10.8.0.7/32"), IPv4Address("10.1.0.9")),
    )
    assert lab.hosts["b"].gateway == Gateway("address", address=ip_address("10.1.0.1"))
    assert lab.hosts["c"].gateway == Gateway("none")
    assert lab.hosts["c"].routes == (StaticRoute(IPv4Network("10.9.0.0/16"), IPv4Address("10.2.0.254")),)
    assert lab.hosts["r"].gateway == Gateway()
    assert lab.routing == "manual"


def test_a_gateway_on_a_network_of_somebody_else_is_believed(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        networks:
          outer: {mode: bridge, bridge: br0}
        hosts:
          a: {networks: {outer: dhcp}, gateway: 192.168.1.1}
        """,
    )
    assert lab.hosts["a"].gateway == Gateway("address", address=ip_address("192.168.1.1"))


def test_an_existing_machine_has_no_machine_to_make(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        "hosts: {old: {address: old.lab.test, ssh: {user: ann, port: 2222}, memory: 128, user: joe}}\n",
    )
    host = lab.hosts["old"]
    assert (host.machine, host.address, host.interfaces, host.user) == (None, "old.lab.test", (), "joe")
    assert host.ssh == SshSettings(user="ann", port=2222)
    assert lab.notices == (
        Notice(3, "hosts.old.memory", why="it applies only to machines that labrun creates"),
        Notice(3, "hosts.old.user", why="the login of an existing machine is ssh: {user}"),
    )


def test_keys_for_later_are_kept_and_named_once(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a:
            networks: {net1: dhcp}
            disks: [5, {size: 7}]
            redundancy: pair
          b: {networks: {net1: dhcp}, disks: [1]}
        images:
          here: {path: a.qcow2}
          there: {url: "https://there.test/b.qcow2", sha256: SUM}
        """.replace("SUM", "a" * 64),
    )
    assert lab.notices == ()
    machines = [host.machine for host in lab.hosts.values() if host.machine]
    assert [[disk.size for disk in machine.disks] for machine in machines] == [[5, 7], [1]]
    assert lab.images["here"].path == str(tmp_path.resolve() / "a.qcow2")
    assert lab.images["there"].url == "https://there.test/b.qcow2"
    a = lab.hosts["a"]
    assert a.machine is not None
    assert ([disk.size for disk in a.machine.disks], a.redundancy) == ([5, 7], "pair")


def test_what_configure_holds_besides_the_network(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        defaults: {hosts_file: false, services: {cron: enabled}}
        hosts:
          a:
            networks: {net1: dhcp}
            packages: [curl, "libc6:amd64"]
            services:
              nginx.service: {enabled: true, running: true}
              cron: stopped
              at: disabled
              "getty@tty1": running
            selinux: enforcing
            exclusive: true
            hostname: alpha
            hosts_file: true
          b: {networks: {net1: dhcp}}
          c: {address: 192.0.2.1}
        """,
    )
    a, b, c = (lab.hosts[name] for name in "abc")
    assert (a.packages, a.selinux, a.exclusive, a.hostname) == (
        ("curl", "libc6:amd64"),
        "enforcing",
        True,
        "alpha",
    )
    assert dict(a.services) == {
        "nginx.service": Service(enabled=True, running=True),
        "cron": Service(enabled=True, running=False),
        "at": Service(enabled=False),
        "getty@tty1": Service(running=True),
    }
    assert (a.hosts_file, b.hosts_file, c.hosts_file) == (True, False, False)


def test_etc_hosts_is_labrun_s_by_default_only_where_it_made_the_machine(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "hosts: {a: {networks: {net1: dhcp}}, b: {address: 192.0.2.1}}")
    assert [host.hosts_file for host in lab.hosts.values()] == [True, False]


def test_a_host_may_be_reached_through_another(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a:
            networks: {net1: dhcp}
          b:
            networks: {net1: dhcp}
            access: {via: a}
          c:
            networks: {net1: dhcp}
        groups: {some: {hosts: [c], access: {via: b}}}
        """,
    )
    assert [host.access_via for host in lab.hosts.values()] == [None, "a", "b"]
    assert lab.notices == ()


def test_firewall_and_nat(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a:
            networks: {net1: dhcp}
            firewall: {input: drop, ssh: false,
                       allow: [{port: [80, 8000-8010], from: net1, to: b}, {proto: icmp}]}
          b:
            role: router
            networks: {net1: dhcp}
            nat: {masquerade: [net1], forward: [{on: net1, port: 80, to: "a:8080"}]}
        """,
    )
    assert lab.hosts["a"].firewall == Firewall(
        input="drop",
        ssh=False,
        allow=(FirewallRule("tcp", ((80, 80), (8000, 8010)), "net1", "b"), FirewallRule("icmp")),
    )
    assert lab.hosts["b"].nat == Nat(("net1",), (Forward("net1", 80, "a", 8080),))


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a: &a {networks: {net1: dhcp}, memory: 256, vcpus: 2}
          b: {<<: *a, memory: 128}
          c: *a
        """,
    )
    machines = [host.machine for host in lab.hosts.values() if host.machine]
    assert [(machine.memory, machine.vcpus) for machine in machines] == [(256, 2), (128, 2), (256, 2)]


def test_yaml_surprises_stay_text(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        hosts:
          a:
            networks: {net1: dhcp}
            sshd: {StreamLocalBindMask: 0177, RekeyLimit: 1_000, LoginGraceTime: 1:30}
        """,
    )
    assert lab.hosts["a"].sshd == {
        "streamlocalbindmask": ("0177",),
        "rekeylimit": ("1_000",),
        "logingracetime": ("1:30",),
    }


def test_a_fixed_address_in_the_range_is_never_leased(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        """
        networks:
          n: {cidr: 10.1.0.0/24, dhcp: {range: [10.1.0.10, 10.1.0.12]}}
        hosts:
          z: {networks: {n: 10.1.0.11}}
          a: {networks: {n: dhcp}}
          b: {networks: {n: dhcp}}
        """,
    )
    assert lab.networks["n"].dhcp == DhcpRange(IPv4Address("10.1.0.10"), IPv4Address("10.1.0.12"))
    found = {str(nic.ipv4.ip) for name in "ab" for nic in lab.hosts[name].interfaces if nic.ipv4}
    assert found == {"10.1.0.10", "10.1.0.12"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1d", 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "0s", "m", "15 m", "1m1h", "-1s", "1.5h", "9" * 20 + "s"])
def test_no_durations(text: str) -> None:
    assert not is_duration(text)
    with pytest.raises(ValueError, match="is not a valid duration"):
        duration_seconds(text)


def test_the_last_resort_is_a_restart_for_machines_of_ours_and_can_be_said_anywhere(tmp_path: Path) -> None:
    text = """
        GUARD
        groups: {edge: {hosts: [b], guard: {last_resort: leave}}}
        hosts:
          a: {networks: {net1: dhcp}}
          b: {networks: {net1: dhcp}}
          c: {address: 192.0.2.9}
          d: {address: 192.0.2.8, guard: {last_resort: reboot}}
        """
    lab = lab_of(tmp_path, text.replace("GUARD\n", "\n"))
    assert [host.last_resort for host in lab.hosts.values()] == ["reboot", "leave", "leave", "reboot"]
    everywhere = lab_of(tmp_path, text.replace("GUARD\n", "guard: {last_resort: leave}\n"))
    assert [host.last_resort for host in everywhere.hosts.values()] == ["leave", "leave", "leave", "reboot"]
