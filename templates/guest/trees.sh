# Folders of files: listed before a change, compared and restored after it, from the copies in .labrun-tree.
# Sourced like snapshot.sh. $guard is the guard's directory, $live the one in memory.

# List everything below a folder, one line each, with mere change times last. NetworkManager manages
# resolv.conf. What starts the guard at the next boot, by systemd or OpenRC, stays until the guard has ended. A name
# with a newline or tab would be parsed as two, so such files are left as they are.
tree_list() {
tree_odd=$(printf '\n\t.')
find . -mindepth 1 '(' -name "*[${tree_odd%.}]*" -o -name .labrun-tree -o -name .labrun-kept -o -name 'labrun-guard.service' \
-o -path ./init.d/labrun-guard -o -path './runlevels/*/labrun-guard' -o -path ./.pwd.lock -o -path ./resolv.conf ')' \
-prune -o -type d -printf '%p\t%y %m %U:%G\t\n' -o -printf '%p\t%y %m %U:%G %s %T@ %l\t%C@\n' | LC_ALL=C sort
}

# Print `put PATH` for missing or changed files, `rm PATH` for new ones; with "sure" as third argument
# only the content counts, not the change time.
tree_difference() {
awk -F '\t' -v sure="${3-}" '
FILENAME == ARGV[1] { old[$1] = $2; touched[$1] = $3; order[++n] = $1; next }
{ now[$1] = 1; if (!($1 in old)) print "rm " $1
  else if (old[$1] != $2) print "put " $1
  else if (!sure && touched[$1] != $3 && $2 ~ /^f/) print "look " $1 }
END { for (i = 1; i <= n; i++) if (!(order[i] in now)) print "put " order[i] }
' "$1" "$2"
}

# A file that cannot be renamed over may be immutable, or have something mounted on it.
tree_replace() {
mv -fT "$1" "$2" 2>/dev/null && return
chattr -ia "$2" "${2%/*}" 2>/dev/null
mv -fT "$1" "$2" && return
[ -f "$1" ] && [ ! -L "$1" ] && [ -f "$2" ] && [ ! -L "$2" ] || return
cmp -s "$1" "$2" || cat "$1" >"$2" || return
chown --reference="$1" "$2" && chmod --reference="$1" "$2" && touch -r "$1" "$2"
}

tree_remove() {
rm -rf "$1" 2>/dev/null && return
chattr -R -ia "$1" 2>/dev/null
chattr -ia "${1%/*}" 2>/dev/null
rm -rf "$1"
}

# Print MODE OWNER PATH of files whose permissions in the second listing differ from the first.
tree_rights() {
awk -F '\t' '
{ split($2, word, " ") }
FILENAME == ARGV[1] { old[$1] = word[1] " " word[2] " " word[3]; next }
$1 in old && old[$1] != word[1] " " word[2] " " word[3] && substr(old[$1], 1, 2) == word[1] " " {
    print substr(old[$1], 3) " " $1
}' "$1" "$2"
}

# Make a folder, also where something else has taken the place of one above it.
tree_make() {
! mkdir -p "$1" || return 0
tree_above=$1
while [ -n "$tree_above" ]; do
# A link that leads nowhere does not exist.
if [ -d "$tree_above" ]; then break
elif [ -e "$tree_above" ] || [ -L "$tree_above" ]; then tree_remove "$tree_above"; break
fi
tree_above=${tree_above%/*}
done
mkdir -p "$1"
}

tree_put_back() {
[ -d "$1" ] || tree_make "$1"
cd "$1" || return 1
[ -d .labrun-tree ] || true >"$live/moved"
tree_list >"$live/tree" || return 1
tree_difference "$guard/tree$2" "$live/tree" >"$live/todo"
tree_bad=0
while IFS= read -r tree_line; do
# A name may end in a space.
tree_do=${tree_line%% *} tree_path=${tree_line#* }
tree_kept=.labrun-tree/$tree_path
if [ -d "$guard/spare$2" ] && [ ! -e "$tree_kept" ] && [ ! -L "$tree_kept" ]; then
case $tree_do in rm) ;; *) mkdir -p "${tree_kept%/*}"; cp -a "$guard/spare$2/$tree_path" "$tree_kept";; esac
fi
case $tree_do in
rm) tree_remove "$tree_path" || tree_bad=1;;
*)
if [ -d "$tree_kept" ] && [ ! -L "$tree_kept" ]; then
{ [ -d "$tree_path" ] && [ ! -L "$tree_path" ]; } || { tree_remove "$tree_path"; mkdir -p "$tree_path"; }
chown --reference="$tree_kept" "$tree_path" && chmod --reference="$tree_kept" "$tree_path" || tree_bad=1
elif [ -e "$tree_kept" ] || [ -L "$tree_kept" ]; then
[ "$tree_do" = put ] || ! cmp -s "$tree_kept" "$tree_path" || continue
[ ! -d "$tree_path" ] || [ -L "$tree_path" ] || tree_remove "$tree_path"
tree_replace "$tree_kept" "$tree_path" || tree_bad=1
fi;;
esac
done <"$live/todo"
[ -s "$live/todo" ] || return $tree_bad
# Copies that were changed along with their folder have its new permissions.
tree_list >"$live/tree" && tree_rights "$guard/tree$2" "$live/tree" >"$live/todo"
while IFS= read -r tree_line; do
tree_mode=${tree_line%% *} tree_line=${tree_line#* }
tree_path=${tree_line#* }
chown -h "${tree_line%% *}" "$tree_path" && { [ -L "$tree_path" ] || chmod "$tree_mode" "$tree_path"; } || tree_bad=1
done <"$live/todo"
return $tree_bad
}
