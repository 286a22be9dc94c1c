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
# Print the files in a value of AuthorizedKeysFile, one a line, where links lead.
files_in() {
set -f
for each in $1; do
[ "$each" != none ] || continue
expand "$each" || continue
case $expanded in /*) ;; *) expanded=$home/$expanded;; esac
readlink -m "$expanded" 2>/dev/null || printf '%s\n' "$expanded"
done
}
