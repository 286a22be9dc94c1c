# On a hypervisor: whether $own is one of its addresses, whether its kernel has VXLAN, and per peer of $peers
# the largest IP packet that gets there unfragmented, 0 for none. $header = bytes of IP's and ICMP's headers.
[ -n "$(ip -o address show to "$own")" ] && echo "address yes" || echo "address no"
unshare -n ip link add lrvtry type vxlan id 1 dstport 14789 2>/dev/null && echo "vxlan yes" || echo "vxlan no"
command -v ping >/dev/null || echo "ping no"
try() { ping -M "do" -c 1 -W 1 -I "$own" -s "$(($1 - header))" "$peer" >/dev/null 2>&1; }
# The first packet may be lost while the peer's MAC is not known.
fits() { try "$1" || try "$1"; }
for peer in $peers; do
    device=$(ip -o route get "$peer" from "$own" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
    high=$(ip -o link show dev "${device:-none}" 2>/dev/null | sed -n 's/.* mtu \([0-9]*\).*/\1/p')
    high=${high:-1500} low=576
    if fits "$high"; then
        low=$high
    elif fits "$low"; then
        while [ "$((high - low))" -gt 1 ]; do
            middle=$(((high + low) / 2))
            if fits "$middle"; then low=$middle; else high=$middle; fi
        done
    else
        low=0
    fi
    echo "peer $peer $low"
done
