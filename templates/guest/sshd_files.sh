# The files that sshd reads, also those included from elsewhere. Values: main. Sets: sshd_files. Needs frames.
includes_of() { sed -n 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=]\{1,\}//p' "$@" 2>/dev/null; }
sshd_files=$main sshd_next=$main sshd_depth=0
# sshd itself goes no deeper.
while [ -n "$sshd_next" ] && [ $sshd_depth -lt 16 ]; do
set -f
# shellcheck disable=SC2046,SC2086 # files and patterns
set -- $(includes_of $sshd_next | tr -d '"\r')
set +f
sshd_next='' sshd_depth=$((sshd_depth + 1))
for pattern; do
case $pattern in /*) ;; *) pattern=${main%/*}/$pattern;; esac
for f in $pattern; do
case " $sshd_files " in *" $f "*) continue;; esac
[ ! -f "$f" ] || { sshd_files="$sshd_files $f" sshd_next="$sshd_next $f"; }
done
done
done
for f in $sshd_files; do
case $f in "$main" | "$main".d/*.conf) ;; *) capture "sshd-file $f" cat "$f";; esac
done
