# The files of authorized keys that sshd reads for a user. Values: user home uid. Defines: expand files_in.

# Replace the tokens of sshd in $1 for a user. Values: user home uid. Sets: expanded; fails at any other token.
expand() {
expanded='' expand_rest=$1
while :; do
case $expand_rest in *%*) ;; *) expanded=$expanded$expand_rest; return 0;; esac
expanded=$expanded${expand_rest%%%*} expand_rest=${expand_rest#*%}
case $expand_rest in
h*) expanded=$expanded$home;;
u*) expanded=$expanded$user;;
U*) expanded=$expanded$uid;;
%*) expanded=$expanded%;;
*) return 1;;
esac
expand_rest=${expand_rest#?}
done
}
# Whether a path is where it says: no part of it is a link or leads elsewhere. It spares a process.
is_direct() {
case $1/ in *//* | */./* | */../*) return 1;; esac
direct_part='' direct_rest=${1#/}
while [ -n "$direct_rest" ]; do
direct_part=$direct_part/${direct_rest%%/*}
[ ! -L "$direct_part" ] || return 1
case $direct_rest in */*) direct_rest=${direct_rest#*/};; *) return 0;; esac
done
}
# Find the files in a value of AuthorizedKeysFile, where links lead. Sets: listed, one a line.
files_in() {
listed=''
set -f
for listed_word in $1; do
[ "$listed_word" != none ] || continue
expand "$listed_word" || continue
case $expanded in /*) ;; *) expanded=$home/$expanded;; esac
is_direct "$expanded" || expanded=$(readlink -m "$expanded" 2>/dev/null || printf '%s\n' "$expanded")
listed="$listed${listed:+
}$expanded"
done
set +f
}
