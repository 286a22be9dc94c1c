# Profiles that NetworkManager ignores: readable by others, or not of root. Values: profiles. Needs frames.
set -- "$profiles"/labrun-*.nmconnection
[ ! -e "$1" ] || capture loose find "$@" '(' -perm /077 -o ! -user 0 ')'
