# Send a full-size ping and full TCP segments to a host's sshd. Needs room. Values: segment_bytes. Defines: segment.
echoed() { ping -n -q -c 1 -W 1 "$@" >/dev/null 2>&1 || ping -n -q -c 2 -W 1 -i 0.3 "$@" >/dev/null 2>&1; }
# Print the largest payload that gets there, found by halving; lost if not even small pings do.
largest() {
command -v ping >/dev/null || { echo ping none; return; }
echoed "$1" || { echo ping lost; return; }
low=56 high=$2
echoed -M "do" -s "$2" "$1" && low=$2
while [ $((high - low)) -gt 1 ]; do
middle=$(((low + high) / 2))
if ping -n -q -c 2 -W 1 -i 0.3 -M "do" -s $middle "$1" >/dev/null 2>&1; then low=$middle; else high=$middle; fi
done
echo "ping $low"
}
# Without a newline the sshd goes on reading, and its kernel acknowledges each segment that arrives whole.
stream() {
for tool in nc ss; do command -v $tool >/dev/null || { echo "tcp none $tool"; return; }; done
printf "%0${segment_bytes}d" 0 | nc -n -v -w 10 "$2" "$3" >/dev/null 2>"$tmp/noise.segment.$1" &
sender=$!
tries=0 socket='' acked=0
while [ $tries -lt 20 ]; do
now=$(ss -H -t -i -n -p | grep -A 1 -F "pid=$sender," | tr '\n' ' ')
[ -z "$now" ] || socket=$now
case $now in *bytes_acked:*) acked=${now##*bytes_acked:} acked=${acked%%[!0-9]*};; esac
[ "$acked" -lt "$segment_bytes" ] || break
kill -0 "$sender" 2>/dev/null || { echo tcp ended; break; }
sleep 0.2 2>/dev/null || sleep 1
tries=$((tries + 1))
done
kill "$sender" 2>/dev/null
echo "tcp socket $socket"
head -c 400 "$tmp/noise.segment.$1"
}
segment() { { largest "$2" "$4"; stream "$1" "$2" "$3"; } >"$tmp/segment.$1" 2>&1; }
