"""Changes that would close the way into a machine with a kernel, a disk and a boot loader of its own.

``CASES`` maps a name to what a lab file says of a VM. Whatever it is, labrun gets in afterwards, also after a
restart, and the machine is as declared or as it was before.
"""

from __future__ import annotations

import json

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["CASES", "LOST", "STATE"]

# Everything about a machine that a change may touch and that a restart leaves as it is, by other commands
# than labrun's own.
STATE = r"""
export LC_ALL=C
ip -o link show | sed 's/@[^:]*//; s/ state .*//; s/^[0-9]*: //; s/,LOWER_UP//' | sort
ip -o address show | sed 's/ *valid_lft.*//; s/ tentative//; s/ dynamic//' |
awk '{$1 = ""; print}' | sort
ip route show table all | grep -vE '^(multicast|anycast|broadcast|ff00|fe80)|table local' |
sed 's/ *$//' | sort
ip rule show; ip -6 rule show; nft -s list ruleset
cd /etc
find . '(' -path ./.pwd.lock -o -path ./resolv.conf -o -path ./adjtime ')' -prune -o -type f -print0 |
sort -z | xargs -0 sha256sum
find . -printf '%p %y %m %U:%G %l\n' | grep -vE ' d |^./adjtime ' | sort
find /root/.ssh /home/lab/.ssh /boot /initrd.img /vmlinuz -type f -print0 | sort -z | xargs -0 sha256sum
find /boot /initrd.img /vmlinuz -printf '%p %y %m %l\n' | sort
stat -c '%n %a %u' / /etc /home /home/lab /home/lab/.ssh /usr/sbin/sshd /boot
awk '$2 == "/" {print $1, $2, $3, substr($4, 1, 2)}' /proc/mounts; swapon --show
for unit in NetworkManager ssh dbus systemd-udevd systemd-logind nftables; do
echo "$unit $(systemctl is-active $unit) $(systemctl is-enabled $unit)"
done
systemctl get-default
grep -rsm1 '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/panic |
sort
nmcli -t -f NAME,DEVICE,STATE connection show --active | grep -v :lo: | sort
sshd -T | sort
find / -xdev '(' -name '.labrun-*' -o -name '*labrun-guard*' ')' -not -path '/proc/*'
ls -A /var/lib/labrun | grep -vE 'rolled-back|applied.json|^(files|begun)$'
"""

_GRUB = "/boot/grub/grub.cfg"
_FSTAB = "/etc/fstab"


def _executable(path: str, content: str) -> Case:
    return Case(f"files: {{{path}: {{mode: '0755', content: {json.dumps(content)}}}}}")


CASES: dict[str, Case] = {
    # What the boot mounts.
    "absent": only_file(_FSTAB, "/dev/vdz1 /srv/data ext4 defaults 0 2\n"),
    "absentnofail": Case(
        files={_FSTAB: ("/dev/vdz1 /srv/data ext4 nofail,x-systemd.device-timeout=2 0 0\n", None)},
        stays=True,
    ),
    "badoption": only_file(_FSTAB, "/dev/vda3 /srv/data ext4 rubbish 0 0\n"),
    "othertype": only_file(_FSTAB, "/dev/vda3 /srv/data vfat defaults 0 0\n"),
    "bindnowhere": only_file(_FSTAB, "/nowhere /srv/data none bind 0 0\n"),
    # The boot loader, the kernel and what it starts with.
    "badroot": on_change(f"sed -i 's/root=LABEL=[^ ]*/root=LABEL=nowhere/' {_GRUB}"),
    "badinit": on_change(f"sed -i 's/ quiet/ quiet init=\\/nowhere/' {_GRUB}"),
    "single": on_change(f"sed -i 's/ quiet/ quiet systemd.unit=rescue.target/' {_GRUB}"),
    "grubgone": on_change(f"rm {_GRUB}"),
    "kernelgone": on_change("rm /vmlinuz"),
    "noblock": on_change(
        "d=$(mktemp -d /srv/XXXXXX); cd $d; echo '#!/bin/sh' >init; chmod 755 init;"
        " echo init | cpio -o -H newc | gzip >/boot/.new; mv /boot/.new $(readlink -f /initrd.img)"
    ),
    "emptyinitrd": on_change("echo x >/boot/.new; mv /boot/.new $(readlink -f /initrd.img)"),
    "cutkernel": on_change("truncate -s 1M $(readlink -f /vmlinuz)"),
    "nokernel": on_change("echo x >/boot/.new; mv /boot/.new $(readlink -f /vmlinuz)"),
    "cutinitrd": on_change("f=$(readlink -f /initrd.img); truncate -s 100k $f"),
    "relabel": on_change("e2label /dev/vda3 other"),
    # Drivers, and what names and keeps devices.
    "nodriver": only_file("/etc/modprobe.d/x.conf", "install virtio_net /bin/false\n"),
    "blacklist": only_file("/etc/modprobe.d/x.conf", "blacklist virtio_net\nblacklist net_failover\n"),
    "badparameter": only_file("/etc/modprobe.d/x.conf", "options virtio_net napi_tx=rubbish\n"),
    "noudev": on_change(
        "systemctl mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket"
    ),
    "notrigger": on_change("systemctl mask systemd-udev-trigger.service"),
    "udevunmanaged": only_file("/etc/udev/rules.d/99-x.rules", 'SUBSYSTEM=="net", ENV{NM_UNMANAGED}="1"\n'),
    "udevrun": only_file(
        "/etc/udev/rules.d/99-x.rules",
        'SUBSYSTEM=="net", ACTION=="add", KERNEL=="eth0", RUN+="/sbin/ip link set eth0 mtu 68"\n',
    ),
    "udevname": only_file(
        "/etc/udev/rules.d/70-x.rules", 'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", NAME="lan0"\n'
    ),
    "linkmac": only_file(
        "/etc/systemd/network/10-x.link",
        "[Match]\nOriginalName=eth*\n[Link]\nMACAddressPolicy=none\nMACAddress=02:00:00:00:00:99\n",
    ),
    "linkname": only_file(
        "/etc/systemd/network/10-x.link", "[Match]\nOriginalName=eth*\n[Link]\nName=lan0\n"
    ),
    "unbind": on_change(
        "cd /sys/bus/virtio/drivers/virtio_net; for each in virtio*; do echo $each >unbind; done"
    ),
    "unload": on_change("modprobe -r virtio_net"),
    "unplug": on_change("echo 1 >$(readlink -f /sys/class/net/eth0/device/..)/remove"),
    "nomodules": on_change("sysctl -w kernel.modules_disabled=1; systemctl stop ssh"),
    "nomodulesboot": only_file("/etc/sysctl.d/10-x.conf", "kernel.modules_disabled = 1\n"),
    # The kernel itself.
    "readonly": on_change("systemctl stop ssh; echo u >/proc/sysrq-trigger; sleep 2"),
    "crash": on_change("systemctl stop ssh; echo c >/proc/sysrq-trigger"),
    "reboot": on_change("systemctl mask ssh; reboot -f"),
    "hardreboot": on_change("systemctl mask ssh; sync; echo b >/proc/sysrq-trigger"),
    "clock": on_change("date -s 2001-02-03; hwclock -w; systemctl stop ssh"),
    "clockahead": on_change("date -s 2099-02-03; systemctl stop ssh"),
    "diskfull": on_change("dd if=/dev/zero of=/srv/filler bs=1M; systemctl stop ssh; sync"),
    "noinodes": on_change("cd /srv; mkdir i; cd i; seq 1 400000 | xargs touch; systemctl stop ssh"),
    "swapoff": on_change("sysctl -w vm.min_free_kbytes=200000 vm.overcommit_memory=2 vm.overcommit_ratio=1"),
    # Filters and devices that the kernel of a container may not have.
    "bondport": on_change(
        "modprobe bonding max_bonds=0; ip link add bo9 type bond mode active-backup; ip link set eth0 down;"
        " ip link set eth0 master bo9; ip link set bo9 up"
    ),
    "vlan": on_change(
        "ip link add link eth0 name eth0.9 type vlan id 9; a=$(ip -o -4 addr show eth0 | awk '{print $4}');"
        " ip addr del $a dev eth0; ip addr add $a dev eth0.9; ip link set eth0.9 up"
    ),
    "vrf": on_change("ip link add vrf9 type vrf table 99; ip link set vrf9 up; ip link set eth0 master vrf9"),
    "netem": on_change("modprobe sch_netem; tc qdisc replace dev eth0 root netem loss 100%"),
    "tcdrop": on_change(
        "tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress matchall action drop ||"
        " tc filter add dev eth0 ingress protocol all u32 match u32 0 0 action drop"
    ),
    "macsec": on_change(
        "ip link add link eth0 ms9 type macsec encrypt on; a=$(ip -o -4 addr show eth0 | awk '{print $4}');"
        " ip addr del $a dev eth0; ip addr add $a dev ms9; ip link set ms9 up"
    ),
    # The first boot once more, and units of the boot that a container has not.
    "cloudclean": Case(
        files={
            "/etc/cloud/cloud.cfg.d/99-x.cfg": (
                "network: {version: 2, ethernets: {eth0: {addresses: [10.99.0.9/24]}}}\n",
                "rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data",
            )
        }
    ),
    "firstboot": on_change("echo uninitialized >/etc/machine-id"),
    "localfs": on_change("systemctl mask local-fs.target"),
    "rescue": on_change("systemctl set-default rescue.target"),
    "nodbus": on_change("systemctl mask dbus.service dbus.socket systemd-logind.service"),
    "sysinitrival": only_file(
        "/etc/systemd/system/sysinit.target.d/x.conf", "[Unit]\nConflicts=multi-user.target\n"
    ),
    "ifnames": on_change(f"sed -i 's/net.ifnames=0/net.ifnames=1/' {_GRUB}"),
}
LOST: dict[str, Case] = {}
"""What still ends without a way in; docs/safe-changes.md says so of each."""
