# Try what the lab file checks, one function per kind. Values: no_way no_tool small_lost exec_seconds most.
try() {
n=$1; shift
"$@" >"$tmp/check.$n" 2>"$tmp/noise.$n" </dev/null
echo $? >"$tmp/status.$n"
}
given() { cat "$tmp/check.$1"; cat "$tmp/noise.$1" >&2; return "$(cat "$tmp/status.$1")"; }
need() { command -v "$1" >/dev/null || { echo "$1"; return 1; }; }
way() { ip route get "$1" >/dev/null; }
last() { printf '%s\n' "$(tail -n 1 "$1" | head -c 4096)"; }
# Print the beginning of a file, and say on stderr if that is not all.
first() {
head -c "$most" "$1"
[ "$(wc -c <"$1")" -le "$most" ] || echo "cut at $most bytes" >&2
}
try_ping() {
need ping || return "$no_tool"
way "$1" || return "$no_way"
ping -n -q -c 1 -W 1 "$1" >/dev/null 2>&1 || ping -n -c 2 -W 1 -i 0.3 "$1"
}
try_tcp() {
need nc || return "$no_tool"
way "$1" || return "$no_way"
nc -n -z -v -w 3 "$1" "$2"
}
try_udp() {
need nc || return "$no_tool"
way "$1" || return "$no_way"
nc -n -u -z -v -w 1 "$1" "$2" || return 1
heard=$(printf 'labrun\n' | nc -n -u -w 2 -W 1 "$1" "$2" | head -c 1 | wc -c)
[ "$heard" != 0 ] || nc -n -u -z -v -w 1 "$1" "$2" || return 1
echo "$heard"
}
try_http() {
need curl || return "$no_tool"
[ -z "$1" ] || way "$1" || return "$no_way"
said=$(curl -q -sS -v -g --noproxy '*' --connect-timeout 3 -m 8 -o "$tmp/body.$n" \
-w '%{http_code} %{time_connect}' "$2" 2>"$tmp/err.$n")
code=$?
printf '%s\n' "$said"
grep -e ' fail: ' -e ' failed: ' "$tmp/err.$n" >"$tmp/fail.$n" || grep '^curl: ' "$tmp/err.$n" >"$tmp/fail.$n"
last "$tmp/fail.$n"
[ ! -e "$tmp/body.$n" ] || first "$tmp/body.$n"
return $code
}
try_names() {
need getent || return "$no_tool"
getent ahosts "$1"
}
try_dns() {
need nc || return "$no_tool"
way "$1" || return "$no_way"
nc -n -u -z -v -w 1 "$1" 53 || return 1
# shellcheck disable=SC2059 # octal escapes, made by labrun
printf "$2" | nc -n -u -w 3 -W 1 "$1" 53 | od -An -v -tx1
}
try_exec() {
set -- timeout -k 2 "$exec_seconds" sh -c "$1"
[ -z "$SUDO_USER" ] || [ "$SUDO_USER" = root ] || set -- runuser -u "$SUDO_USER" -- "$@"
# The rest is read, too: the command would be killed by SIGPIPE.
{ "$@" 2>"$tmp/err.$n"; echo $? >"$tmp/code.$n"; } | { head -c $((most + 1)) >"$tmp/out.$n"; cat >/dev/null; }
last "$tmp/err.$n"
first "$tmp/out.$n"
return "$(cat "$tmp/code.$n")"
}
try_sysctl() {
need sysctl || return "$no_tool"
for key; do value=$(sysctl -n "$key" 2>/dev/null) && printf '%s %s\n' "$key" "$value"; done
return 0
}
try_sshd() {
need sshd || return "$no_tool"
sshd -T
}
try_mtu() {
need ping || return "$no_tool"
way "$1" || return "$no_way"
ping -n -q -c 1 -W 1 "$1" >/dev/null 2>&1 || ping -n -q -c 2 -W 1 -i 0.3 "$1" || return "$small_lost"
ping -n -c 1 -W 1 -M "do" -s "$2" "$1" || ping -n -c 2 -W 1 -i 0.3 -M "do" -s "$2" "$1"
}
