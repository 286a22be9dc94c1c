"""Changes that would close the way into hosts that have IPv6 alone, a jump host in between, or no systemd.

``SIX`` are for hosts that have IPv6 alone, ``BEHIND`` for those behind a jump host that stays as it is,
``RC`` for guests with OpenRC and ifupdown.
The names of one of each kind, for every run of the suite, are in ``KINDS``.
"""

from __future__ import annotations

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["BEHIND", "KINDS", "RC", "SIX"]

_DROP = "nft add table ip6 shut; nft 'add chain ip6 shut c {{ type filter hook {} priority {}; }}'"
_BY_HYPERVISOR = "fd00:60:5::1"
SIX: dict[str, Case] = {
    # The kernel's own switches, now and at the next boot.
    "disabled": Case("sysctl: {net.ipv6.conf.eth0.disable_ipv6: 1}"),
    "alldisabled": on_change("sysctl -w net.ipv6.conf.all.disable_ipv6=1"),
    "bootdisabled": only_file("/etc/sysctl.d/99-x.conf", "net.ipv6.conf.all.disable_ipv6 = 1\n"),
    "genmode": on_change(
        "sysctl -w net.ipv6.conf.eth0.addr_gen_mode=1; ip link set eth0 down; sleep 1; ip link set eth0 up"
    ),
    "dad": on_change(
        "sysctl -w net.ipv6.conf.eth0.dad_transmits=200; ip -6 addr flush dev eth0 scope global;"
        " nmcli device reapply eth0"
    ),
    "solicits": on_change(
        "sysctl -w net.ipv6.neigh.eth0.mcast_solicit=0 net.ipv6.neigh.eth0.ucast_solicit=0;"
        " ip -6 neigh flush all"
    ),
    # What NetworkManager does of it.
    "elsewhere": Case(nmcli="ipv6.addresses: 'fd99::9/64'"),
    "small": Case(nmcli="ethernet.mtu: 1000"),
    # Addresses, routes, rules, neighbours.
    "flushed": on_change("ip -6 addr flush dev eth0"),
    "noroute": on_change("ip -6 route add prohibit fd00:60:5::/64 metric 1"),
    "rule": on_change("ip -6 rule add pref 10 prohibit"),
    "neighbour": on_change(
        f"ip -6 neigh replace {_BY_HYPERVISOR} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"
    ),
    # Rules of nftables.
    "drops": on_change(_DROP.format("input", 0) + "; nft add rule ip6 shut c tcp dport 22 drop"),
    "ndp": on_change(
        _DROP.format("input", 0)
        + "; nft add rule ip6 shut c icmpv6 type '{ nd-neighbor-solicit, nd-neighbor-advert }' drop;"
        " ip -6 neigh flush all"
    ),
    "answers": on_change(_DROP.format("output", 0) + "; nft add rule ip6 shut c tcp sport 22 drop"),
    "filter": Case("firewall: {input: drop, ssh: false}"),
    # sshd that listens in the other family alone.
    "inet": only_file("/etc/ssh/sshd_config.d/80-x.conf", "AddressFamily inet\n"),
    "listens": only_file("/etc/ssh/sshd_config.d/80-x.conf", "ListenAddress 0.0.0.0\n"),
    # Addresses that follow from the router's advertisements.
    "ranone": Case("sysctl: {net.ipv6.conf.eth0.accept_ra: 0}", ipv6="auto"),
    "raforwards": on_change(
        "sysctl -w net.ipv6.conf.all.forwarding=1; ip -6 addr flush dev eth0 scope global"
    ),
    "raprivate": Case(nmcli="ipv6.addr-gen-mode: stable-privacy", ipv6="auto"),
    "ratoken": Case(nmcli="ipv6.token: '::99'", ipv6="auto"),
    "radropped": Case(
        files={
            "/etc/labrun-test.conf": (
                "x\n",
                _DROP.format("input", 0) + "; nft add rule ip6 shut c icmpv6 type nd-router-advert drop;"
                " ip -6 addr flush dev eth0 scope global",
            )
        },
        ipv6="auto",
    ),
}
_JUMP = "10.60.5.126"
BEHIND: dict[str, Case] = {
    "fromjump": on_change(
        "nft add table ip shut; nft 'add chain ip shut c { type filter hook input priority 0; }';"
        f" nft add rule ip shut c ip saddr {_JUMP} tcp dport 22 drop"
    ),
    "tojump": on_change(f"ip route add prohibit {_JUMP}/32"),
    "jumpsmac": on_change(f"ip neigh replace {_JUMP} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"),
    "isjump": on_change(f"ip addr add {_JUMP}/32 dev lo"),
    "denied": Case(f"sshd: {{DenyUsers: 'lab@{_JUMP}'}}"),
    "matched": only_file("/etc/ssh/sshd_config.d/80-x.conf", f"Match Address {_JUMP}\n  MaxSessions 0\n"),
    "prefix": Case(nmcli="ipv4.addresses: 10.60.5.77/32"),
}
_INTERFACES = "/etc/network/interfaces"
_SILENT = """\
mv /usr/bin/ssh-keyscan /usr/bin/ssh-keyscan.own
cat >/usr/bin/ssh-keyscan <<'END'
#!/bin/sh
[ ! -e /var/lib/labrun/guard/undoing ] || exit 1
exec ssh-keyscan.own "$@"
END
chmod 755 /usr/bin/ssh-keyscan
"""
_ANSWERS = "mv /usr/bin/ssh-keyscan.own /usr/bin/ssh-keyscan"
RC: dict[str, Case] = {
    # Services, now and at the next boot.
    "rcstop": on_change("rc-service ssh stop"),
    "rcstopped": Case(services={"ssh": "stopped"}),
    "rcdisabled": Case(services={"ssh": "disabled"}),
    "rcdel": on_change("rc-update del ssh default"),
    "rcnetwork": on_change("rc-update --all del networking"),
    "rclevel": on_change("rm -rf /etc/runlevels/default"),
    "rcscript": on_change("chmod 644 /etc/init.d/ssh"),
    "rclocal": Case(
        more="files: {/etc/local.d/x.start: {mode: '0755', content: "
        '"#!/bin/sh\\nip link set eth0 down\\n"}}'
    ),
    # ifupdown.
    "noauto": only_file(_INTERFACES, "iface lo inet loopback\n"),
    "rival": only_file(
        f"{_INTERFACES}.d/zz-x", "auto eth0\niface eth0 inet static\n  address 10.99.0.9/24\n"
    ),
    "upcommand": Case(
        more="files: {/etc/network/if-up.d/x: {mode: '0755', content: "
        '"#!/bin/sh\\nip address flush dev eth0\\n"}}'
    ),
    "ifdown": on_change("ifdown --force eth0"),
    # The same as with systemd.
    "rcallow": only_file("/etc/ssh/sshd_config.d/90-x.conf", "AllowUsers nobody\n"),
    "rcfilter": Case("firewall: {input: drop, ssh: false}"),
    "rclink": on_change("ip link set eth0 down"),
    # An sshd that never answers while the host rolls back: it restarts in the middle, and has to go on then.
    "rcrestart": Case(services={"ssh": "disabled"}, before=_SILENT, after=_ANSWERS),
}
KINDS = {
    "ipv6": ("alldisabled", "rule", "ndp", "inet", "raprivate"),
    "jump": ("fromjump", "denied"),
    "openrc": ("rcdel", "rcrestart", "rclink"),
}
