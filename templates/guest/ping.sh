# Ping hosts, each once or twice. Needs trace.
touch "$tmp/pings"
knock() { ping -n -q -c "$1" -W 1 -i 0.3 "$3" >/dev/null 2>&1 && echo "$2" >>"$tmp/pings"; }
ping_twice() { knock 1 "$1" "$2" || knock 2 "$1" "$2"; }
ping_once() { knock 1 "$1" "$2"; }
