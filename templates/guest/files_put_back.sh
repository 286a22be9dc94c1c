# Restore files, by number. Values: kept. Needs `path`. Defines: beside put_back.
beside() { t="${p%/*}/.${p##*/}.labrun"; }
put_back() {
path "$1"; beside
if [ -e "$kept/$1" ]; then cp -p "$kept/$1" "$t" && mv -f "$t" "$p"
elif [ -e "$kept/$1.absent" ]; then rm -f "$p"
fi
}
