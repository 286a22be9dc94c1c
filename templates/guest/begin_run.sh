# Begin a run's change on this host, once: the folder is made by the first attempt, and any other ends here.
# Values: run attempt begun. Needs frames. Where it cannot be made, no attempt is held back: a full disk has a guard.
if ! mkdir -p "$begun" 2>/dev/null || ! mkdir "$begun/$run" 2>/dev/null; then
if [ -d "$begun/$run" ]; then
read -r begun_by <"$begun/$run/attempt"
frame attempt-taken "${begun_by:-unknown}"; frame end; exit 0
fi 2>/dev/null
else
echo "$attempt" >"$begun/$run/attempt"
# Named by the time: the first ones are the oldest.
( set -- "$begun"/*; while [ $# -gt 20 ]; do rm -rf "$1"; shift; done )
fi 2>/dev/null
