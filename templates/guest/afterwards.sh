# A host's checks after a rollback: whether everything is as before, and whether labrun can log in again.
# Values: guard live on wide failing; the functions of snapshot.sh, compare.sh and put_back.sh, and of outside.sh if the
# change is wide.

# Print what differs from before, one line each.
differences() {
printf '%s' "$failing"
if [ "$on" = live ]; then
if [ -e "$guard/ip" ]; then
list_ip
while read -r differ_family differ_words; do
case "$differ_family $differ_words" in
tc*) echo "missing: tc $differ_words";;
*" route append "*) echo "missing: ip route add ${differ_words#route append }";;
*) echo "missing: ip $differ_words";;
esac
done <"$live/todo"
fi
if [ -e "$guard/nft" ]; then
nft_state >"$live/nft"; nft_difference "$guard/nft" "$live/nft" >"$live/todo"
[ ! -s "$live/todo" ] || echo "another nftables ruleset"
fi
if [ -e "$guard/kernel" ]; then
kernel_now >"$live/kernel"
kernel_difference "$guard/kernel" "$live/kernel" | while IFS= read -r differ_line; do
echo "${differ_line%%:*} was ${differ_line#*:} and is not"
done
fi
fi 2>/dev/null
[ -z "$wide" ] || { differences_outside; differences_hidden; }
}

# Print who listens where labrun had logged in; an sshd on another address of this host does not count.
way_listeners() {
ss -Hltn "sport = :$way_port" 2>/dev/null | while read -r way_state way_queue way_most way_local way_rest; do
way_local=${way_local%:*}
case "${way_local%%%*} ${way_server%%%*}" in
"* "* | "0.0.0.0 "*.* | "[::] "*:*) echo any;;
*) [ "${way_local%%%*}" != "${way_server%%%*}" ] && [ "${way_local%%%*}" != "[${way_server%%%*}]" ] || echo own;;
esac
done
}

# Check that labrun could log in as before: its address, a return route, sshd listening. If not, print why.
way_in() {
[ -s "$guard/way" ] || return 0
read -r way_client way_cport way_server way_port <"$guard/way"
[ -n "$way_port" ] || return 0
case $(ip -o address show up to "${way_server%%%*}" 2>/dev/null) in
"") echo "no link that is up has $way_server"; return 1;;
esac
case $way_client in
*%*) ;;
*)
ip route get "$way_client" from "$way_server" >/dev/null 2>&1 || { echo "there is no route to $way_client"; return 1; }
# A rule may be for connections of sshd alone. An ip that knows no ports fails with another status.
ip route get "$way_client" from "$way_server" ipproto 6 sport "$way_port" dport "$way_cport" >/dev/null 2>&1
[ $? -ne 2 ] || { echo "there is no route to $way_client for port $way_port"; return 1; };;
esac
if command -v ss >/dev/null && [ -z "$(way_listeners)" ]; then
echo "nothing listens on ${way_server%%%*} port $way_port"; return 1
fi
if [ -e "$guard/greets" ] && ! way_greets "${way_server%%%*}" "$way_port"; then
echo "sshd listens on ${way_server%%%*} port $way_port and does not answer"; return 1
fi
[ -d /run/sshd ] || mkdir -p /run/sshd
way_said=$(sshd -t 2>&1) || { echo "sshd does not accept its configuration: $way_said"; return 1; }
# Without it, NetworkManager cannot be asked and nobody can put it right from afar.
if [ -e "$guard/bus" ] && [ ! -S /run/dbus/system_bus_socket ]; then echo "the socket of D-Bus is gone"; return 1; fi
if [ -e /run/nologin ] || [ -e /etc/nologin ]; then echo "logins are refused by a nologin file"; return 1; fi
}

# The same, repeated for a while if commands have run, and for longer if something differs.
still_open() {
open_looks=0 open_most=1
[ ! -s "$guard/roots" ] || open_most=4
[ -z "$differ" ] || open_most=12
while way_in; do
open_looks=$((open_looks + 1))
[ $open_looks -lt $open_most ] || return 0
sleep 0.3
done
}
