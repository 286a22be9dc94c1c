# Ask sshd for the effective settings of this login, of root, and of somebody in each Match block.
# Values: login drop_in most. Needs sshd_login, sshd_files and sshd_asked.
user="$login"
set -f
printf '%s\n' "$sshd_framed"
# shellcheck disable=SC2086
[ -z "$blocks" ] || { user=root; capture sshd-root judge $with; user="$login"; }
# One login that each block is for: its criteria and one word for each, `-` for one that it does not name.
# A block that it cannot be told of is left out.
# shellcheck disable=SC2016 # fields of awk
criteria='function one(list, any, n, i, each) {
n = split(list, each, ",")
for (i = 1; i <= n; i++) if (each[i] !~ /^!/) { gsub(/[*?]/, any, each[i]); return each[i] }
known = 0
}
tolower($0) !~ /^[ \t]*"?match"?[ \t=]/ { next }
{
text = $0
sub(/^[ \t]*"?[A-Za-z]+"?[ \t]*=?[ \t]*/, "", text); sub(/[ \t\r]+$/, "", text)
if (text in asked || ++blocks > most) next
asked[text] = known = 1
user = group = host = addr = laddr = lport = "-"
words = text; gsub(/"/, "", words)
n = split(words, word, /[ \t=]+/)
for (i = 1; i <= n; i += 2) {
name = tolower(word[i])
if (name == "all") i--
else if (name == "user") user = one(word[i + 1], "x")
else if (name == "group") group = one(word[i + 1], "x")
else if (name == "host") host = one(word[i + 1], "x")
else if (name == "address") addr = one(word[i + 1], "1")
else if (name == "localaddress") laddr = one(word[i + 1], "1")
else if (name == "localport") lport = one(word[i + 1], "1")
else known = 0
}
sub(/\/.*/, "", addr); sub(/\/.*/, "", laddr)
if (known && (user == "-" || group == "-")) print user, group, host, addr, laddr, lport, text
}'
# shellcheck disable=SC2086 # files of sshd, one a line
[ -z "$blocks" ] || awk -v most="$most" "$criteria" $blocks | while read -r u g h a l p text; do
user=nobody
[ "$u" = - ] || user=$u
if [ "$g" != - ]; then
found=$(getent group "$g") || continue
user=${found##*:} user=${user%%,*} gid=${found%:*} gid=${gid##*:}
[ -n "$user" ] || user=$(getent passwd | awk -F: -v gid="$gid" '$4 == gid { print $1; exit }')
[ -n "$user" ] || continue
fi
(
[ "$a" = - ] || addr=$a host=$a
[ "$h" = - ] || host=$h
[ "$l" = - ] || laddr=$l
[ "$p" = - ] || lport=$p
# shellcheck disable=SC2086
capture "sshd-match $text" judge $with
)
done
set +f
# The time of a file of /proc is now: what is later was written before the clock was set back.
# shellcheck disable=SC3013 # dash, bash and busybox have it
[ -e /run/sshd.pid ] && [ "$drop_in" -nt /run/sshd.pid ] && ! [ "$drop_in" -nt /proc/self/stat ] && frame stale-sshd
