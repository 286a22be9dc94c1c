# Show once more how often IPsec has cost a packet, without a process. Needs frames.
if [ -r /proc/net/xfrm_stat ]; then
frame out ipsec-after
while read -r name count; do echo "$name $count"; done </proc/net/xfrm_stat
frame status ipsec-after 0
fi
