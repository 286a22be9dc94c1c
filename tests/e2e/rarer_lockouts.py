"""Rarer changes that would close the way in: by owned tables, next hops, mounts, limits and units that hang.

Each host's name says what is done to it. All are for the long run of the suite.
"""

from __future__ import annotations

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["RARER"]

_DROP_IN = "/etc/systemd/system/ssh.service.d/y.conf"
_SUDOERS = "/etc/sudoers.d/zz-x"
_OWNED = (
    "(echo 'table inet own { flags owner; chain i { type filter hook input priority 0; policy drop; }; }';"
    " exec sleep 1000) | nft -i"
)
_PATHS = {
    # A table that only the process that made it may change, and flush ruleset leaves alone.
    "owned": on_change(f'setsid sh -c "{_OWNED}" >/dev/null 2>&1 & sleep 2'),
    "ownedunit": on_change(f'systemd-run --quiet sh -c "{_OWNED}"; sleep 2'),
    "nexthop": on_change(
        "ip nexthop add id 9 blackhole; ip route flush table main; ip route add default nhid 9"
    ),
    "nolocal": on_change("ip route flush table local"),
    "uidrule": on_change("ip rule add pref 1 uidrange 0-65535 prohibit"),
    "tosrule": on_change(
        "nft add table inet t; nft 'add chain inet t o { type filter hook output priority 0; }';"
        " nft add rule inet t o tcp sport 22 ip dscp != 0 drop"
    ),
    "connections": on_change(
        "nft add table inet c; nft 'add chain inet c i { type filter hook input priority 0; }';"
        " nft add rule inet c i tcp dport 22 ct count over 1 reject"
    ),
    "queue": on_change(
        "nft add table inet q; nft 'add chain inet q i { type filter hook input priority 0; }';"
        " nft add rule inet q i tcp dport 22 queue num 7"
    ),
    "passthru": on_change("ip link add link eth0 name mv9 type macvlan mode passthru; ip link set mv9 up"),
    "matchall": on_change(
        "tc qdisc add dev eth0 clsact; tc filter add dev eth0 egress matchall action drop;"
        " tc filter add dev eth0 ingress matchall action drop; ip link set eth0 arp off"
    ),
    "minmss": Case("sysctl: {net.ipv4.tcp_min_snd_mss: 65535}"),
}
_MOUNTS = {
    "readonlyetc": on_change(
        "mount --bind /etc /etc; mount -o remount,ro,bind /etc; systemctl stop ssh; ip link set eth0 down"
    ),
    "noexec": on_change(
        "mount --bind /usr/sbin /usr/sbin; mount -o remount,bind,noexec /usr/sbin; systemctl restart ssh"
    ),
    "nosuid": on_change("mount --bind /usr/bin /usr/bin; mount -o remount,bind,nosuid /usr/bin"),
    "fullrun": on_change(
        'mount -o remount,size="$(($(df -k --output=used /run | tail -n 1) + 4))k" /run; systemctl stop ssh'
    ),
    "noinodes": on_change(
        'mount -o remount,nr_inodes="$(df --output=iused /run | tail -n 1)" /run; systemctl stop ssh'
    ),
    "automount": only_file("/etc/fstab", "tmpfs /home tmpfs nofail,x-systemd.automount 0 0\n"),
}
_LOGIN = {
    "sudonoexec": only_file(_SUDOERS, "Defaults noexec\n"),
    "sudotimeout": only_file(_SUDOERS, "Defaults command_timeout=1\n"),
    "sudopath": only_file(_SUDOERS, "Defaults secure_path=/nowhere\n"),
    "sudosession": on_change("echo 'session required pam_deny.so' >>/etc/pam.d/sudo"),
    "hangingpam": on_change("echo 'session required pam_exec.so /bin/sleep 1000' >>/etc/pam.d/sshd"),
    "shadownone": only_file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: nothing\n"),
    "hangingshell": on_change(
        "printf '#!/bin/sh\\nsleep 1000\\n' >/etc/own-shell; chmod 755 /etc/own-shell;"
        " usermod -s /etc/own-shell lab"
    ),
}
_UNITS = {
    "capabilities": only_file(_DROP_IN, "[Service]\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"),
    "seccomp": only_file(_DROP_IN, "[Service]\nSystemCallFilter=~setresuid setuid setgroups\n"),
    "families": only_file(_DROP_IN, "[Service]\nRestrictAddressFamilies=AF_UNIX\n"),
    "readonlypaths": only_file(_DROP_IN, "[Service]\nReadOnlyPaths=/\n"),
    "stophang": only_file(
        _DROP_IN,
        "[Service]\nTimeoutStopSec=infinity\nKillMode=none\nExecStop=/bin/sleep infinity\nRestart=no\n",
    ),
    "afterstop": only_file(_DROP_IN, "[Service]\nExecStopPost=/usr/sbin/ip link set eth0 down\n"),
    "refuses": only_file(_DROP_IN, "[Unit]\nRefuseManualStart=yes\nRefuseManualStop=yes\n"),
    "initlimit": on_change("prlimit --pid 1 --nofile=10:10; systemctl restart ssh"),
}
RARER: dict[str, Case] = {**_PATHS, **_MOUNTS, **_LOGIN, **_UNITS}
