# Probe the missing hops again. Needs trace; `holes` probes all paths once.
asks=8 heard=0
missing() {
seen=' ' holes=
while read -r ttl who rest; do
case $ttl in ''|*[!0-9]*) continue;; esac
[ "$who" = '*' ] || seen="$seen$ttl "
[ "$who" = "$2" ] || continue
k=1
while [ "$k" -lt "$ttl" ]; do
case $seen in *" $k "*) ;; *) holes="$holes $k";; esac
k=$((k + 1))
done
break
done <"$tmp/$1"
}
again() {
how=
[ "$3" != echo ] || how=-I
missing "$1" "$2"
for hole in $holes; do
[ $asks -gt 0 ] || return 0
asks=$((asks - 1))
sleep 1
said=$(traceroute $how -n -q 1 -w 1 -N 1 -f "$hole" -m "$hole" "$2" 2>&1)
printf 'by again
%s
' "$said" >>"$tmp/$1"
case $said in *'*'*) ;; *) heard=1;; esac
done
}
in_rounds() {
for round in 1 2; do
[ "$tool" = traceroute ] || break
[ "$round" = 1 ] || [ "$heard" = 1 ] || break
holes
done
}
