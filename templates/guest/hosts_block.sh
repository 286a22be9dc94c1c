# Replace lines of a hosts file. Values: path block, before (the lines kept ahead of it), resumed (those up to its end).
# The other lines never leave the guest: they may be in any encoding.
temporary=${path%/*}/.${path##*/}.labrun
[ -e "$path" ] || : >"$path"
{ awk "NR <= $before" "$path"; printf '%s\n' "$block"; awk "NR > $resumed" "$path"; } >"$temporary"
chmod 0644 "$temporary"
mv -f "$temporary" "$path"
