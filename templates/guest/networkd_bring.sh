# Have systemd-networkd set NICs by their network files, and wait for it. Defines: bring wait_for bad.
# `reload` takes over the files that have changed, `reconfigure` sets a NIC again whose file has not. Either may take
# away an address for less than a millisecond, which no session notices.
wait_for() {
read -r link_index <"/sys/class/net/$1/ifindex" || return 1
wait_round=0
while :; do
link_state='' link_file=''
while IFS='=' read -r link_key link_value; do
case $link_key in ADMIN_STATE) link_state=$link_value;; NETWORK_FILE) link_file=$link_value;; esac
done <"/run/systemd/netif/links/$link_index"
[ "$link_state $link_file" != "configured $2" ] || return 0
wait_round=$((wait_round + 1)); [ $wait_round -lt 50 ] || break
sleep 0.2
done
# It may go on waiting for a lease or a router, with what matters in place: the next gather tells.
[ "$link_state $link_file" = "configuring $2" ]
} 2>/dev/null
bring() {
[ -z "$3" ] || networkctl reconfigure "$1" || return
wait_for "$1" "$2" && return 0
echo "$4: $1 did not come up: systemd-networkd has it $link_state by ${link_file:-no file}"; return 1
}
bad=0
