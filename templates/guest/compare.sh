# What differs from the snapshot: in the network, in nftables, in kernel parameters; the last are restored here.
# Sourced by the script that undoes, after snapshot.sh. $guard is its directory, $live the one in memory.

# --- Links, addresses, routes and rules -----------------------------------------------------------------------

# Print the commands that lead from the second listing to the first, one per line, prefixed with `4` or `6`
# for `ip`, with `tc` for tc; no output = equal. The remaining lifetime of a lease, interfaces of containers,
# and local routes made by the kernel do not count, unless an address or route is missing.
ip_difference() {
awk '
function after(word,   i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1); return "" }
function one(word) { return after(word) != "" ? " " word " " after(word) : "" }
function note(kind, name, words) {
    if (seen[w, kind, name]++) return
    order[w, kind, ++count[w, kind]] = name; has[w, kind, name] = words
}
# Interfaces that containers and guests of this host add and remove.
function passes(name) {
    return name ~ /^(veth|vnet|tap|docker|cni|virbr|lxc|cali|flannel)/ || (name ~ /^br-[0-9a-f]+$/ && length(name) == 15)
}
function device(name) { return match(name, / dev [^ ]+/) ? substr(name, RSTART + 5, RLENGTH - 5) : "lo" }
function is_gone(name) { return passes(name) && !(("new", "link", name) in has) }
function is_usual(qdisc) { return qdisc ~ /^(noop|noqueue|pfifo_fast|fq|fq_codel|mq|)$/ }
FNR == 1 { w = FILENAME == ARGV[1] ? "old" : "new" }
/^(rule6 )?[0-9]+:\t/ {
    family = sub(/^rule6 /, "") ? 6 : 4; pref = $1; sub(/^[0-9]+:[ \t]*/, "")
    # Without a list of names ip prints what it does not read.
    gsub(/ipproto ipproto-/, "ipproto ")
    gsub(/\[(detached|unresolved)\]/, ""); sub(/lookup \[l3mdev-table\]/, "l3mdev")
    gsub(/[ \t]+/, " "); sub(/ $/, "")
    note("rule", family " pref " substr(pref, 1, length(pref) - 1) " " $0, "")
    next
}
# Entries of the neighbour table that stay until someone removes them.
/ PERMANENT *$/ {
    note("neighbour", ($1 ~ /:/ ? 6 : 4) " " $1 " dev " after("dev"), after("lladdr"))
    next
}
/^[0-9]+: [^ ]+: </ {
    name = $2; sub(/:$/, "", name); sub(/@.*/, "", name)
    note("link", name, ($3 ~ /[<,]UP[,>]/ ? "up" : "down") "|" after("mtu") "|" ($3 ~ /NOARP/ ? "off" : "on") \
        "|" after("master") "|" after("link/ether") "|" (/ prog\/xdp/ ? "xdp" : "") "|" after("qdisc"))
    number[w, name] = $1; name_of[w, $1] = name
    next
}
/^[0-9]+: [^ ]+ +inet6? / {
    family = $3 == "inet6" ? 6 : 4; words = life = label = ""
    name = family " " $4 (after("peer") != "" ? " peer " after("peer") : "") " dev " $2
    is_dynamic = / dynamic / || / dynamic\\/
    if ((/ temporary / || (/ deprecated / && is_dynamic)) && !(w == "new" && ("old", "address", name) in has)) next
    if (family == 4 && after("brd") != "") words = words " brd " after("brd")
    if (after("scope") != "global") words = words " scope " after("scope")
    if (/ noprefixroute/) words = words " noprefixroute"
    if (family == 6) words = words " nodad"
    # The label is the last word before the lifetimes.
    for (i = 1; i <= NF; i++) if ($i ~ /\\$/) label = substr($i, 1, length($i) - 1)
    if (family == 4 && label ~ /:/) words = words " label " label
    if (is_dynamic && after("valid_lft") ~ /sec/) {
        life = after("valid_lft") " preferred_lft " after("preferred_lft"); gsub(/sec/, "", life)
    }
    note("address", name, words)
    lives[w, name] = life != "" ? life : "forever preferred_lft " (/ deprecated / ? "0" : "forever")
    leased[w, name] = life != ""; secondary[w, name] = / secondary /
    sub(/\/.*/, "", $4); held[w, $4] = 1
    next
}
{
    hop = / nhid [0-9]/ ? after("nhid") : ""
    gsub(/\\/, " "); gsub(/ expires [0-9]+sec/, ""); gsub(/ nhid [0-9]+/, "")
    gsub(/ (linkdown|dead|rt_trap|rt_offload|offload|trap)/, ""); gsub(/[ \t]+/, " "); sub(/ $/, "")
    if (/^anycast /) next
    if (/ error -?[0-9]/) { if (/ proto kernel/) next; gsub(/ error -?[0-9]+/, "") }
    to = $1 ~ /^(unicast|local|broadcast|multicast|blackhole|unreachable|prohibit|throw)$/ ? $2 : $1
    family = to ~ /:/ || (to == "default" && / pref /) ? 6 : 4
    if ((/ table local / && / proto kernel/) || /^fe80::/) {
        holder = to ~ /^(fe80|ff00)::\// ? "" : (w, to) in held ? to : after("src")
        note("kept", $1 " " to " dev " after("dev"), family " route append " $0)
        holders[w, $1 " " to " dev " after("dev")] = holder
        next
    }
    # A route with a next hop object is only deleted by its number, without what that object says.
    note("route", family " " $0, hop == "" ? "" : to " nhid " hop one("table") one("metric"))
}
END {
    for (i = 1; i <= count["old", "link"]; i++) {
        name = order["old", "link", i]; other = name_of["new", number["old", name]]
        if (("new", "link", name) in has || other == "" || ("old", "link", other) in has) continue
        # Restore its name before any other command refers to it.
        print "4 link set dev " other " down"; print "4 link set dev " other " name " name
        renamed = 1
    }
    if (renamed) exit
    for (i = 1; i <= count["old", "link"]; i++) {
        name = order["old", "link", i]; split(has["old", "link", name], o, "|")
        if (is_gone(name)) continue
        if (!(("new", "link", name) in has)) { print "4 link show dev " name; continue }
        split(has["new", "link", name], n, "|")
        if (o[5] != n[5] && o[5] != "") print "4 link set dev " name " address " o[5]
        if (o[4] != n[4]) print "4 link set dev " name (o[4] == "" ? " nomaster" : " master " o[4])
        if (o[3] != n[3]) print "4 link set dev " name " arp " o[3]
        if (o[2] != n[2]) print "4 link set dev " name " mtu " o[2]
        if (o[6] == "" && n[6] != "") print "4 link set dev " name " xdp off"
        if (is_usual(o[7]) && !is_usual(n[7])) print "tc qdisc del dev " name " root"
        if (o[1] != n[1]) print "4 link set dev " name " " o[1]
    }
    for (i = 1; i <= count["new", "neighbour"]; i++) {
        name = order["new", "neighbour", i]
        if (!(("old", "neighbour", name) in has) && ("old", "link", device(name)) in has)
            print substr(name, 1, 2) "neigh del " substr(name, 3)
    }
    for (i = 1; i <= count["old", "neighbour"]; i++) {
        name = order["old", "neighbour", i]
        if (!is_gone(device(name)) && has["new", "neighbour", name] != has["old", "neighbour", name])
            print substr(name, 1, 2) "neigh replace " substr(name, 3) " lladdr " has["old", "neighbour", name] " nud permanent"
    }
    for (i = 1; i <= count["new", "address"]; i++) {
        name = order["new", "address", i]
        if (!(("old", "link", device(name)) in has)) continue
        if (("old", "address", name) in has) {
            # Another broadcast address or label makes it another address, and so does becoming secondary.
            if (has["old", "address", name] != has["new", "address", name] || secondary["old", name] != secondary["new", name]) {
                again[name] = 1; print substr(name, 1, 2) "address del " substr(name, 3)
            }
        } else if (!leased["new", name] && name !~ /^6 fe80:/) print substr(name, 1, 2) "address del " substr(name, 3)
    }
    for (i = 1; i <= count["old", "address"]; i++) {
        name = order["old", "address", i]; at = device(name)
        if (is_gone(at)) continue
        if (!(("new", "address", name) in has) || name in again) does = "add"
        else if (!leased["old", name] && lives["old", name] != lives["new", name]) does = "change"
        else continue
        words = substr(name, 3); sub(/ dev .*/, "", words)
        life = lives["old", name] == "forever preferred_lft forever" && does == "add" ? "" : " valid_lft " lives["old", name]
        print substr(name, 1, 2) "address " does " " words has["old", "address", name] life " dev " at
    }
    for (i = 1; i <= count["old", "kept"]; i++) {
        name = order["old", "kept", i]; holder = holders["old", name]
        if (!(("new", "link", device(name)) in has)) continue
        # If its address or link is only restored now, the kernel is about to add it.
        if (("new", "kept", name) in has || has["new", "link", device(name)] !~ /^up/) continue
        if (holder == "" || (("old", holder) in held && ("new", holder) in held)) print has["old", "kept", name]
    }
    for (k = 1; k <= 2; k++) {
        kind = k == 1 ? "route" : "rule"
        for (i = 1; i <= count["new", kind]; i++) {
            name = order["new", kind, i]
            if (kind == "route" && !(("old", "link", device(name)) in has)) continue
            words = has["new", kind, name]
            if (!(("old", kind, name) in has)) print substr(name, 1, 2) kind " del " (words != "" ? words : substr(name, 3))
        }
        for (i = 1; i <= count["old", kind]; i++) {
            name = order["old", kind, i]
            if (kind == "route" && is_gone(device(name))) continue
            if (!(("new", kind, name) in has)) {
                # One of the same metric may exist: `add` would fail.
                print substr(name, 1, 2) kind (kind == "route" ? " append " : " add ") substr(name, 3)
            }
        }
    }
    for (i = 1; i <= count["new", "link"]; i++) {
        name = order["new", "link", i]
        if (!(("old", "link", name) in has) && !passes(name)) print "4 link del dev " name
    }
}' "$1" "$2"
}

# --- nftables -------------------------------------------------------------------------------------------------

# Print the transaction that leads from the second ruleset to the first, table by table; a third argument
# `FAMILY NAME` limits it to one table.
nft_difference() {
awk -v only="${3-}" '
/^#/ { next }
FNR == 1 { w = FILENAME == ARGV[1] ? "old" : "new" }
/^table / { name = $2 " " $3; if (only == "" || only == name) order[w, ++count[w]] = name }
{ text[w, name] = text[w, name] $0 "\n" }
END {
    for (i = 1; i <= count["new"]; i++) {
        name = order["new", i]
        if (text["old", name] != text["new", name]) print "delete table " name
    }
    for (i = 1; i <= count["old"]; i++) {
        name = order["old", i]
        if (text["old", name] != text["new", name]) printf "%s", text["old", name]
    }
}' "$1" "$2"
}

# --- Kernel parameters ----------------------------------------------------------------------------------------

# Restore, with shell builtins, the values that could prevent processes from starting.
kernel_make_room() {
[ "$on" = live ] && [ -e "$guard/kernel" ] || return 0
while IFS= read -r kernel_line; do
case $kernel_line in
*/kernel/pid_max:* | */kernel/threads-max:* | */vm/overcommit_* | */vm/min_free_kbytes:* | */user/max_*)
printf '%s\n' "${kernel_line#*:}" >"${kernel_line%%:*}";;
esac
done <"$guard/kernel"
} 2>/dev/null

# Print the lines of the first listing whose values differ in the second.
kernel_difference() {
awk -F : 'FILENAME == ARGV[1] { old[$1] = $0; next } ($1 in old) && old[$1] != $0 { print old[$1] }' "$1" "$2"
}

# Some values reset others: hence up to three rounds.
kernel_put_back() {
[ "$on" = live ] && [ -e "$guard/kernel" ] || return 0
for kernel_round in 1 2 3; do
kernel_now >"$live/kernel"
kernel_difference "$guard/kernel" "$live/kernel" >"$live/todo"
[ -s "$live/todo" ] || return 0
while IFS= read -r kernel_line; do printf '%s\n' "${kernel_line#*:}" >"${kernel_line%%:*}"; done <"$live/todo"
done
} 2>/dev/null
