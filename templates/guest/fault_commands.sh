# What faults share: functions that print how to undo one, and nftables tables named `site`.
# Of settings that the manager of a device restores from its profile, with routes and metrics.
reapplied() {
if [ ! -h /run/systemd/units/invocation:NetworkManager.service ] && command -v networkctl >/dev/null; then
echo "networkctl reconfigure $1"; return
fi
uuid=$(nmcli -g GENERAL.CON-UUID device show "$1")
echo "nmcli -w 20 device reapply $1 >/dev/null 2>&1 || nmcli -w 20 connection up uuid $uuid >/dev/null"
}
sysctl_back() { echo "sysctl -qw $1=$(sysctl -n "$1")"; }
route_back() { ip "-$1" route show exact "$2" | sed "s,^,ip -$1 route add ,; s, *$, 2>/dev/null || :,"; }
# NetworkManager sets every NIC that it brings up to host mode, whatever it was before.
forwarding_back() {
key=/proc/sys/net/ipv6/conf/$1/forwarding
[ ! -e "$key" ] || echo "echo $(cat "$key") >$key"
}
# The kernel created these routes for the link-local address when the NIC first came up, and does not create them
# again for the address that NetworkManager adds. Use add, not replace: replace would take another NIC's route.
routes_back() {
ip -6 route show dev "$1" | sed "s,^,ip -6 route add ,; s, metric , dev $1 metric ,; s, *$, 2>/dev/null || :,"
}
# The table must not exist yet. The argument is its family.
table_back() {
! nft list table "$1" site >/dev/null 2>&1 || exit 1
echo "nft delete table $1 site 2>/dev/null || :"
}
# Print a base chain. Arguments: hook, priority, policy, rules.
chain() {
printf 'chain %.3s_site {\ntype filter hook %s priority %s; policy %s;\n' "$1" "$1" "$2" "$3"
shift 3
printf '%s\n' "$@" '}'
}
# Create the table. Arguments: family, its parts.
site() {
family=$1; shift
printf '%s\n' "table $family site {" "$@" '}' | nft -f -
}
