# Find full-size packets that get lost although small ones do not. Needs trace.
: >"$tmp/large"
large() {
[ "$tool" = ping ] || reached "$1" "$2" || return 0
ping -n -q -c 1 -W 1 -M "do" -s "$3" "$2" >/dev/null 2>&1 && return 0
ping -n -c 2 -W 1 -i 0.3 -M "do" -s "$3" "$2" >"$tmp/$1.large" 2>&1
[ $? = 1 ] || return 0
grep -qi -e 'frag needed' -e 'too long' -e 'too big' "$tmp/$1.large" && return 0
ping -n -q -c 1 -W 1 "$2" >/dev/null 2>&1 && echo "$1 large" >>"$tmp/large" || echo "$1 echo" >>"$tmp/large"
}
