# The files that sshd reads, also those included from elsewhere, and which of them have Match blocks.
# Values: main. Sets: sshd_files blocks. Needs frames.
# shellcheck disable=SC2016 # fields of awk
sshd_lines='{ line = tolower($0); gsub(/"/, "", line) }
line ~ /^[ \t]*include[ \t=]/ { sub(/^[ \t]*[^ \t=]+[ \t=]+/, ""); gsub(/["\r]/, " "); print }
line ~ /^[ \t]*match[ \t=]/ && !told[FILENAME]++ { print "match:" FILENAME }'
sshd_files=$main sshd_next=$main sshd_depth=0 blocks=''
# sshd itself goes no deeper.
while [ -n "$sshd_next" ] && [ $sshd_depth -lt 16 ]; do
set -f
# shellcheck disable=SC2046,SC2086 # files and patterns
set -- $(awk "$sshd_lines" $sshd_next 2>/dev/null)
set +f
sshd_next='' sshd_depth=$((sshd_depth + 1))
for pattern; do
case $pattern in
match:*) blocks="$blocks ${pattern#match:}"; continue;;
/*) ;;
*) pattern=${main%/*}/$pattern;;
esac
for f in $pattern; do
case " $sshd_files " in *" $f "*) continue;; esac
[ ! -f "$f" ] || { sshd_files="$sshd_files $f" sshd_next="$sshd_next $f"; }
done
done
done
for f in $sshd_files; do
case $f in "$main" | "$main".d/*.conf) ;; *) capture "sshd-file $f" cat "$f";; esac
done
