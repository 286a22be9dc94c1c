# Plant a fault after saving its undo. Values: failed. Needs fault_state and the functions `undo` and `plant`.
mkdir -p "$d" || exit "$failed"
snapshot >"$d"/.fault.before
( undo ) >"$d"/.fault.undo || { rm -f "$d"/.fault.*; exit "$failed"; }
base64 <"$d"/.fault.undo >"$d"/fault.undo
base64 <"$d"/.fault.before >"$d"/fault.before
( plant ) && { rm -f "$d"/.fault.*; exit 0; }
sh "$d"/.fault.undo
rm -f "$d"/.fault.* "$d"/fault.*
exit "$failed"
