# Journal entries since the last apply. Values: since now record most_entries most_bytes. Needs frames.
# Everything here goes by the clock of this host, which may be years ahead or behind.
here=$(date +%s)
ahead=$((here - now))
[ "${ahead#-}" -gt 5 ] || ahead=0
[ "$since" -eq 0 ] || since=$((since + ahead))
frame "clock $ahead"
applied=$(stat -c %Y "$record" 2>/dev/null) || applied=0
# One from the future was applied before the clock was set back.
[ "$applied" -lt "$since" ] || [ "$applied" -gt "$here" ] || since=$applied
frame "since $since"
entries() {
journalctl -q --no-pager -o json --output-fields=MESSAGE,SYSLOG_IDENTIFIER --since "@$since" \
-n "$most_entries" SYSLOG_IDENTIFIER=NetworkManager SYSLOG_IDENTIFIER=sudo \
SYSLOG_IDENTIFIER=sshd SYSLOG_IDENTIFIER=labrun SYSLOG_IDENTIFIER=CRON SYSLOG_IDENTIFIER=crond \
SYSLOG_IDENTIFIER=systemd | tail -c "$most_bytes"
}
capture log entries
