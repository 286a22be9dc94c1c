# The files that sshd reads, also those included from elsewhere, and which of them have Match blocks.
# Values: main. Sets: sshd_files blocks. Needs frames.
# shellcheck disable=SC2016 # fields of awk
sshd_lines='FILENAME != main && usual != "" && !taken { next }
{ line = tolower($0); gsub(/"/, "", line) }
line ~ /^[ \t]*include[ \t=]/ {
sub(/^[ \t]*[^ \t=]+[ \t=]+/, ""); gsub(/["\r]/, " "); n = split($0, words)
for (i = 1; i <= n; i++) if (words[i] != usual) print words[i]; else if (!taken++) print "usual:"
}
line ~ /^[ \t]*match[ \t=]/ && !told[FILENAME]++ { print "match:" FILENAME }'
sshd_files=$main sshd_depth=0 blocks='' usual=''
# The folder that nearly every sshd includes is read along with the main file, if that names it.
for f in "$main".d/*.conf; do [ ! -f "$f" ] || usual="$usual $f"; done
sshd_next="$main$usual" sshd_usual=${usual:+"$main.d/*.conf"}
# sshd itself goes no deeper.
while [ -n "$sshd_next" ] && [ $sshd_depth -lt 16 ]; do
set -f
# shellcheck disable=SC2046,SC2086 # files and patterns
set -- $(awk -v main="$main" -v usual="$sshd_usual" "$sshd_lines" $sshd_next 2>/dev/null)
set +f
sshd_next='' sshd_usual='' sshd_depth=$((sshd_depth + 1))
for pattern; do
case $pattern in
match:*) blocks="$blocks ${pattern#match:}"; continue;;
usual:) sshd_files="$sshd_files$usual"; continue;;
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
