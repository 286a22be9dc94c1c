# Journal entries since the last apply. Values: since record most_entries most_bytes.
applied=$(stat -c %Y "$record" 2>/dev/null) || applied=0
[ "$applied" -lt "$since" ] || since=$applied
frame "since $since"
entries() {
journalctl -q --no-pager -o json --output-fields=MESSAGE,SYSLOG_IDENTIFIER --since "@$since" \
-n "$most_entries" SYSLOG_IDENTIFIER=NetworkManager SYSLOG_IDENTIFIER=sudo \
SYSLOG_IDENTIFIER=sshd SYSLOG_IDENTIFIER=labrun SYSLOG_IDENTIFIER=CRON SYSLOG_IDENTIFIER=crond \
SYSLOG_IDENTIFIER=systemd | tail -c "$most_bytes"
}
capture log entries
