# Trace paths in the background, each into a separate file. Needs room. Defines: tool reached by_ping trace.
tool=ping
command -v tracepath >/dev/null && tool=tracepath
command -v traceroute >/dev/null && tool=traceroute
# A mark such as !X is an error of the target's own: it refused the probe.
reached() { grep -F "  $2  " "$tmp/$1" | grep -qv '!'; }
by_ping() {
k=$3
while [ "$k" -le "$4" ]; do
echo "ttl $k"
ping -n -c 1 -W 1 -t "$k" "$2" | grep -i -e 'bytes from' -e 'exceeded' -e 'unreachable' >"$tmp/$1.ping"
cat "$tmp/$1.ping"
grep -q 'bytes from' "$tmp/$1.ping" && break
k=$((k + 1))
done
}
trace() {
{
if [ $tool = ping ]; then
echo by ping
by_ping "$1" "$2" 1 $(($3 + 2))
elif [ $tool = tracepath ]; then
echo by tracepath
timeout $(($3 + 4)) tracepath -n -m "$3" "$2"
elif [ "$4" = echo ]; then
echo by echo
traceroute -I -n -q 1 -w 1 -N $(($3 + 2)) -m $(($3 + 2)) "$2"
else
echo by udp
traceroute -n -q 1 -w 1 -N "$3" -m "$3" "$2"
fi
} >"$tmp/$1" 2>&1
[ $tool = ping ] || reached "$1" "$2" || {
if [ $tool = tracepath ]; then
echo by ping
by_ping "$1" "$2" 1 $(($3 + 2))
return
fi
[ "$4" = echo ] && echo by echo || echo by icmp
traceroute -I -n -q 1 -w 1 -N $(($3 + 2)) -m $(($3 + 2)) "$2"
} >>"$tmp/$1" 2>&1
}
