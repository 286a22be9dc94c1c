# Print files, each in a frame, with a single process; then the names, for those that are empty. Needs frames.
read_files() {
for f; do shift; [ -e "$f" ] && [ ! -d "$f" ] && set -- "$@" "$f"; done
[ $# -eq 0 ] || awk -v m="$m" 'FNR == 1 { printf "\n%s file %s\n", m, FILENAME } { print }' "$@" 2>/dev/null
frame files
[ $# -eq 0 ] || printf '%s\n' "$@"
}
