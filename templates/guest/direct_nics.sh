# Put an Ethernet device in front of every macvlan: libvirt makes those for NICs on macvtap networks, and
# NetworkManager's profiles of Ethernet do not fit them. The macvlan goes into a network namespace of its own,
# a veth pair takes its name, MAC and MTU, and each end sends on what the other receives.
set -eu
wire=labrun-direct
redirect() {
    ip netns exec "$wire" tc qdisc add dev "$1" clsact
    ip netns exec "$wire" tc filter add dev "$1" ingress protocol all u32 match u32 0 0 \
        action mirred egress redirect dev "$2"
}
for name in $(ip -o link show type macvlan | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
    mac=$(cat "/sys/class/net/$name/address") mtu=$(cat "/sys/class/net/$name/mtu")
    ip netns add "$wire" 2>/dev/null || ip netns exec "$wire" true
    ip link set "$name" netns "$wire"
    ip link add "$name" address "$mac" mtu "$mtu" type veth peer name "to-$name" mtu "$mtu" netns "$wire"
    # A macvlan passes only the multicast of its own groups, and the groups are joined on the veth.
    ip netns exec "$wire" ip link set "$name" allmulticast on up
    ip netns exec "$wire" ip link set "to-$name" up
    redirect "$name" "to-$name"
    redirect "to-$name" "$name"
done
