# Undo the fault, and print the lines in which the host differs from before. Values: failed absent differs solved.
[ -e "$d"/fault.undo ] || exit "$absent"
base64 -d <"$d"/fault.undo >"$d"/.fault.undo || exit "$failed"
base64 -d <"$d"/fault.before >"$d"/.fault.before
snapshot >"$d"/.fault.now
by_hand=$(cmp -s "$d"/.fault.before "$d"/.fault.now && echo yes)
# Also where nothing seems to be left: the snapshot does not show all that a fault may have set.
sh -e "$d"/.fault.undo || { rm -f "$d"/.fault.undo; exit "$failed"; }
# NetworkManager takes up to 8 s to assign the link-local address after a NIC came up.
k=0
while snapshot >"$d"/.fault.now; ! cmp -s "$d"/.fault.before "$d"/.fault.now && [ $k -lt 60 ]; do
k=$((k + 1))
sleep 0.25
done
diff -U0 "$d"/.fault.before "$d"/.fault.now | grep '^[-+][^-+]'
same=$(cmp -s "$d"/.fault.before "$d"/.fault.now && echo yes)
rm -f "$d"/.fault.* "$d"/fault.undo "$d"/fault.before
[ "$same" = yes ] || exit "$differs"
[ "$by_hand" != yes ] || exit "$solved"
