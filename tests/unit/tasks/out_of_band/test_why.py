"""Why a login fails: one thing is wrong with a healthy host, and its reason is the one that is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from labrun.inventory.model import Lab
from labrun.inventory.topology.routing import route_table
from labrun.tasks.collect.capture import Capture
from labrun.tasks.collect.evidence import Evidence
from labrun.tasks.guest.facts.first_boot import FirstBoot
from labrun.tasks.guest.facts.links import Link, LinkAddress
from labrun.tasks.guest.facts.login import Account, KeyFile, Listener, LoginState, Mode
from labrun.tasks.guest.facts.neighbours import Neighbour
from labrun.tasks.guest.facts.nft import read_ruleset
from labrun.tasks.guest.facts.nm import Device
from labrun.tasks.guest.facts.nm_loose import FOLDER
from labrun.tasks.guest.facts.routes import ObservedRoute
from labrun.tasks.guest.facts.rules import PolicyRule
from labrun.tasks.guest.facts.units import Unit
from labrun.tasks.guest.reason import Reason
from labrun.tasks.guest.shell import Facts
from labrun.tasks.out_of_band.attempt import Attempt, Outside, Port
from labrun.tasks.out_of_band.captures import reason_in, told
from labrun.tasks.out_of_band.look import Glimpse
from labrun.tasks.out_of_band.seen import Seen
from labrun.tasks.out_of_band.why import why_unreachable
from tests.unit.small_labs import dual_stack

KEYS = "/home/lab/.ssh/authorized_keys"
HOST = "host01"


def nic(of: Lab) -> Any:
    return of.hosts[HOST].interfaces[0]


def device(state: int = 100, profile: str = "labrun-network1") -> Device:
    uuid = "u" if profile else None
    return Device("/d", "eth0", nic(dual_stack()).mac, state, uuid, profile, "", ())


def healthy(version: int = 4) -> Seen:
    of = dual_stack()
    own = nic(of)
    net = of.networks[own.network]
    address, hypervisor = (own.ipv4, net.hypervisor4) if version == 4 else (own.ipv6, net.hypervisor6)
    assert hypervisor is not None
    link = Link("eth0", own.mac, mtu=1500, held=(LinkAddress(own.ipv4), LinkAddress(own.ipv6)))
    table = tuple(ObservedRoute(r.prefix, r.via, "eth0") for r in route_table(of, HOST))
    local = tuple(
        ObservedRoute(ip_network(each.ip), None, "eth0", kind="local") for each in (own.ipv4, own.ipv6)
    )
    login = LoginState(
        boot="running",
        units={
            "ssh.service": Unit("loaded", "enabled", "active", "ssh.service"),
            "NetworkManager.service": Unit("loaded", "enabled", "active", "NetworkManager.service"),
        },
        devices={own.mac: device()},
        listeners=(Listener(None, 22, "sshd"),),
        sshd={"authorizedkeysfile": (".ssh/authorized_keys",), "strictmodes": ("yes",)},
        process="S",
        account=Account("/home/lab", "/bin/bash", True, groups=("lab",), today=20_000),
        keys=(KeyFile(KEYS, True, True),),
        modes=(
            Mode(KEYS, 0o600, "lab"),
            Mode("/home/lab/.ssh", 0o700, "lab"),
            Mode("/home/lab", 0o755, "lab"),
        ),
        host_keys=("ssh-ed25519 AAAA",),
    )
    return Seen(
        of,
        Attempt(
            HOST,
            "did not answer in time",
            address.ip,
            own.network,
            hypervisor.ip,
            user="lab",
            key="KEY",
            host_keys=frozenset({"ssh-ed25519 AAAA"}),
        ),
        Capture({own.mac: link}, table, Facts(), devices=(link,), evidence=Evidence(local=local)),
        login,
        Outside(ports={own.mac: Port("vnet1", bridge="virbr1", meant="virbr1", state="forwarding")}),
    )


Change = Callable[[Seen], Seen]


def linked(**changes: Any) -> Change:
    def change(seen: Seen) -> Seen:
        (mac,) = seen.capture.links
        link = replace(seen.capture.links[mac], **changes)
        return replace(seen, capture=replace(seen.capture, links={mac: link}, devices=(link,)))

    return change


def holding(*addresses: str) -> Change:
    return linked(held=tuple(LinkAddress(ip_interface(each)) for each in addresses))


def logged(**changes: Any) -> Change:
    return lambda seen: replace(seen, login=replace(seen.login, **changes))


def set_to(key: str, *values: str) -> Change:
    return lambda seen: replace(seen, login=replace(seen.login, sshd={**seen.login.sshd, key: values}))


def shown(**changes: Any) -> Change:
    return lambda seen: replace(seen, capture=replace(seen.capture, **changes))


def evident(**changes: Any) -> Change:
    return lambda seen: replace(
        seen, capture=replace(seen.capture, evidence=replace(seen.capture.evidence, **changes))
    )


def ruled(text: str) -> Change:
    rules = read_ruleset(text)
    return evident(before=rules, after=rules)


def chain(family: str, hook: str, rule: str, policy: str = "accept") -> str:
    body = f"\t\t{rule} # handle 2\n" if rule else ""
    return (
        f"table {family} shut {{ # handle 1\n\tchain all {{ # handle 1\n"
        f"\t\ttype filter hook {hook} priority filter; policy {policy};\n{body}\t}}\n}}\n"
    )


def port(**changes: Any) -> Change:
    def change(seen: Seen) -> Seen:
        assert seen.outside.ports is not None
        ports = {mac: replace(each, **changes) for mac, each in seen.outside.ports.items()}
        return replace(seen, outside=replace(seen.outside, ports=ports))

    return change


def outside(**changes: Any) -> Change:
    return lambda seen: replace(seen, outside=replace(seen.outside, **changes))


def attempted(**changes: Any) -> Change:
    return lambda seen: replace(seen, attempt=replace(seen.attempt, **changes))


def both(*changes: Change) -> Change:
    def change(seen: Seen) -> Seen:
        for each in changes:
            seen = each(seen)
        return seen

    return change


def devices(state: int, profile: str = "labrun-network1") -> Change:
    return lambda seen: logged(devices={nic(seen.lab).mac: device(state, profile)})(seen)


def unit(name: str, load: str = "loaded", file: str = "enabled", active: str = "inactive") -> Change:
    return lambda seen: logged(units={**seen.login.units, name: Unit(load, file, active, name)})(seen)


def route(kind: str = "unicast", at: str = "eth0", prefix: str = "172.16.0.1/32") -> Change:
    return lambda seen: shown(
        routes=(*seen.capture.routes, ObservedRoute(ip_network(prefix), None, at, kind=kind))
    )(seen)


def unaddressed(seen: Seen) -> Seen:
    return holding()(seen)


NONE = Unit("not-found", "", "inactive", "x")
NO_SSHD = logged(listeners=(), process="")
WHY: list[tuple[str, Change, str]] = [
    ("network stopped", outside(stopped=frozenset({"network1"})), "the network network1 is not running"),
    ("unplugged", outside(ports={}), "the machine has no NIC on network1 any more: it was unplugged"),
    ("cut", port(is_cut=True), "the link of eth0 is set down on the hypervisor (`virsh domif-setlink`)"),
    ("tap down", port(is_up=False), "vnet1, the hypervisor's end of eth0, is down"),
    (
        "no bridge",
        port(bridge=""),
        "vnet1, the hypervisor's end of eth0, is in no bridge, not in virbr1 (network1)",
    ),
    (
        "other bridge",
        port(bridge="br9"),
        "vnet1, the hypervisor's end of eth0, is in br9, not in virbr1 (network1)",
    ),
    (
        "port state",
        port(state="disabled"),
        "vnet1, the hypervisor's end of eth0, is disabled as a port of virbr1",
    ),
    (
        "no gateway",
        outside(unaddressed={"network1": "virbr1"}),
        "the hypervisor has no address on network1 (virbr1)",
    ),
    ("a stranger", outside(answers="02:00:00:00:00:09"), "172.16.0.11 is answered by something else"),
    (
        "a machine of others",
        outside(answers="02:00:00:00:00:09", answerer="printer"),
        "172.16.0.11 is answered by the machine printer (02:00:00:00:00:09)",
    ),
    (
        "a machine of the lab that was renamed",
        both(
            logged(boot="starting"),
            outside(answers="02:00:00:00:00:09", answerer=f"{dual_stack().name}-before"),
        ),
        "by before, a machine of this lab that the file no longer has (`labrun up --prune` removes it)",
    ),
    ("link off", linked(is_on=False, is_up=False), "eth0 is down (profile labrun-network1 is up without it)"),
    ("no carrier", linked(is_up=False), "eth0 has no carrier: nothing is at the other end"),
    ("enslaved", linked(port_of="br0"), "eth0 is a port of br0: `ip link set dev eth0 nomaster`"),
    ("no arp", linked(has_arp=False), "ARP is switched off on eth0"),
    ("no NIC", shown(links={}), "no NIC of host01 has the MAC "),
    # Its end on the hypervisor has no carrier then.
    (
        "NIC in another namespace",
        both(shown(links={"00": Link("lo", "00", is_ethernet=False)}), port(state="disabled")),
        "no NIC of host01 has the MAC ",
    ),
    ("MAC", shown(links={"02:aa": Link("eth0", "02:aa")}), "eth0 has the MAC 02:aa, not "),
    ("no address", holding(), "eth0 has no address (profile labrun-network1 is up without it)"),
    ("no profile", both(unaddressed, devices(30, "")), "eth0 has no address (no profile is active on it)"),
    (
        "profile ignored",
        both(unaddressed, devices(30, ""), logged(loose=(f"{FOLDER}/labrun-network1.nmconnection",))),
        f"(NetworkManager ignores {FOLDER}/labrun-network1.nmconnection, which is not root's alone: ",
    ),
    ("unmanaged", both(unaddressed, devices(10, "")), "(NetworkManager does not manage it: unmanaged)"),
    (
        "no lease",
        both(unaddressed, devices(70)),
        "network1 is waiting for a lease; the DHCP server of network1 has seen no request)",
    ),
    (
        "a dead server",
        both(unaddressed, devices(70), outside(silent=frozenset({"network1"}))),
        "the DHCP server of network1 is not running: `labrun up` starts it",
    ),
    (
        "NetworkManager",
        both(unaddressed, unit("NetworkManager.service")),
        "eth0 has no address (NetworkManager is not running: inactive)",
    ),
    (
        "masked",
        both(unaddressed, unit("NetworkManager.service", load="masked")),
        "(NetworkManager is masked)",
    ),
    (
        "systemd-networkd stopped",
        both(unaddressed, unit("NetworkManager.service", load="masked"), unit("systemd-networkd.service")),
        "(systemd-networkd is not running: inactive)",
    ),
    (
        "systemd-networkd runs",
        both(
            unaddressed,
            unit("NetworkManager.service", load="masked"),
            unit("systemd-networkd.service", active="active"),
        ),
        "(systemd-networkd runs, and has not set it)",
    ),
    ("other address", holding("172.16.0.99/24"), "eth0 has 172.16.0.99/24, not 172.16.0.11"),
    ("another's", holding("172.16.0.12/24"), "eth0 has 172.16.0.12/24, which is host02's, not 172.16.0.11"),
    (
        "prefix",
        both(holding("172.16.0.11/32"), shown(routes=())),
        "eth0 has 172.16.0.11/32, not /24: no route back to 172.16.0.1, where labrun is",
    ),
    ("no routes", shown(routes=()), "no route back to 172.16.0.1, where labrun is"),
    ("blackhole", route("blackhole"), "a blackhole route to 172.16.0.1/32: no way back to 172.16.0.1"),
    ("elsewhere", route(at="d0"), "the route back to 172.16.0.1 leads out of d0"),
    (
        "rule",
        evident(rules=(PolicyRule(10, None, None, "blackhole", 4),)),
        "ip rule 10: from all blackhole",
    ),
    (
        "neighbour",
        both(
            evident(neighbours=(Neighbour("eth0", ip_address("172.16.0.1"), "02:00:00:00:00:01", False),)),
            outside(macs={"network1": "52:54:00:00:00:01"}),
        ),
        "takes 172.16.0.1 to be at 02:00:00:00:00:01; the hypervisor's MAC there is 52:54:00:00:00:01",
    ),
    (
        "arp_ignore",
        evident(settings={"/proc/sys/net/ipv4/conf/all/arp_ignore": "8\n"}),
        "net.ipv4.conf.all.arp_ignore is 8: it answers no ARP",
    ),
    (
        "input",
        ruled(chain("inet", "input", "tcp dport 22 drop")),
        "nftables drops port 22: inet shut, chain all: tcp",
    ),
    ("input set", ruled(chain("ip", "input", "tcp dport { 22, 80 } reject")), "tcp dport { 22, 80 } reject"),
    (
        "policy",
        ruled(chain("inet", "input", "", "drop")),
        "nftables drops port 22: inet shut, chain all: policy drop",
    ),
    (
        "answers",
        ruled(chain("inet", "output", "tcp sport 22 drop")),
        "nftables drops the answers of port 22: inet",
    ),
    ("arp", ruled(chain("arp", "input", "drop")), "nftables drops ARP: arp shut, chain all: drop"),
    (
        "connection table",
        evident(
            settings={
                "/proc/sys/net/netfilter/nf_conntrack_count": "40\n",
                "/proc/sys/net/netfilter/nf_conntrack_max": "20\n",
            }
        ),
        "the table of connections is full: 40 of 20 (net.netfilter.nf_conntrack_max)",
    ),
    (
        "iptables",
        logged(iptables={4: ":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\n", 6: ""}),
        "iptables drops port 22: -A INPUT -p tcp -m tcp --dport 22 -j DROP",
    ),
    ("iptables policy", logged(iptables={4: ":INPUT DROP [0:0]\n"}), "policy DROP of INPUT"),
    (
        "loss",
        logged(qdiscs=("qdisc netem 8001: dev eth0 root refcnt 2 loss 100%",)),
        "tc loses every packet on eth0",
    ),
    ("mtu", linked(mtu=68), "eth0 has the MTU 68: an SSH handshake does not fit"),
    ("sshd off", both(NO_SSHD, unit("ssh.service")), "sshd is not running: ssh.service is inactive"),
    (
        "sshd masked",
        both(NO_SSHD, unit("ssh.service", load="masked")),
        "sshd is not running: ssh.service is masked",
    ),
    (
        "sshd failed",
        both(NO_SSHD, unit("ssh.service", active="failed"), logged(complaint="a.conf line 1: Rubbish")),
        "ssh.service is failed, since its settings are wrong: a.conf line 1: Rubbish",
    ),
    ("sshd absent", both(NO_SSHD, logged(units={"x": NONE})), "sshd is not running: no unit starts it"),
    (
        "another port",
        logged(listeners=(Listener(None, 2222, "sshd"),)),
        "sshd listens on port 2222, not on 22",
    ),
    (
        "another address",
        logged(listeners=(Listener(ip_address("127.0.0.1"), 22, "sshd"),)),
        "sshd listens on 127.0.0.1 only, not on 172.16.0.11",
    ),
    ("a rival", logged(listeners=(Listener(None, 22, "nc"),)), "port 22 is held by nc, not by sshd"),
    ("frozen", logged(process="T"), "sshd is stopped by a signal (process state T)"),
    (
        "AllowUsers",
        set_to("allowusers", "bob"),
        "sshd turns lab away: AllowUsers bob leaves out lab from 172.16.0.1",
    ),
    ("AllowUsers at", set_to("allowusers", "lab@192.0.2.0/24"), "AllowUsers lab@192.0.2.0/24 leaves out lab"),
    ("DenyUsers", set_to("denyusers", "l*"), "sshd turns lab away: DenyUsers l* names lab from 172.16.0.1"),
    ("AllowGroups", set_to("allowgroups", "wheel"), "AllowGroups wheel leaves out lab (lab)"),
    ("DenyGroups", set_to("denygroups", "lab"), "DenyGroups lab names lab (lab)"),
    (
        "methods",
        set_to("authenticationmethods", "publickey,password"),
        "AuthenticationMethods publickey,password",
    ),
    ("no keys", set_to("pubkeyauthentication", "no"), "sshd accepts no keys: PubkeyAuthentication is no"),
    (
        "no file",
        logged(keys=()),
        "sshd reads no key file of lab: AuthorizedKeysFile .ssh/authorized_keys",
    ),
    ("file gone", logged(keys=(KeyFile(KEYS, False, False),)), f"{KEYS} is gone, and labrun's key with it"),
    ("key gone", logged(keys=(KeyFile(KEYS, True, False),)), f"labrun's key is not in {KEYS}"),
    (
        "mode",
        logged(modes=(Mode("/home/lab", 0o777, "lab"),)),
        "/home/lab: others may write to it (mode 777)",
    ),
    ("owner", logged(modes=(Mode(KEYS, 0o600, "nobody"),)), f"sshd does not trust {KEYS}: it is nobody's"),
    ("no account", logged(account=None), "there is no account lab"),
    (
        "shell",
        logged(account=Account("/h", "/usr/sbin/nologin", True)),
        "the shell of lab is /usr/sbin/nologin",
    ),
    (
        "no shell",
        logged(account=Account("/h", "/bin/zsh", False)),
        "the shell of lab, /bin/zsh, does not exist",
    ),
    ("expired", logged(account=Account("/h", "/bin/sh", True, expires=0)), "the account lab has expired"),
    ("nologin", logged(nologin="/run/nologin"), "/run/nologin exists: only root may log in"),
    ("deny", logged(denied="# all\nALL: ALL\n"), "/etc/hosts.deny refuses it: ALL: ALL"),
    ("host key", logged(host_keys=("ssh-ed25519 BBBB",)), "its host key was changed"),
    ("an impostor", attempted(strange_key=True), "something else answers at its address"),
    (
        "booting",
        logged(boot="starting", jobs=("a.service",)),
        "it is still booting (systemd: starting, waiting for a",
    ),
    (
        "booting by OpenRC",
        logged(boot="starting", init="OpenRC"),
        "it is still booting (OpenRC: starting)",
    ),
    ("rescue", logged(boot="maintenance"), "it is in rescue mode (systemd: maintenance)"),
    ("PID 1", logged(boot=""), "its systemd (PID 1) does not answer"),
    ("full", logged(full=("/",)), "no space is left on /"),
    (
        "sshd's word",
        logged(refusals=("Accepted publickey", "User lab not allowed because x")),
        "sshd says: User lab not allowed because x",
    ),
]


@pytest.mark.parametrize(("change", "why"), [each[1:] for each in WHY], ids=[each[0] for each in WHY])
def test_one_thing_is_wrong(change: Change, why: str) -> None:
    found = why_unreachable(change(healthy()))
    assert found is not None
    assert why in found.text


def test_a_jump_host_is_no_stranger_at_its_own_address() -> None:
    """The hypervisor's MAC on a network says nothing of who dials from a jump host."""
    seen = healthy()
    (jump,) = [name for name, host in seen.lab.hosts.items() if name == "host00"]
    nic = seen.lab.hosts[jump].nic("network1")
    assert nic is not None
    assert nic.ipv4 is not None
    for mac, why in ((nic.mac, None), ("02:00:00:00:00:01", f"host00's MAC there is {nic.mac}")):
        entry = Neighbour("eth0", nic.ipv4.ip, mac, False)
        change = both(evident(neighbours=(entry,)), outside(macs={"network1": "52:54:00:00:00:01"}))
        attempt = replace(seen.attempt, client=nic.ipv4.ip, through=jump)
        found = why_unreachable(replace(change(seen), attempt=attempt))
        assert (found.text if found is not None else None) == (
            why and f"takes {nic.ipv4.ip} to be at {mac}; {why}"
        )


@pytest.mark.parametrize("version", [4, 6])
def test_nothing_is_wrong(version: int) -> None:
    assert why_unreachable(healthy(version)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (holding("172.16.0.11/24"), "eth0 has no address"),
        (
            evident(settings={"/proc/sys/net/ipv6/conf/eth0/disable_ipv6": "1\n"}),
            "net.ipv6.conf.eth0.disable_ipv6 is 1",
        ),
        (ruled(chain("ip6", "input", "tcp dport 22 drop")), "nftables drops port 22: ip6 shut"),
        (shown(routes=()), "no route back to "),
        (logged(listeners=(Listener(ip_address("0.0.0.1"), 22, "sshd"),)), "sshd listens on 0.0.0.1 only"),
    ],
)
def test_one_thing_is_wrong_over_ipv6(change: Change, why: str) -> None:
    found = why_unreachable(change(healthy(6)))
    assert found is not None
    assert why in found.text


@pytest.mark.parametrize(
    "change",
    [
        set_to("allowusers", "lab"),
        set_to("allowusers", "lab@172.16.0.0/24"),
        set_to("denyusers", "lab@192.0.2.1"),
        set_to("denyusers", "!lab", "bob"),
        set_to("allowgroups", "wheel lab"),
        set_to("authenticationmethods", "any"),
        set_to("authenticationmethods", "publickey", "publickey,password"),
        logged(denied="ALL: ALL\n", allowed="sshd: 172.16.0.\n"),
        logged(denied="vsftpd: ALL\n"),
        logged(modes=(Mode("/srv", 0o777, "lab"),)),
        ruled(chain("inet", "input", "tcp dport 80 drop")),
        ruled(chain("inet", "output", "tcp sport 80 drop")),
        ruled(chain("inet", "forward", "drop", "drop")),
        logged(iptables={4: "-A INPUT -p udp --dport 22 -j DROP\n-A INPUT -p tcp --dport 80 -j DROP\n"}),
        port(is_isolated=True),
        logged(refusals=("Accepted publickey for lab", "pam_env(sshd:session): deprecated")),
    ],
)
def test_what_lets_labrun_in_is_no_reason(change: Change) -> None:
    assert why_unreachable(change(healthy())) is None


def test_what_has_to_be_mended_apart_is_named_together() -> None:
    change = both(holding(), NO_SSHD, unit("ssh.service", load="masked"), logged(full=("/",)))
    found = why_unreachable(change(healthy()))
    assert found is not None
    assert found.text == (
        "eth0 has no address (profile labrun-network1 is up without it); "
        "sshd is not running: ssh.service is masked; no space is left on /"
    )
    assert found.is_sure


def test_a_nic_that_the_guest_does_not_see_may_lack_its_driver() -> None:
    seen = shown(links={})(healthy())
    mine = seen.lab.hosts["host01"]
    model = replace(mine, interfaces=tuple(replace(each, model="e1000e") for each in mine.interfaces))
    of = replace(seen, lab=replace(seen.lab, hosts={**seen.lab.hosts, "host01": model}))
    found = why_unreachable(of)
    assert found is not None
    assert found.is_sure
    assert found.text == (
        f"no NIC of host01 has the MAC {mine.interfaces[0].mac} (network1): its kernel may have no driver for"
        " e1000e (remove `model`, or take another image)"
    )


def test_a_nic_without_a_driver_is_certain_where_the_bus_shows_it() -> None:
    seen = both(shown(links={}), logged(driverless=("PCI 8086:100e",)))(healthy())
    found = why_unreachable(seen)
    assert found is not None
    assert found.text.endswith(": its kernel has no driver for it (PCI 8086:100e)")


def test_what_cloud_init_failed_at_is_told_with_what_is_missing() -> None:
    failed = FirstBoot(errors=("('users', OSError('full'))",))
    found = why_unreachable(both(logged(account=None), logged(first_boot=failed))(healthy()))
    assert found is not None
    assert found.text == "there is no account lab; cloud-init: ('users', OSError('full'))"
    assert why_unreachable(logged(first_boot=FirstBoot(errors=()))(healthy())) is None


def test_what_ran_out_of_memory_says_so() -> None:
    def outside(seen: Seen) -> Seen:
        return replace(seen, outside=replace(seen.outside, killed=("python3", "sshd"), memory=64))

    found = why_unreachable(both(outside, NO_SSHD, unit("ssh.service", active="failed"))(healthy()))
    assert found is not None
    killed = "it has run out of its memory of 64 MiB: python3 and sshd were killed"
    assert found.text == f"sshd is not running: ssh.service is failed; {killed}"
    alone = why_unreachable(outside(healthy()))
    assert alone is not None
    assert (alone.text, alone.is_sure) == (killed, False)
    inside = why_unreachable(logged(killed=("sshd",))(healthy()))
    assert inside is not None
    assert inside.text == "it has run out of its memory: sshd was killed"


def test_a_machine_without_a_way_in_is_judged_by_its_console() -> None:
    seen = healthy()
    silent = Glimpse(seen.attempt, outside=seen.outside, failure="its guest agent does not answer")
    assert reason_in(seen.lab, silent) is None
    panic = replace(silent, console="[ 1.0] Kernel panic - not syncing: no init\n")
    assert reason_in(seen.lab, panic) == Reason("kernel panic: no init")
    unread = replace(silent, console="", outside=replace(seen.outside, read=512))
    found = reason_in(seen.lab, unread)
    assert found is not None
    assert found.text.startswith("its disk does not boot: 512 bytes of it were read")


def test_what_nobody_could_look_at_is_not_sure() -> None:
    """On a busy machine a boot takes minutes, and its NIC has no carrier until NetworkManager has started."""
    seen = port(state="disabled")(healthy())
    known = why_unreachable(seen)
    assert known is not None
    assert known.is_sure
    unseen = Glimpse(seen.attempt, outside=seen.outside, failure="no time was left to look inside")
    found = reason_in(seen.lab, unseen)
    assert found is not None
    assert not found.is_sure
    assert found.text.endswith("is disabled as a port of virbr1")
    slow = why_unreachable(logged(is_slow=True)(seen))
    assert slow is not None
    assert (slow.text, slow.is_sure) == (known.text, False)


def test_what_may_come_yet_is_not_sure() -> None:
    booting = both(logged(boot="starting"), NO_SSHD)(healthy())
    early = both(logged(boot="initializing", init="OpenRC"), NO_SSHD)(healthy())
    waiting = both(holding(), devices(70))(healthy())
    for seen in (booting, early, waiting):
        found = why_unreachable(seen)
        assert found is not None
        assert not found.is_sure


def test_the_advice_of_a_refused_login_stays_where_nothing_else_explains_it() -> None:
    seen = healthy()
    attempt = replace(seen.attempt, error="sudo lets lab do nothing", hint="labrun needs !requiretty")
    glimpse = Glimpse(attempt, outside=seen.outside, failure="it has no agent")
    assert told(seen.lab, glimpse) == (
        "sudo lets lab do nothing (labrun needs !requiretty); out of band: it has no agent"
    )
    assert told(seen.lab, replace(glimpse, reason="it is shut off")) == (
        "it is shut off; seen out of band, over SSH: sudo lets lab do nothing"
    )
