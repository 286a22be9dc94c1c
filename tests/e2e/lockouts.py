"""Changes that would close the way into a host, now or at the next boot, one a host.

``CASES`` maps a host's name to what its lab file says beside the address. Whatever it is, labrun gets in
afterwards, also after a restart, and the host is as declared or as it was before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

__all__ = ["ALL", "CASES", "SUBNET", "WHOLE", "Case", "on_change", "only_file"]

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
ls -A /var/lib/labrun /run/labrun-guard 2>/dev/null | grep -vE 'rolled-back|applied.json|^(files|begun)$'
true
"""


SUBNET = "10.60.5"
"""The host's own, in the words of a case; the one that it really has takes its place."""


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

# A package repository on the host itself, the only one that it knows: `shut` closes the way in when it is
# installed, `broken` fails beside that and does it once more when it is removed, `rival` wants sshd's place.
REPOSITORY = """\
mkdir -p /srv/repo; cd /srv/repo; : >Packages
for name in shut broken rival; do
mkdir -p $name/DEBIAN $name/etc/$name; echo x >$name/etc/$name/conf
{ printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: A <a@lab.test>\\n' $name
[ $name != rival ] || echo 'Conflicts: openssh-server'
echo 'Description: x'; } >$name/DEBIAN/control
printf '#!/bin/sh\\nsystemctl disable --now ssh\\n' >$name/DEBIAN/postinst
if [ $name = broken ]; then
echo 'systemctl mask ssh' >>$name/DEBIAN/postinst; cp $name/DEBIAN/postinst $name/DEBIAN/postrm
echo 'exit 1' >>$name/DEBIAN/postinst
fi
chmod 755 $name/DEBIAN/post*
dpkg-deb --build $name $name.deb >/dev/null
{ dpkg-deb --field $name.deb; echo Filename: $name.deb; stat -c 'Size: %s' $name.deb
sha256sum $name.deb | sed 's/^\\([0-9a-f]*\\).*/SHA256: \\1/'; echo; } >>Packages
done
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list; rm -rf /etc/apt/sources.list.d/*
"""

ALL: dict[str, Case] = {
    # The undo finds no room, or a disk that takes nothing for a while.
    "full": Case("sshd: {AllowUsers: lab@192.0.2.1}", before=FULL_LATER, after=EMPTY_LATER),
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
    "transient": on_change("systemd-run sh -c 'while :; do ip link set eth0 down; sleep 0.5; done'"),
    "killer": on_change("pkill -9 -f labrun/guard/undo; ip link set eth0 down"),
    "ours": on_change("systemctl stop 'labrun-guard*'; systemctl stop ssh"),
    "mac": on_change("ip link set eth0 address 02:00:00:00:99:99"),
    "bridge": on_change("ip link add br9 type bridge; ip link set eth0 master br9; ip link set br9 up"),
    # Harmless commands, taken back with what is not.
    "twin": Case(
        "sshd: {AllowUsers: lab@192.0.2.1}",
        files={
            "/etc/sysctl.d/70-own.conf": (
                "net.ipv4.ip_default_ttl = 61\n",
                "sysctl -p /etc/sysctl.d/70-own.conf",
            )
        },
    ),
    "ruleset": Case(
        "sshd: {AllowUsers: lab@192.0.2.1}",
        files={"/etc/nftables.conf": ("flush ruleset\ntable inet own {\n}\n", "systemctl restart nftables")},
    ),
    # Packages whose scripts do it, by their section and by a command.
    "package": Case("packages: [shut]", before=REPOSITORY),
    "halfway": Case("packages: [broken]", before=REPOSITORY),
    "replaced": Case("packages: [rival]", before=REPOSITORY),
    "dpkg": Case(
        files={"/etc/labrun-test.conf": ("x\n", "dpkg --install /srv/repo/shut.deb")}, before=REPOSITORY
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
    "slow": Case(
        "sshd: {AllowUsers: lab@192.0.2.1}", files={"/etc/labrun-test.conf": ("x\n", "sleep 1000 &")}
    ),
}
# One of each kind, for every run of the suite.
_ONE_OF_EACH = (
    *("full", "linkdown", "twin", "package", "autoconnect", "nmoff", "allow", "nftboot", "dbusstop", "arp"),
    "slow",
)
CASES = {name: ALL[name] for name in _ONE_OF_EACH}
"""Of these one of each kind, by the host's name."""
