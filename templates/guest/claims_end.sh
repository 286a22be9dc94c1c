# Show who claims this host's addresses as well. Values: claims_in. Needs frames and claims_begin.
if [ -n "$claims_in" ]; then
wait
capture claims cat "$claims_in"
fi
