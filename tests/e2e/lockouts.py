"""Changes that would close the way into a host, now or at the next boot, one a host.

``CASES`` maps a host's name to what its lab file says beside the address. Whatever it is, labrun gets in
afterwards, also after a restart, and the host is as declared or as it was before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

__all__ = ["CASES", "FULL", "WHOLE", "Case"]

# Everything about a host that a change may touch, by other commands than labrun's own.
WHOLE = r"""
ip -o link show | sed 's/@[^:]*//; s/ state .*//; s/link-netnsid.*//; s/^[0-9]*: //' | sort
ip -o address show | sed 's/ *valid_lft.*//; s/ tentative//; s/ nodad//; s/ dynamic//' |
awk '{$1 = ""; print}' | sort
ip route show table all | grep -vE '^(multicast|anycast|broadcast|ff00|fe80)|table local' |
sed 's/ expires [0-9]*sec//; s/ *$//' | sort
ip rule show; ip -6 rule show; nft -s list ruleset
cd /etc
find . '(' -path ./.pwd.lock -o -path ./resolv.conf ')' -prune -o -type f -printf '%p %m %U:%G ' \
-exec sha256sum {} ';' | sort
find . -type l -printf '%p %l\n' | sort
find /root/.ssh /home/lab/.ssh -type f -exec sha256sum {} ';' | sort
stat -c '%n %a %u' / /etc /home /home/lab /home/lab/.ssh /usr/sbin/sshd
for unit in NetworkManager ssh dbus systemd-journald nftables; do
echo "$unit $(systemctl is-active $unit) $(systemctl is-enabled $unit)"
done
grep -rsm1 '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward \
/proc/sys/net/ipv4/ip_default_ttl | sort
nmcli -t -f NAME,DEVICE,STATE connection show --active | grep -v :lo: | sort
sshd -T | sort; dpkg-query -W -f '${Package}\n' | sort | sha256sum
find / -xdev '(' -name '.labrun-*' -o -name '*labrun-guard*' ')' -not -path '/proc/*' 2>/dev/null
ls -A /var/lib/labrun /run/labrun-guard 2>/dev/null | grep -vE 'rolled-back|applied.json|^files$'
true
"""


@dataclass(frozen=True)
class Case:
    """What the file says, what is done to the host before and after, and which statuses may occur.

    ``more`` is text in the lab file, ``nmcli`` properties of the NIC. ``files`` maps a path to content and
    the command on change, None for no command. ``before`` runs as root before the change.
    """

    more: str = ""
    nmcli: str = ""
    files: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    stays: bool = False

    @property
    def text(self) -> str:
        """Return the keys of the host in the lab file, beside ``networks``."""
        parts = [self.more] if self.more else []
        if self.files:
            entries = {
                path: {"content": content, **({"on_change": command} if command else {})}
                for path, (content, command) in self.files.items()
            }
            parts.append(f"files: {json.dumps(entries)}")
        if self.services:
            parts.append(f"services: {json.dumps(self.services)}")
        return "".join(f", {part}" for part in parts)


def on_change(command: str, content: str = "x\n") -> Case:
    """Return a case whose file is harmless and whose command is not."""
    return Case(files={"/etc/labrun-test.conf": (content, command)})


def only_file(path: str, content: str) -> Case:
    """Return a case of a file that nothing reads before the next boot."""
    return Case(files={path: (content, None)})


# Once the host is armed, its drop-in folder has no room left, until a while after it went back.
FULL_LATER = """\
mkdir /root/copy; cp -a /etc/ssh/sshd_config.d/. /root/copy
mount -t tmpfs -o size=64k,mode=755 full /etc/ssh/sshd_config.d; cp -a /root/copy/. /etc/ssh/sshd_config.d
systemd-run --quiet --collect sh -c 'until [ -e /var/lib/labrun/guard/changed ]; do sleep 0.02; done
dd if=/dev/zero of=/etc/ssh/sshd_config.d/.filler bs=1k 2>/dev/null
sleep 12; rm /etc/ssh/sshd_config.d/.filler'
"""
EMPTY_LATER = "umount /etc/ssh/sshd_config.d; rm -rf /root/copy; systemctl reload ssh"
READ_ONLY_LATER = """\
systemd-run --quiet --collect sh -c 'until [ -e /var/lib/labrun/guard/changed ]; do sleep 0.02; done
mount --bind /var/lib/labrun /var/lib/labrun; mount -o remount,ro,bind /var/lib/labrun
sleep 12; umount /var/lib/labrun'
"""
OWN = "/etc/sysctl.d/70-own.conf"
NFT_DROP = "table inet shut { chain in { type filter hook input priority 0; policy drop; }; }\n"

_ALL: dict[str, Case] = {
    # The undo finds no room, or a disk that takes nothing for a while.
    "full": Case("sshd: {AllowUsers: nobody}", before=FULL_LATER, after=EMPTY_LATER),
    "readonly": Case("firewall: {input: drop, ssh: false}", before=READ_ONLY_LATER),
    # Commands that cut the way in and have nothing to do with the file.
    "nft": Case(files={"/etc/labrun-test.nft": (NFT_DROP, "nft -f /etc/labrun-test.nft")}),
    "sshstop": on_change("systemctl stop ssh"),
    "linkdown": on_change("ip link set eth0 down"),
    "flush": on_change("ip addr flush dev eth0"),
    "noroute": on_change("ip route flush table main; ip route add blackhole default metric 1"),
    "rule": on_change("ip rule add pref 10 blackhole"),
    "noarp": on_change("ip link set eth0 arp off"),
    "mask": on_change("systemctl mask --now ssh NetworkManager"),
    "chmod": on_change("chmod 777 /home/lab /home/lab/.ssh"),
    "keys": on_change("rm -rf /home/lab/.ssh/authorized_keys /etc/ssh/ssh_host_*"),
    "shell": on_change("usermod -s /usr/sbin/nologin lab"),
    "sudoers": on_change("rm -f /etc/sudoers.d/*"),
    "daemon": on_change("(while :; do ip link set eth0 down; sleep 0.5; done) >/dev/null 2>&1 &"),
    "killer": on_change("pkill -9 -f labrun/guard/undo; ip link set eth0 down"),
    "ours": on_change("systemctl stop 'labrun-guard*'; systemctl stop ssh"),
    "mac": on_change("ip link set eth0 address 02:00:00:00:99:99"),
    "bridge": on_change("ip link add br9 type bridge; ip link set eth0 master br9; ip link set br9 up"),
    # Harmless commands, taken back with what is not.
    "twin": Case(
        "sshd: {AllowUsers: nobody}",
        files={
            "/etc/sysctl.d/70-own.conf": (
                "net.ipv4.ip_default_ttl = 61\n",
                "sysctl -p /etc/sysctl.d/70-own.conf",
            )
        },
    ),
    "ruleset": Case(
        "sshd: {AllowUsers: nobody}",
        files={"/etc/nftables.conf": ("flush ruleset\ntable inet own {\n}\n", "systemctl restart nftables")},
    ),
    # Only the next boot would close the door.
    "autoconnect": Case(nmcli="connection.autoconnect: no"),
    "permissions": Case(nmcli='connection.permissions: "user:nobody"'),
    "match": Case(nmcli="match.kernel-command-line: nowhere"),
    "sshoff": Case(services={"ssh": "disabled"}),
    "nmoff": Case(services={"NetworkManager": "disabled"}),
    "unmanaged": only_file("/etc/NetworkManager/conf.d/90-x.conf", "[keyfile]\nunmanaged-devices=*\n"),
    "allow": only_file("/etc/ssh/sshd_config.d/90-x.conf", "AllowUsers nobody\n"),
    "badsshd": only_file("/etc/ssh/sshd_config.d/90-x.conf", "Rubbish yes\n"),
    "sysctld": only_file("/etc/sysctl.d/99-x.conf", "net.ipv4.conf.all.arp_ignore = 8\n"),
    "rival": Case(
        more="files: {/etc/NetworkManager/system-connections/x.nmconnection: {mode: '0600', content: "
        '"[connection]\\nid=x\\nuuid=6b2ae03f-9a5b-4b8a-9b3f-0d1c2e3f4a5b\\ntype=ethernet\\nautoconnect-priority=900'
        '\\n[ipv4]\\nmethod=manual\\naddress1=10.99.0.9/24\\n"}}'
    ),
    "nftboot": Case(
        files={"/etc/nftables.conf": (f"flush ruleset\n{NFT_DROP}", None)}, services={"nftables": "enabled"}
    ),
    "target": on_change("systemctl set-default rescue.target"),
    "dropin": only_file("/etc/systemd/system/ssh.service.d/x.conf", "[Service]\nExecStart=\n"),
    # What could be asked before can be asked after.
    "nmstop": Case(services={"NetworkManager": "stopped"}),
    "dbusstop": Case(services={"dbus": "stopped"}),
    "sysinit": Case(services={"sysinit.target": "stopped"}),
    # Kernel values.
    "arp": Case("sysctl: {net.ipv4.conf.all.arp_ignore: 8}"),
    "mtu": Case(nmcli="ethernet.mtu: 68"),
    "slow": Case("sshd: {AllowUsers: nobody}", files={"/etc/labrun-test.conf": ("x\n", "sleep 1000 &")}),
}
# One of each kind, for every run of the suite.
_ONE_OF_EACH = (
    *("full", "readonly", "linkdown", "sshstop", "sudoers", "twin", "autoconnect", "match"),
    *("nmoff", "unmanaged", "allow", "sysctld", "rival", "dropin", "nftboot", "dbusstop", "arp", "slow"),
)
CASES = {name: _ALL[name] for name in _ONE_OF_EACH}
"""By the host's name."""

_NM = "/etc/NetworkManager"
_COMMANDS = (
    "ip link set eth0 mtu 68",
    "ip link set eth0 mtu 576; ip -6 route flush table main",
    "ip addr add 10.99.0.1/8 dev eth0; ip addr del $(ip -o -4 addr show eth0 | awk '{print $4}') dev eth0",
    "ip route add unreachable 10.60.5.1/32",
    "ip route add prohibit 10.60.0.0/16 metric 0",
    "ip route add 10.60.5.1/32 dev lo",
    "ip route add local 10.60.5.1/32 dev lo table local",
    "ip rule add pref 1 prohibit; ip -6 rule add pref 1 prohibit",
    "ip rule flush; ip rule add pref 100 lookup 100",
    "ip rule del pref 32766",
    "ip neigh replace 10.60.5.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
    "ip link set lo down",
    "ip addr flush dev lo",
    "ip link add link eth0 name v9 type macvlan; ip link set v9 up; ip link set eth0 down",
    "ip link set eth0 name ethx || ip link set eth0 down",
    "nft add table inet a; nft 'add chain inet a i { type filter hook input priority -500; policy drop; }'",
    "nft add table inet a; nft 'add chain inet a o { type filter hook output priority 0; policy drop; }'",
    "nft add table arp a; nft 'add chain arp a i { type filter hook input priority 0; policy drop; }'",
    (
        "nft add table netdev a; nft 'add chain netdev a i { type filter hook ingress device eth0 priority 0;"
        " policy drop; }'"
    ),
    (
        "nft add table ip n; nft 'add chain ip n p { type nat hook prerouting priority -100; }';"
        " nft add rule ip n p tcp dport 22 redirect to :9"
    ),
    "nft add table ip a; nft 'add chain ip a p { type filter hook prerouting priority -400; policy drop; }'",
    "systemctl stop ssh.socket ssh.service; systemctl disable ssh.service",
    "systemctl kill -s KILL ssh",
    "systemctl mask ssh; systemctl stop ssh",
    "systemctl stop NetworkManager; ip addr flush dev eth0",
    "systemctl disable --now NetworkManager",
    "systemctl stop systemd-journald.socket systemd-journald ssh",
    "systemctl isolate rescue.target",
    "systemctl stop basic.target",
    "systemctl stop system.slice",
    "systemctl stop user.slice",
    "systemctl stop dbus.socket dbus.service NetworkManager",
    "systemctl set-default emergency.target",
    "systemctl mask systemd-user-sessions systemd-logind",
    "systemctl mask multi-user.target",
    "systemctl mask dbus.service dbus.socket",
    "systemctl daemon-reexec; systemctl stop ssh",
    "pkill -9 sshd",
    "pkill -STOP sshd",
    "pkill -STOP NetworkManager",
    "kill -9 -1",
    "touch /etc/nologin",
    "touch /run/nologin",
    "chmod 000 /etc/ssh/sshd_config",
    "chmod 644 /etc/ssh/ssh_host_*_key",
    "rm -rf /etc/ssh",
    "mv /etc/ssh /etc/ssh.gone",
    "rm -f /etc/passwd",
    "sed -i '/^lab:/d' /etc/passwd /etc/shadow",
    "usermod -L -e 1 lab",
    "usermod -d /nowhere lab",
    "chown -R root:root /home/lab/.ssh; chmod 000 /home/lab/.ssh",
    "chmod 000 /home",
    "chmod 777 /",
    "chmod 700 /etc",
    "echo 'account required pam_deny.so' >/etc/pam.d/sshd",
    "rm -rf /etc/pam.d",
    "echo 'Defaults requiretty' >/etc/sudoers.d/00-x",
    "echo 'rubbish' >/etc/sudoers",
    "rm -rf /etc/NetworkManager/system-connections/*; nmcli connection reload",
    "nmcli connection delete labrun-left",
    "nmcli device disconnect eth0",
    "nmcli device set eth0 managed no; ip addr flush dev eth0",
    "nmcli networking off",
    "nmcli connection modify labrun-left ipv4.addresses 10.99.0.5/24; nmcli connection up labrun-left",
    "nmcli connection modify labrun-left connection.autoconnect no",
    "nmcli connection add type ethernet ifname eth0 con-name y ip4 10.99.0.6/24; nmcli connection up y",
    (
        "printf '[keyfile]\\nunmanaged-devices=*\\n' >/etc/NetworkManager/conf.d/x.conf;"
        " systemctl restart NetworkManager"
    ),
    "sysctl -w net.ipv4.conf.all.arp_ignore=8",
    "sysctl -w net.ipv4.conf.eth0.arp_ignore=8",
    "sysctl -w net.ipv4.conf.all.rp_filter=1 net.ipv4.icmp_echo_ignore_all=1; ip link set eth0 arp off",
    (
        "sysctl -w net.ipv4.tcp_max_syn_backlog=0 net.ipv4.conf.eth0.forwarding=1; ip route flush cache;"
        " ip link set eth0 down"
    ),
    "sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.ip_local_port_range='1 2'; systemctl stop ssh",
    "(sleep 1; systemctl stop ssh) & sleep 2",
    "setsid sh -c 'while :; do nmcli networking off; sleep 1; done' >/dev/null 2>&1 &",
    "nohup sh -c 'for i in 1 2 3 4 5 6; do systemctl stop ssh; sleep 1; done' >/dev/null 2>&1 &",
    "systemd-run --on-active=1 systemctl stop ssh; sleep 3",
    "yes >/dev/null & systemctl stop ssh",
    "mount -t tmpfs none /etc/ssh; systemctl restart ssh",
    "mount -t tmpfs none /home",
    "hostname x; sed -i 's/^/#/' /etc/nsswitch.conf; systemctl stop ssh",
    "echo ALL: ALL >/etc/hosts.deny; systemctl stop ssh",
    (
        "printf '[Service]\\nExecStartPre=/bin/false\\n' >/etc/systemd/system/ssh.service;"
        " systemctl daemon-reload; systemctl restart ssh"
    ),
    (
        "ln -sf /dev/null /etc/systemd/system/NetworkManager.service; systemctl daemon-reload;"
        " systemctl stop NetworkManager"
    ),
    "exec kill -9 $PPID",
)
_FILES = (
    ("/etc/ssh/sshd_config.d/80-x.conf", "Port 2222\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "ListenAddress 127.0.0.1\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "DenyUsers lab\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AllowGroups nobody\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  PubkeyAuthentication no\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AuthorizedKeysFile /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  ForceCommand /bin/false\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "AuthenticationMethods publickey,password\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "PubkeyAcceptedAlgorithms ssh-rsa\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "HostKey /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "Match all\n  ChrootDirectory /nowhere\n"),
    ("/etc/ssh/sshd_config.d/80-x.conf", "MaxStartups 1:100:1\nMatch all\n  MaxSessions 0\n"),
    ("/home/lab/.ssh/authorized_keys", "# nobody\n"),
    ("/etc/nologin", "closed\n"),
    ("/etc/shells", "/bin/none\n"),
    ("/etc/pam.d/common-account", "account required pam_deny.so\n"),
    ("/etc/sudoers.d/zz-x", "Defaults requiretty\n"),
    (f"{_NM}/conf.d/x.conf", "[keyfile]\nunmanaged-devices=interface-name:eth*\n"),
    (f"{_NM}/conf.d/x.conf", "[device-x]\nmatch-device=interface-name:eth0\nmanaged=0\n"),
    ("/etc/sysctl.d/99-y.conf", "net.ipv4.conf.eth0.arp_ignore = 8\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Unit]\nConditionPathExists=/nowhere\n"),
    ("/etc/systemd/system/ssh.service.d/y.conf", "[Service]\nExecStart=\nExecStart=/nowhere\n"),
    ("/etc/systemd/system/NetworkManager.service.d/y.conf", "[Unit]\nRequires=nowhere.service\n"),
)
_SERVICES = (
    {"ssh": "stopped"},
    {"NetworkManager": "stopped", "ssh": "disabled"},
    {"basic.target": "stopped"},
    {"systemd-journald": "stopped", "NetworkManager": "disabled"},
    {"systemd-logind": "stopped", "dbus.socket": "stopped"},
)
_SSHD = (
    "AllowUsers: nobody",
    "DenyUsers: lab",
    "AllowGroups: nobody",
    "PubkeyAuthentication: no",
    "AuthorizedKeysFile: /nowhere",
    "Port: 2222",
    "ListenAddress: 127.0.0.1",
    "AuthenticationMethods: 'publickey,password'",
    "PubkeyAcceptedAlgorithms: ssh-rsa",
    "ForceCommand: /bin/false",
)
_NMCLI = (
    "ipv4.method: disabled",
    "ipv4.addresses: 10.99.0.5/24",
    "ipv4.addresses: 10.60.5.250/32",
    "connection.interface-name: eth9",
    "ethernet.mtu: 576, ipv4.method: disabled",
    "match.driver: nowhere",
    "match.path: nowhere",
    "ipv4.routing-rules: priority 5 from 0.0.0.0/0 table 77",
    "ethernet.cloned-mac-address: '02:00:00:00:00:77'",
    "connection.zone: x, ipv4.never-default: yes, connection.autoconnect: no",
)
FULL: dict[str, Case] = {
    **{name: case for name, case in _ALL.items() if name not in CASES},
    **{f"c{number}": on_change(command) for number, command in enumerate(_COMMANDS)},
    **{f"f{number}": only_file(path, text) for number, (path, text) in enumerate(_FILES)},
    **{f"u{number}": Case(services=units) for number, units in enumerate(_SERVICES)},
    **{f"s{number}": Case(f"sshd: {{{setting}}}") for number, setting in enumerate(_SSHD)},
    **{f"n{number}": Case(nmcli=properties) for number, properties in enumerate(_NMCLI)},
}
"""Further members, for the long run of the suite."""
