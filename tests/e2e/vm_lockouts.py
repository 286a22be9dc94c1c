"""Changes that would close the way into a machine with a kernel, a disk and a boot loader of its own.

``CASES`` maps a name to what a lab file says of a VM. Whatever it is, labrun gets in afterwards, also after a
restart, and the machine is as declared or as it was before.
"""

from __future__ import annotations

from tests.e2e.lockouts import Case, on_change, only_file

__all__ = ["CASES", "STATE"]

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

_FSTAB = "/etc/fstab"

CASES: dict[str, Case] = {
    # What the boot mounts.
    "othertype": only_file(_FSTAB, "/dev/vda3 /srv/data vfat defaults 0 0\n"),
    # The kernel and what it starts with.
    "cutinitrd": on_change("f=$(readlink -f /initrd.img); truncate -s 100k $f"),
    # Drivers.
    "badparameter": only_file("/etc/modprobe.d/x.conf", "options virtio_net napi_tx=rubbish\n"),
    "linkmac": only_file(
        "/etc/systemd/network/10-x.link",
        "[Match]\nOriginalName=eth*\n[Link]\nMACAddressPolicy=none\nMACAddress=02:00:00:00:00:99\n",
    ),
    "nomodulesboot": only_file("/etc/sysctl.d/10-x.conf", "kernel.modules_disabled = 1\n"),
    "firstboot": Case(
        files={"/etc/labrun-test.conf": ("x\n", "echo uninitialized >/etc/machine-id")}, stays=True
    ),
    # What a first boot would do is not done again on machines that labrun has made.
    "cloudclean": Case(
        files={
            "/etc/cloud/cloud.cfg.d/99-x.cfg": (
                "network: {version: 2, ethernets: {eth0: {addresses: [10.99.0.9/24]}}}\n",
                "rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data",
            )
        },
        stays=True,
    ),
}
