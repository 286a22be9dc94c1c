# Begin to look for others that claim this host's addresses. Values: claims, and the MACs as words. Sets: claims_in.
if command -v python3 >/dev/null && claims_in=$(mktemp); then
python3 -I -c "$claims" "$@" >"$claims_in" 2>/dev/null &
fi
