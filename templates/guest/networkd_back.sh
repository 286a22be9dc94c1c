# Bring NICs back to the network file they had, and an MTU. Needs wait_for. Defines: back.
back() {
[ "$(cat "/sys/class/net/$1/mtu")" = "$3" ] || ip link set dev "$1" mtu "$3"
networkctl reconfigure "$1" || return
[ -z "$2" ] || wait_for "$1" "$2" && return 0
echo "$1 did not come up again"; return 1
}
