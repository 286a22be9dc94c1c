# Take back what is left of a network that libvirt has begun to start and calls inactive: its rules and its bridge.
# Nothing is done where the bridge is somebody else's. Values: bridge, mac, subnets (separated by spaces).
set -u
ip -o link show dev "$bridge" 2>/dev/null | grep -qiF "link/ether $mac" || exit 0
of_it="(-[io] $bridge"
for subnet in $subnets; do of_it="$of_it|-[sd] $subnet"; done
of_it="$of_it)( |\$)"
for program in iptables ip6tables; do
    command -v "$program" >/dev/null || continue
    for table in filter nat mangle; do
        "$program" -w -t "$table" -S 2>/dev/null | grep -E -- "^-A LIBVIRT_.* $of_it" | while read -r rule; do
            eval "$program -w -t $table -D ${rule#-A }"
        done
    done
done
ip link delete "$bridge" type bridge
