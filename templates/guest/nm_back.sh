# Bring NICs back to a profile and an MTU. Defines: back bad.
# NetworkManager's checkpoint restores the active profiles, also those that were never in a file; without it,
# profiles that are down are brought up here. It returns before they are active.
back() {
[ ! -e "/sys/class/net/$1" ] || [ "$(cat /sys/class/net/"$1"/mtu)" = "$3" ] || ip link set dev "$1" mtu "$3"
if [ -z "$2" ]; then
case $(nmcli --get-values GENERAL.STATE device show "$1") in
100*) nmcli device disconnect "$1";;
esac
return
fi
if [ "$(nmcli --get-values GENERAL.CON-UUID device show "$1")" != "$2" ]; then
# A VLAN's device is made by its profile.
if [ -e "/sys/class/net/$1" ]; then nmcli --wait 20 connection up uuid "$2" ifname "$1"
else nmcli --wait 20 connection up uuid "$2"
fi || return
fi
n=0
while [ $n -lt 50 ]; do
case $(nmcli --get-values GENERAL.STATE device show "$1") in 100*) return ;; esac
n=$((n + 1)); sleep 0.2
done
echo "$1 did not come up again"; return 1
}
bad=0
