# Have ifupdown set NICs by their stanzas. Defines: bring bad.
# No `ifdown`: it takes the link down, and it goes by the new stanza. The addresses are away for a moment, which a
# session outlasts.
bring() {
# A DHCP client that an earlier stanza has started would go on beside the new one.
for bring_pid in "/run/dhclient.$1.pid" "/run/dhclient6.$1.pid" "/run/udhcpc.$1.pid" "/run/dhcpcd-$1.pid" "/run/dhcpcd/$1.pid"; do
[ ! -s "$bring_pid" ] || { read -r bring_id <"$bring_pid" && kill "$bring_id"; rm -f "$bring_pid"; } 2>/dev/null
done
# An address by a router's advertisement must not come back before the stanza says whether it may.
echo 0 >"/proc/sys/net/ipv6/conf/$1/accept_ra" 2>/dev/null || :
ip address flush dev "$1" scope global
# What an advertisement has said of the subnet stays behind.
ip -6 route show dev "$1" | while read -r bring_prefix bring_rest; do
case $bring_prefix in fe80:* | ff00:*) ;; *) ip -6 route del "$bring_prefix" dev "$1" 2>/dev/null || :;; esac
done
# The kernel asks routers to announce themselves when the link comes up.
[ -z "$4" ] || ip link set dev "$1" down
[ -z "$3" ] || ip link set dev "$1" mtu "$3"
bring_said=$(ifup --force "$1" 2>&1 </dev/null) && return 0
echo "$2: ifup $1: $(printf '%s\n' "$bring_said" | sed '/./h;$!d;g')"; return 1
}
bad=0
