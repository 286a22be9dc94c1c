# Begin to look for others that claim this host's addresses. Values: claims, and the MACs as words. Sets: claims_in. Needs room.
if command -v python3 >/dev/null; then
claims_in=$tmp/claims
python3 -I -c "$claims" "$@" >"$claims_in" 2>/dev/null &
fi
