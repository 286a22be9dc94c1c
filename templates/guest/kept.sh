# Undo without a guard, over the session that made the change, with copies in memory. Values: kept, and the
# function number_of, which calls `position` with its argument and all paths.
on=live guard=/nonexistent live=$kept
roll_back() { :; }
position() {
position_of=$1; shift
number=0
for position_each; do
[ "$position_each" != "$position_of" ] || return 0
number=$((number + 1))
done
number=none
}
keep() {
rm -rf "$kept"
mkdir -m 700 "$kept"
for keep_path; do
number_of "$keep_path"
if [ -e "$keep_path" ] || [ -L "$keep_path" ]; then cp -a "$keep_path" "$kept/$number"; else : >"$kept/$number.absent"; fi
done
}
restore() {
number_of "$1"
if [ -e "$kept/$number.absent" ]; then rm -f "$1"
elif [ -e "$kept/$number" ] || [ -L "$kept/$number" ]; then cp -a "$kept/$number" "${1%/*}/.labrun-restored" && mv -fT "${1%/*}/.labrun-restored" "$1"
fi
}
