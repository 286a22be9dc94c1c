"""More changes that would close the way in: by what a login, a boot or the guard itself needs.

Each host's name says what is done to it. ``KINDS`` are one of each new kind, for every run of the suite.
"""

from __future__ import annotations

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["KINDS", "STRANGER"]

_SSHD = "/etc/ssh/sshd_config.d/80-x.conf"
_UNITS = "/etc/systemd/system"
_DROP_IN = f"{_UNITS}/ssh.service.d/y.conf"
_NM = "/etc/NetworkManager"
_KEYS = "/home/lab/.ssh/authorized_keys"


def _both(*cases: Case, **more: str) -> Case:
    files = {path: entry for case in cases for path, entry in case.files.items()}
    return Case(files=files, services=more)


_LOGIN = {
    "maxlogins": only_file("/etc/security/limits.d/x.conf", "* hard maxlogins 0\n"),
    "nolocks": only_file("/etc/security/limits.d/x.conf", "* hard as 1\n* hard fsize 0\n"),
    "access": on_change(
        "echo '-:ALL:ALL' >/etc/security/access.conf;"
        " sed -i '1i account required pam_access.so' /etc/pam.d/sshd"
    ),
    "time": on_change(
        "echo '*;*;*;!Al0000-2400' >/etc/security/time.conf;"
        " sed -i '1i account required pam_time.so' /etc/pam.d/sshd"
    ),
    "expired": on_change("chage -E 0 lab"),
    "mustchange": on_change("chage -d 0 lab"),
    "nopam": only_file(_SSHD, "UsePAM no\n"),
    "shadow": on_change(
        "chage -d 0 root; usermod -L lab; printf 'UsePAM no\\n' >/etc/ssh/sshd_config.d/80-x.conf"
    ),
    "nohome": on_change("rm -rf /home/lab"),
    "homelink": on_change("mv /home/lab /home/lab.gone; ln -s /nowhere /home/lab"),
    "nohomes": on_change("mv /home /home.gone"),
    "immutable": on_change(f": >{_KEYS}; chattr +i {_KEYS} /home/lab/.ssh /home/lab"),
    "owner": on_change("chown -R nobody /home/lab"),
    "from": on_change(f"sed -i 's/^/from=\"192.0.2.1\" /' {_KEYS}"),
    "command": on_change(f"sed -i 's,^,command=\"/bin/false\" ,' {_KEYS}"),
    "expiry": on_change(f"sed -i 's/^/expiry-time=\"20200101\" /' {_KEYS}"),
    "keysdir": on_change(f"rm {_KEYS}; mkdir {_KEYS}"),
    "keysfifo": on_change(f"rm {_KEYS}; mkfifo {_KEYS}"),
    "hostkeys": on_change("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh"),
    "privsep": on_change("userdel sshd; systemctl restart ssh"),
    "sudopam": only_file("/etc/pam.d/sudo", "account required pam_deny.so\n"),
    "sudosetuid": on_change("chmod u-s /usr/bin/sudo"),
    "sudorule": only_file("/etc/sudoers.d/zz-x", "lab ALL=(ALL) ALL\n"),
    "sudoplugin": on_change("chmod 666 /usr/libexec/sudo/sudoers.so"),
    "dash": on_change("chmod 644 /usr/bin/dash"),
    "libraries": on_change("chmod 700 /usr/lib/x86_64-linux-gnu"),
    "libc": on_change("chmod 600 /usr/lib/x86_64-linux-gnu/libc.so.6"),
    "sshrc": only_file("/etc/ssh/sshrc", "sleep 1000\n"),
    "userrc": on_change("echo 'kill -9 $PPID' >/home/lab/.ssh/rc"),
    "hostsdeny": only_file("/etc/hosts.deny", "sshd: ALL\n"),
    "preload": on_change("echo /nowhere.so >/etc/ld.so.preload"),
    "pamenv": only_file("/etc/security/pam_env.conf", "PATH OVERRIDE=/nowhere\n"),
}
_SSHD_FILES = {
    "keyscommand": (
        "AuthorizedKeysFile none\nAuthorizedKeysCommand /bin/false\nAuthorizedKeysCommandUser nobody\n"
    ),
    "hostalgs": "HostKeyAlgorithms rsa-sha2-512\n",
    "kex": "KexAlgorithms diffie-hellman-group1-sha1\n",
    "ciphers": "Ciphers chacha20-poly1305@openssh.com\n",
    # What labrun's login could use, and `ssh` does not offer.
    "cbc": "Ciphers aes128-cbc,aes256-cbc\n",
    "md5": "Ciphers aes128-ctr\nMACs hmac-md5,hmac-sha1-96\n",
    "hostkey": "HostKey /etc/ssh/ssh_host_ecdsa_key\n",
    "revoked": "RevokedKeys /etc/ssh/nothing\n",
    "revokedown": f"RevokedKeys {_KEYS}\n",
    "inet6": "AddressFamily inet6\n",
    "setenv": "SetEnv PATH=/nowhere\n",
    "sftponly": "ForceCommand internal-sftp\n",
    "localport": "Match LocalPort 22\n  DenyUsers *\n",
    "rsasize": "RequiredRSASize 16384\nPubkeyAcceptedAlgorithms rsa-sha2-512\n",
    "matchinclude": "Match all\n  Include /etc/ssh/nothing/*.conf\n  AllowGroups nobody\n",
    "startups": "MaxStartups 1:100:1\nLoginGraceTime 5\nPerSourceMaxStartups 1\nPerSourceNetBlockSize 0\n",
    "chantimeout": "ChannelTimeout session:*=1s\nUnusedConnectionTimeout 1s\n",
    "alive": "ClientAliveInterval 1\nClientAliveCountMax 1\nTCPKeepAlive no\n",
}
_NO_PID = "echo 'PidFile none' >/etc/ssh/sshd_config.d/00-pid.conf; systemctl restart ssh"
_BY_SOCKET = "systemctl disable --now ssh.service; systemctl enable --now ssh.socket; systemctl start ssh"
_BOOT = {
    # Files that sshd's unit reads at its next start only, and a running sshd that a reload does not reach.
    "sshopts": only_file("/etc/default/ssh", "SSHD_OPTS=-p 2222\n"),
    "sshopts2": only_file("/etc/default/ssh", "SSHD_OPTS=-oAllowUsers=nobody\n"),
    "sshopts3": only_file("/etc/default/ssh", "SSHD_OPTS='-f /nowhere'\n"),
    "noenvironment": only_file(_DROP_IN, "[Service]\nEnvironmentFile=/nowhere\n"),
    "needsnone": only_file(_DROP_IN, "[Unit]\nRequires=nowhere.service\n"),
    "nopidfile": Case(files={_SSHD: ("AllowUsers nobody\n", None)}, before=_NO_PID),
    "otherpidfile": only_file(_SSHD, "PidFile /run/other.pid\nAllowUsers nobody\n"),
    "bysocket": Case(files={_SSHD: ("AllowUsers nobody\n", None)}, before=_BY_SOCKET),
    "socketstop": Case(
        files={"/etc/labrun-test.conf": ("x\n", "systemctl stop ssh.socket")}, before=_BY_SOCKET
    ),
    "socketoff": Case(services={"ssh.socket": "disabled"}, before=_BY_SOCKET),
    "socketport": Case(
        files={f"{_UNITS}/ssh.socket.d/x.conf": ("[Socket]\nListenStream=\nListenStream=2222\n", None)},
        before=_BY_SOCKET,
    ),
    # Limits of everything that is started from then on.
    "tasksmax": only_file("/etc/systemd/system.conf.d/x.conf", "[Manager]\nDefaultTasksMax=1\n"),
    "nofile": only_file("/etc/systemd/system.conf.d/x.conf", "[Manager]\nDefaultLimitNOFILE=3\n"),
    "noprivs": only_file("/etc/systemd/system.conf.d/x.conf", "[Manager]\nNoNewPrivileges=yes\n"),
    "output": only_file(
        "/etc/systemd/system.conf.d/x.conf", "[Manager]\nDefaultStandardOutput=file:/nowhere/x\n"
    ),
    "userslice": only_file(f"{_UNITS}/user-.slice.d/x.conf", "[Slice]\nTasksMax=2\n"),
    "usermemory": only_file(f"{_UNITS}/user.slice.d/x.conf", "[Slice]\nMemoryMax=1M\n"),
    "scope": only_file(f"{_UNITS}/session-.scope.d/x.conf", "[Scope]\nTasksMax=1\n"),
    "systemslice": only_file(f"{_UNITS}/system.slice.d/x.conf", "[Slice]\nTasksMax=3\n"),
    "setproperty": on_change("systemctl set-property user.slice TasksMax=2"),
    "pidsmax": on_change(
        "for each in $(find /sys/fs/cgroup -path '*/ssh.service/pids.max'); do echo 1 >$each; done"
    ),
    "freeze": on_change(
        "for each in $(find /sys/fs/cgroup -path '*/ssh.service/cgroup.freeze'); do echo 1 >$each; done"
    ),
    # Units: what hangs, what fails, what is killed later.
    "forking": only_file(_DROP_IN, "[Service]\nType=forking\n"),
    "watchdog": only_file(_DROP_IN, "[Service]\nWatchdogSec=25\n"),
    "runtimemax": only_file(_DROP_IN, "[Service]\nRuntimeMaxSec=25\nRestart=no\n"),
    "protecthome": only_file(_DROP_IN, "[Service]\nProtectHome=yes\n"),
    "nonewprivs": only_file(_DROP_IN, "[Service]\nNoNewPrivileges=yes\n"),
    "privatenet": only_file(f"{_UNITS}/service.d/x.conf", "[Service]\nPrivateNetwork=yes\n"),
    "nodevice": only_file(_DROP_IN, "[Unit]\nBindsTo=nowhere.device\nAfter=nowhere.device\n"),
    "cycle": only_file(_DROP_IN, "[Unit]\nBefore=sysinit.target\nRequiredBy=sysinit.target\n"),
    "startlimit": only_file(_DROP_IN, "[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n"),
    "badneed": _both(
        only_file(f"{_UNITS}/sysinit.target.d/y.conf", "[Unit]\nRequires=bad.service\nAfter=bad.service\n"),
        only_file(
            f"{_UNITS}/bad.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/false\n",
        ),
    ),
    "hangneed": _both(
        only_file(f"{_UNITS}/sysinit.target.d/y.conf", "[Unit]\nWants=bad.service\nAfter=bad.service\n"),
        only_file(
            f"{_UNITS}/bad.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n",
        ),
    ),
    "nodefault": on_change(f"ln -sf /dev/null {_UNITS}/default.target"),
    "baddefault": on_change(f"ln -sf /nowhere {_UNITS}/default.target"),
    "poweroff": on_change("systemctl set-default poweroff.target"),
    "generator": Case(
        more="files: {/etc/systemd/system-generators/x: {mode: '0755', content: "
        '"#!/bin/sh\\nln -s /dev/null $2/ssh.service\\n"}}'
    ),
    "machineid": on_change(
        "rm /etc/machine-id; mkdir -p /etc/systemd/system-preset;"
        " echo 'disable *' >/etc/systemd/system-preset/00-x.preset"
    ),
    # What a boot mounts and cleans.
    "fstabhome": only_file("/etc/fstab", "tmpfs /home tmpfs defaults 0 0\n"),
    "fstabssh": only_file("/etc/fstab", "tmpfs /etc/ssh tmpfs nofail 0 0\n"),
    "fstablabel": only_file("/etc/fstab", "LABEL=nothing /mnt ext4 defaults 0 0\n"),
    "fstabtype": only_file("/etc/fstab", "something /srv nonsuch defaults 0 0\n"),
    "homemount": Case(
        files={
            f"{_UNITS}/home.mount": (
                "[Mount]\nWhat=tmpfs\nWhere=/home\nType=tmpfs\n[Install]\nWantedBy=multi-user.target\n",
                "systemctl daemon-reload; systemctl enable home.mount",
            )
        },
    ),
    "tmpfiles": only_file("/etc/tmpfiles.d/x.conf", "R /home/lab/.ssh - - - - -\n"),
    "tmpmodes": only_file("/etc/tmpfiles.d/x.conf", "z /home/lab 0777 - - - -\n"),
    "tmpnologin": only_file("/etc/tmpfiles.d/x.conf", "f /etc/nologin 0644 - - - closed\n"),
    "tmphostkeys": only_file("/etc/tmpfiles.d/x.conf", "r! /etc/ssh/ssh_host_*\n"),
    # NetworkManager.
    "nmpath": only_file(f"{_NM}/conf.d/x.conf", "[keyfile]\npath=/nowhere\n"),
    "nmplugins": only_file(f"{_NM}/conf.d/x.conf", "[main]\nplugins=ifupdown\nno-auto-default=*\ndns=none\n"),
    "nmmode": on_change(f"chmod 666 {_NM}/system-connections/labrun-left.nmconnection"),
    "nmowner": on_change(f"chown lab {_NM}/system-connections/labrun-left.nmconnection"),
    "nmname": on_change(
        f"mv {_NM}/system-connections/labrun-left.nmconnection {_NM}/system-connections/labrun-left~"
    ),
    "nmmeta": on_change(
        f"cd {_NM}/system-connections;"
        " ln -s /dev/null $(sed -n 's/^uuid=//p' labrun-left.nmconnection).nmmeta"
    ),
    "nmtwin": on_change(
        f"cd {_NM}/system-connections; sed 's/^address1=.*/address1=10.99.0.9,24/;s/^id=.*/id=twin/'"
        " labrun-left.nmconnection >zz.nmconnection; chmod 600 zz.nmconnection"
    ),
    "nmrun": on_change(
        f"cd {_NM}/system-connections; mkdir -p /run/NetworkManager/system-connections;"
        " sed 's/^uuid=.*/uuid=6b2ae03f-9a5b-4b8a-9b3f-0d1c2e3f4a5c/;s/^id=.*/id=run/;"
        "s/^address1=.*/address1=10.99.0.9,24/;s/^autoconnect-priority=.*/autoconnect-priority=900/'"
        " labrun-left.nmconnection >/run/NetworkManager/system-connections/run.nmconnection;"
        " chmod 600 /run/NetworkManager/system-connections/run.nmconnection"
    ),
    "nmdispatcher": Case(
        more="files: {/etc/NetworkManager/dispatcher.d/99-x: {mode: '0755', content: "
        '"#!/bin/sh\\nip address flush dev eth0\\n"}}'
    ),
    "nmallowed": only_file(
        f"{_NM}/conf.d/x.conf",
        "[device-x]\nmatch-device=interface-name:eth0\nallowed-connections=uuid:nowhere\n",
    ),
    "nmdefaultpriority": only_file(
        f"{_NM}/conf.d/x.conf", "[device-x]\nmatch-device=*\nmanaged=0\nkeep-configuration=no\n"
    ),
}
_PATHS = {
    "lifetime": on_change(
        "ip addr change $(ip -o -4 addr show eth0 | awk '{print $4}') dev eth0 valid_lft 40 preferred_lft 40"
    ),
    "sportrule": on_change("ip rule add pref 1 ipproto 6 sport 22 prohibit"),
    "ruletable": on_change("ip rule add pref 1 iif eth0 lookup 77; ip route add blackhole default table 77"),
    "fwmark": on_change(
        "ip rule add pref 1 fwmark 7 prohibit; nft add table ip m;"
        " nft 'add chain ip m o { type route hook output priority -150; }';"
        " nft add rule ip m o tcp sport 22 mark set 7"
    ),
    "routemtu": on_change("ip route add 10.60.5.1/32 dev eth0 mtu lock 68; ip route flush cache"),
    "routesrc": on_change("ip route add 10.60.5.1/32 via 10.60.5.254 dev eth0 onlink"),
    "egress": on_change(
        "nft add table netdev e; nft 'add chain netdev e o { type filter hook egress device eth0 priority 0;"
        " policy drop; }'"
    ),
    "rawnew": on_change(
        "nft add table inet r; nft 'add chain inet r p { type filter hook prerouting priority -300; }';"
        " nft add rule inet r p tcp dport 22 tcp flags syn drop"
    ),
    "mangle": on_change(
        "nft add table ip m; nft 'add chain ip m o { type filter hook output priority -150; }';"
        " nft add rule ip m o tcp sport 22 ip ttl set 0"
    ),
    "payload": on_change(
        "nft add table ip m; nft 'add chain ip m o { type filter hook postrouting priority 300; }';"
        " nft add rule ip m o tcp sport 22 ip daddr set 10.99.0.1"
    ),
    "arptable": on_change(
        "nft add table arp a; nft 'add chain arp a o { type filter hook output priority 0; policy drop; }';"
        " ip neigh flush all"
    ),
    "netem": on_change("tc qdisc replace dev eth0 root netem delay 100s"),
    "tbf": on_change("tc qdisc replace dev eth0 root tbf rate 8bit burst 100 latency 1ms"),
    "xfrmstate": on_change(
        "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto 6 sport 22 dir out action block"
    ),
    "vrf": on_change("ip link add vrf9 type vrf table 99; ip link set vrf9 up; ip link set eth0 master vrf9"),
    "team": on_change(
        "ip link add bo9 type bond; ip link set eth0 down; ip link set eth0 master bo9; ip link set bo9 up"
    ),
    "ipvlan": on_change(
        "ip link add link eth0 name iv9 type ipvlan mode l2; ip link set iv9 up;"
        " a=$(ip -o -4 addr show eth0 | awk '{print $4}'); ip addr del $a dev eth0; ip addr add $a dev iv9"
    ),
    "vethpair": on_change("ip link del eth0"),
    "group": on_change("ip link set group default down"),
    "solicit": on_change(
        "sysctl -w net.ipv4.neigh.eth0.mcast_solicit=0 net.ipv4.neigh.eth0.ucast_solicit=0;"
        " ip neigh flush all"
    ),
    "localin": on_change("sysctl -w net.ipv4.conf.all.drop_gratuitous_arp=1 net.ipv4.conf.eth0.arp_ignore=3"),
    "localrule": on_change("ip rule add pref 40000 lookup local; ip rule del pref 0"),
}
_GUARD = {
    "nolib": on_change("rm -rf /var/lib/labrun; systemctl stop ssh"),
    "hiddenlib": on_change("mount -t tmpfs none /var/lib/labrun; systemctl stop ssh"),
    "hiddenvar": on_change("mount -t tmpfs none /var; systemctl stop ssh"),
    "norun": on_change("rm -rf /run/labrun-guard; systemctl stop ssh"),
    "maskguard": on_change("ln -sf /dev/null /etc/systemd/system/labrun-guard.service; systemctl stop ssh"),
    "noproc": on_change("systemctl stop ssh; mount -t tmpfs none /proc"),
    "nosh": on_change("mount --bind /bin/false /usr/bin/dash; systemctl stop ssh"),
    "nosystemctl": on_change("systemctl stop ssh; mount --bind /bin/false /usr/bin/systemctl"),
    "notrees": on_change("rm -rf /etc/.labrun-tree /etc/ssh; systemctl stop ssh"),
    "isolate": on_change("systemctl isolate emergency"),
    "audit": on_change(
        "systemctl stop systemd-journald-audit.socket systemd-journald-dev-log.socket; systemctl stop ssh"
    ),
    "journalrestart": on_change(
        "systemctl stop systemd-journald.socket; systemctl start systemd-journald; systemctl stop ssh"
    ),
}
_SERVICES = {
    "usersessions": Case(services={"systemd-user-sessions": "stopped"}),
    "sshsocket": Case(services={"ssh.socket": "running"}),
    "networkd": Case(services={"systemd-networkd": "enabled"}),
}
_NMCLI = {
    "secondaries": "connection.secondaries: 6b2ae03f-9a5b-4b8a-9b3f-0d1c2e3f4a5b",
    "denylist": "ethernet.mac-address: '02:00:00:00:00:78'",
    "table": "ipv4.route-table: 77",
    "pingwait": "connection.gateway-ping-timeout: 600, ipv4.gateway: 10.60.5.77",
    "dad": "ipv4.dad-timeout: 30000",
    "linklocal": "ipv4.method: link-local, ipv4.addresses: '', ipv4.gateway: '', ipv4.dns: ''",
    "dhcp": "ipv4.method: auto",
    "controller": "connection.master: nowhere, connection.slave-type: bridge",
    "matchname": "match.interface-name: nowhere",
    "qdisc": "tc.qdiscs: root pfifo limit 0",
}
STRANGER: dict[str, Case] = {
    **_LOGIN,
    **{name: only_file(_SSHD, text) for name, text in _SSHD_FILES.items()},
    **_BOOT,
    **_PATHS,
    **_GUARD,
    **_SERVICES,
    **{name: Case(nmcli=text) for name, text in _NMCLI.items()},
}
_ONE_OF_EACH = (
    "isolate",
    "homelink",
    "sshopts",
    "tasksmax",
    "tmpfiles",
    "fstabhome",
    "badneed",
    "nmmode",
    "lifetime",
    "cbc",
)
KINDS = {name: STRANGER[name] for name in _ONE_OF_EACH}
"""Of these one of each new kind, by the host's name."""
