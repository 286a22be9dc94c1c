"""The scripts that plant a fault in a guest and undo it: nothing is left behind that was not there."""

from __future__ import annotations

from labrun.tasks.faults.model import Fault, Spot
from labrun.tasks.guest.shell import quote

__all__ = ["ABSENT", "DIFFERS", "FAILED", "PLANTED", "look_script", "mend_script", "plant_script"]

PLANTED, FAILED, ABSENT, DIFFERS = 64, 65, 66, 67
"""Exit statuses: one is planted already; could not be planted; none is; undone, and not as before."""

_FILES = """\
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
umask 077
d=/var/lib/labrun
"""

# What the host is in, as far as faults touch it; without counters, lifetimes and what only grows.
_SNAPSHOT = r"""
snapshot() {
ip -o link show | sed 's/ qlen.*//'
ip -o addr show | sed 's/ *valid_lft.*//; s/\\$//; s/ tentative//'
ip -4 route show table all | sort
ip -6 route show table all | sed 's/ expires [^ ]*//' | sort
ip -4 rule; ip -6 rule
ip neigh show nud permanent
nft -s list ruleset 2>/dev/null
sysctl -a -r '^net\.ipv[46]\.' 2>/dev/null | sort
for f in /etc/NetworkManager/system-connections/* /run/NetworkManager/system-connections/* \
/etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /etc/sysctl.d/*; do
[ -f "$f" ] && sha256sum "$f"
done
nmcli -t -f UUID,DEVICE,STATE connection show --active 2>/dev/null | sort
systemctl is-active ssh sshd 2>/dev/null
:
}
"""

_PLANT = """\
[ ! -e $d/fault.undo ] || exit {planted}
device() {{
for each in /sys/class/net/*/address; do
read -r mac <"$each" && [ "$mac" = "$1" ] && each=${{each%/address}} && echo "${{each##*/}}" && return 0
done
return 1
}}
{words}{devices}
undo() {{
set -e
{undo}
}}
plant() {{
set -e
{plant}
}}
mkdir -p $d || exit {failed}
snapshot >$d/.fault.before
( undo ) >$d/.fault.undo || {{ rm -f $d/.fault.*; exit {failed}; }}
base64 <$d/.fault.undo >$d/fault.undo
base64 <$d/.fault.before >$d/fault.before
( plant ) && {{ rm -f $d/.fault.*; exit 0; }}
sh $d/.fault.undo
rm -f $d/.fault.* $d/fault.*
exit {failed}
"""

_MEND = """\
[ -e $d/fault.undo ] || exit {absent}
base64 -d <$d/fault.undo >$d/.fault.undo || exit {failed}
sh -e $d/.fault.undo || {{ rm -f $d/.fault.undo; exit {failed}; }}
base64 -d <$d/fault.before >$d/.fault.before
# NetworkManager takes up to 8 s to give a NIC that came up its link-local address.
k=0
while snapshot >$d/.fault.now; ! cmp -s $d/.fault.before $d/.fault.now && [ $k -lt 60 ]; do
k=$((k + 1))
sleep 0.25
done
diff -U0 $d/.fault.before $d/.fault.now | grep '^[-+][^-+]'
same=$(cmp -s $d/.fault.before $d/.fault.now && echo yes)
rm -f $d/.fault.* $d/fault.undo $d/fault.before
[ "$same" = yes ] || exit {differs}
"""


def look_script() -> str:
    """Return the script that exits with :data:`PLANTED` where a fault is planted, else 0."""
    return f"{_FILES}[ ! -e $d/fault.undo ] || exit {PLANTED}\n"


def plant_script(fault: Fault, spot: Spot) -> str:
    """Return the script that plants a fault, having kept in the guest how to undo it."""
    words = "".join(f"{name}={quote(value)}\n" for name, value in spot.words.items())
    if fault.at == "source":
        devices = f"nic=$(device $own_mac) || exit {FAILED}\n"
    else:
        devices = f"in=$(device $in_mac) && out=$(device $out_mac) || exit {FAILED}\n"
    body = _PLANT.format(
        planted=PLANTED, failed=FAILED, words=words, devices=devices, undo=fault.undo, plant=fault.plant
    )
    return f"{_FILES}{_SNAPSHOT}{body}"


def mend_script() -> str:
    """Return the script that undoes what is planted, and says in which lines the host is not as before."""
    return f"{_FILES}{_SNAPSHOT}{_MEND.format(absent=ABSENT, failed=FAILED, differs=DIFFERS)}"
