# The guard of a change of the machine's own network: it makes the change, and takes it back by itself unless the
# change is confirmed in time. It runs detached from whoever started it. What it applies is gone after a reboot
# until it is confirmed.
# In front: `bridge`, `nic`, `dir` (state: /run), `record` (kept: /var/lib), `new_record`, `seconds`, `settle`,
# `peers` and `ports` of the ssh connections over the NIC, `mover` (the device that has the addresses afterwards),
# and the functions `apply`, `keep` and `take_back` of the manager of the NIC.
set -u
watcher=
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
# A session that ends must not end the guard.
trap '' HUP INT
trap 'echo "the guard was stopped" >"$dir/cancel"' TERM

now() {
    read -r up _ </proc/uptime
    echo "${up%%.*}"
}
phase() { # PHASE [WHY]: for labrun, never half written
    printf '%s\n%s\n' "$1" "${2-}" >"$dir/phase.new" && mv "$dir/phase.new" "$dir/phase"
}
undo() { # WHY
    stop_watching
    phase undoing "$1"
    take_back
    phase taken-back "$1"
    exit 0
}
finish() { # WHO CONFIRMED
    stop_watching
    phase keeping "$1"
    if ! keep; then undo "it could not be made permanent"; fi
    if [ -n "$new_record" ]; then
        mkdir -p "${record%/*}" && cp "$new_record" "$record.new" && sync "$record.new" && mv "$record.new" "$record"
    else
        rm -f "$record"
        rmdir "${record%/*}" 2>/dev/null
    fi
    phase kept "$1"
    exit 0
}
# Lines `PEER:PORT LOCAL:PORT` of the connections to sshd at addresses of a device, of those that ss prints on stdin.
at_sshd() { # DEVICE
    addresses=$(ip -o address show dev "$1" | awk '{sub("/.*", "", $4); print $4}')
    awk -v addresses="$addresses" -v ports="$ports" '
        BEGIN {split(addresses, a, "\n"); for (i in a) here[a[i]]; split(ports, p, " "); for (i in p) sshd[p[i]]}
        {
            local = $(NF - 1); peer = $NF
            gsub(/[][]|::ffff:|%[^]:]*/, "", local); gsub(/[][]|::ffff:|%[^]:]*/, "", peer)
            port = local; sub(/.*:/, "", port); address = local; sub(/:[0-9]*$/, "", address)
            if (address in here && port in sshd) print peer, local
        }'
}
connections() { # DEVICE
    ss -Htn state established | at_sshd "$1"
}
# A login may be over between two looks: the kernel tells of the connections to sshd that end.
watch_endings() {
    command -v stdbuf >/dev/null 2>&1 || return
    filter=
    for port in $ports; do filter="${filter:+$filter or }sport = :$port"; done
    timeout "$((deadline - $(now) + 1))" stdbuf -oL ss -HtnE "( $filter )" >"$dir/ended" 2>/dev/null </dev/null &
    watcher=$!
}
stop_watching() { [ -z "$watcher" ] || kill "$watcher" 2>/dev/null; }
# Prints the address from which somebody who was logged in over the NIC has come again.
newcomer() {
    { connections "$mover"; [ ! -s "$dir/ended" ] || at_sshd "$mover" <"$dir/ended"; } | while read -r peer local; do
        grep -qxF "$peer $local" "$dir/old" && continue
        for known in $peers; do
            if [ "${peer%:*}" = "$known" ]; then
                echo "$known"
                return
            fi
        done
    done
}
# Whether a gateway of a device answers at its link: no ping is needed for that.
gateway_answers() { # DEVICE
    for gateway in $( (ip -4 route show default dev "$1"; ip -6 route show default dev "$1") |
        sed -n 's/.* via \([^ ]*\).*/\1/p'); do
        ping -q -c 1 -W 1 -I "$1" "$gateway" >/dev/null 2>&1
        case $(ip neighbour show "$gateway" dev "$1") in *lladdr*FAILED*) ;; *lladdr*) return 0 ;; esac
    done
    return 1
}
wait_for_gateway() {
    until [ "$(now)" -ge "$settled" ]; do
        if gateway_answers "$mover"; then return 0; fi
        if [ -e "$dir/cancel" ]; then return 0; fi
        sleep 0.5
    done
    return 1
}

case $(head -n 1 "$dir/phase" 2>/dev/null) in
    '')
        deadline=$(($(now) + seconds))
        echo "$deadline" >"$dir/deadline"
        had_gateway=
        if gateway_answers "$nic" || gateway_answers "$bridge"; then had_gateway=yes; fi
        phase changing
        if ! apply; then undo "the change failed: $(grep -v '^$' "$dir/log" | tail -n 1)"; fi
        phase checking
        settled=$(($(now) + settle))
        if [ -n "$had_gateway" ] && ! wait_for_gateway; then
            undo "the default gateway answered before, and does not on $mover"
        fi
        # Those that were there before the change say nothing about whether a new one gets through.
        connections "$mover" >"$dir/old"
        watch_endings
        phase waiting
        ;;
    kept | taken-back) exit 0 ;;
    waiting)
        deadline=$(cat "$dir/deadline")
        watch_endings
        ;;
    keeping) finish "$(sed -n 2p "$dir/phase")" ;;
    *) undo "the guard was interrupted" ;;
esac
if [ -e "$dir/cancel" ]; then undo "$(cat "$dir/cancel")"; fi
if [ -z "$peers" ]; then finish "nobody was logged in over $nic"; fi
while [ "$(now)" -lt "$deadline" ]; do
    if [ -e "$dir/cancel" ]; then undo "$(cat "$dir/cancel")"; fi
    if [ -e "$dir/confirm" ]; then finish "$(cat "$dir/confirm")"; fi
    from=$(newcomer)
    if [ -n "$from" ]; then finish "a new ssh connection from $from"; fi
    sleep 0.3
done
undo "no new connection confirmed it in $seconds s"
