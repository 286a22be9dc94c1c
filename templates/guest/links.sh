# Addresses and IPv4 routes: one process prints both, one line each. Needs frames.
frame err link
{ both=$(ip -j -batch - 2>&3 <<'END'
address
route
END
); status=$?; } 3>&1
[ "${both#*
}" != "$both" ] || both="$both
[]"
frame out link; printf '%s\n' "${both%%
*}"; frame status link $status
frame out route4; printf '%s\n' "${both##*
}"; frame status route4 $status
