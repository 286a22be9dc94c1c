# Replace lines of a hosts file. Values: path block, before (the lines kept ahead of it), resumed (those up to its end).
# The other lines never leave the guest: they may be in any encoding.
temporary=${path%/*}/.${path##*/}.labrun
[ -e "$path" ] || : >"$path"
if [ -e "$temporary" ] || [ -L "$temporary" ]; then rm -f "$temporary"; fi
( umask 022
block=$block awk "
function put() { if (!done++) print ENVIRON[\"block\"] }
NR == $before + 1 { put() }
NR <= $before || NR > $resumed
END { put() }" "$path" >"$temporary" )
mv -f "$temporary" "$path"
