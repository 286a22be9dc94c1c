# Wait for duplicate address detection of every global address. No values.
n=0
while [ $n -lt 25 ] && [ -n "$(ip -6 address show scope global tentative)" ]; do n=$((n + 1)); sleep 0.2; done
