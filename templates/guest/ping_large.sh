# Find full-size packets that get lost although small ones do not. Needs trace.
: >"$tmp/large"
one() { ping -n -q -c 1 -W 1 "$@" >/dev/null 2>&1; }
large() {
[ "$tool" = ping ] || reached "$1" "$2" || return 0
one -M "do" -s "$3" "$2" && return 0
ping -n -c 2 -W 1 -i 0.3 -M "do" -s "$3" "$2" >"$tmp/$1.large" 2>&1
many=$?
[ $many -le 1 ] || return 0
grep -qi -e 'frag needed' -e 'too long' -e 'too big' "$tmp/$1.large" && return 0
# Of two that pass or get lost at random, one may have been lucky: a difference shows only in several.
small=0 big=0
[ $many = 1 ] || big=1
for k in 1 2 3 4; do
one "$2" && small=$((small + 1))
[ $small != 0 ] || [ "$k" != 2 ] || break
one -M "do" -s "$3" "$2" && big=$((big + 1))
done
case $small-$big in
0-0) echo "$1 echo";;
4-0) echo "$1 large";;
4-5) ;;
*) echo "$1 some";;
esac >>"$tmp/large"
}
