# Install files after checking them. Values: kept patience. Needs files_put_back. Defines: keep put after bad.
bad=0
placed=' '
first_line() { printf '%s\n' "$1" | sed -n '/[^[:space:]]/{p;q}'; }
keep() {
path "$1"
if [ -e "$p" ]; then cp -p "$p" "$kept/$1"; else : >"$kept/$1.absent"; fi
}
failed() { echo "$p: $1$(first_line "$said")${2-}"; rm -f "$t"; bad=1; }
place() {
said=$({ chown "$3" "$t" && chmod "$2" "$t"; } 2>&1) || { failed ''; return 0; }
if [ -n "$4" ] && ! run "$4"
then said=$(printf '%s' "$said" | sed "$5"); failed 'validate: '; return 0
fi
mv -f "$t" "$p"
placed="$placed$1 "
}
# Write, check and move a file. Arguments: number, mode, owner, the command that checks it, sed for what that
# prints, and the content as `text` or `base64`.
put() {
path "$1"; beside
if said=$({ mkdir -p "${p%/*}/" && rm -f "$t" && umask 077 && written "$6" "$7" >"$t"; } 2>&1)
then place "$1" "$2" "$3" "$4" "$5"
else failed 'it cannot be written: '
fi
}
written() { if [ "$1" = text ]; then printf %s "$2"; else printf %s "$2" | base64 -d; fi; }
# Background processes of a command keep its output open: do not wait for them.
run() {
ended=0
timeout "$patience" sh -c "$1" >"$kept/said" 2>&1 </dev/null || ended=$?
said=$(head -c 65536 "$kept/said")
[ $ended -ne 124 ] || said="no answer in $patience s"
return $ended
}
after() {
command=$1; shift
mine=
for n; do case $placed in *" $n "*) mine="$mine $n";; esac; done
[ -n "$mine" ] || return 0
run "$command" && return 0
for n in $mine; do
if put_back "$n"; then failed 'on_change: ' '; the file was restored'
else failed 'on_change: ' '; the file could not be restored'; fi
done
}
rm -rf "$kept"
mkdir -p "$kept"
chmod 700 "$kept"
