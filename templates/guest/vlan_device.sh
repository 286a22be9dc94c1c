# Make and remove the device of a VLAN. Defines: vlan_make vlan_gone.
# The manager of the NICs finds it made, and makes it itself at the next boot. Arguments: the NIC's name in the lab, the
# device, the NIC below it, tag, MAC.
vlan_make() {
vlan_said=$(ip link add link "$3" name "$2" address "$5" type vlan id "$4" 2>&1) && return 0
echo "$1: ip link add $2: $vlan_said"; return 1
}
# ifupdown goes on taking it for up.
vlan_gone() {
ip link del dev "$1" 2>/dev/null
for vlan_up in /run/network/ifstate /run/ifstate; do
[ ! -f "$vlan_up" ] || sed -i -e "/^$1=/d" -e "/^$1 /d" -e "/^$1\$/d" "$vlan_up"
done
}
