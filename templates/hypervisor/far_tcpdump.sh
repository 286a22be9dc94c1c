# Run tcpdump until this shell's input ends: no signal gets through ssh, and it writes what it has only when it is told to
# end. The last line is one, since the shell reads its script from that input. Value: command.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
command -v tcpdump >/dev/null || { echo "tcpdump is not installed there" >&2; exit 1; }
exec 3<&0
eval "exec $command" 3<&- </dev/null &
pid=$!
(cat <&3; kill -TERM $pid) >/dev/null 2>&1 &
wait $pid; exit $?
