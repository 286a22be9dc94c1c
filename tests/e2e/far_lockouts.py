"""Changes that would close the way into hosts that have IPv6 alone, or a jump host in between.

``SIX`` are for hosts that have IPv6 alone, ``BEHIND`` for those behind a jump host that stays as it is.
The names of one of each kind, for every run of the suite, are in ``KINDS``.
"""

from __future__ import annotations

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["BEHIND", "KINDS", "SIX"]

_INPUT = "nft add table ip6 shut; nft 'add chain ip6 shut c { type filter hook input priority 0; }'"
SIX: dict[str, Case] = {
    # The kernel's own switches.
    "disabled": Case("sysctl: {net.ipv6.conf.eth0.disable_ipv6: 1}"),
    "alldisabled": on_change("sysctl -w net.ipv6.conf.all.disable_ipv6=1"),
    "genmode": on_change(
        "sysctl -w net.ipv6.conf.eth0.addr_gen_mode=1; ip link set eth0 down; sleep 1; ip link set eth0 up"
    ),
    # What NetworkManager does of it.
    "nomethod": Case(nmcli="ipv6.method: disabled"),
    "ignored": Case(nmcli="ipv6.method: ignore"),
    "elsewhere": Case(nmcli="ipv6.addresses: 'fd99::9/64'"),
    "small": Case(nmcli="ethernet.mtu: 1000"),
    # Rules of the kernel and of nftables.
    "rule": on_change("ip -6 rule add pref 10 prohibit"),
    "drops": on_change(f"{_INPUT}; nft add rule ip6 shut c tcp dport 22 drop"),
    "ndp": on_change(
        f"{_INPUT}; nft add rule ip6 shut c icmpv6 type '{{ nd-neighbor-solicit, nd-neighbor-advert }}' drop;"
        " ip -6 neigh flush all"
    ),
    # sshd that listens in the other family alone.
    "inet": only_file("/etc/ssh/sshd_config.d/80-x.conf", "AddressFamily inet\n"),
    # Addresses that follow from the router's advertisements.
    "raprivate": Case(nmcli="ipv6.addr-gen-mode: stable-privacy", ipv6="auto"),
    "ratoken": Case(nmcli="ipv6.token: '::99'", ipv6="auto"),
}
_JUMP = "10.60.5.126"
BEHIND: dict[str, Case] = {
    "fromjump": on_change(
        "nft add table ip shut; nft 'add chain ip shut c { type filter hook input priority 0; }';"
        f" nft add rule ip shut c ip saddr {_JUMP} tcp dport 22 drop"
    ),
    "isjump": on_change(f"ip addr add {_JUMP}/32 dev lo"),
    "denied": Case(f"sshd: {{DenyUsers: 'lab@{_JUMP}'}}"),
}
KINDS = {"ipv6": ("alldisabled", "rule", "ndp", "inet", "raprivate"), "jump": ("fromjump", "denied")}
