# Wait for duplicate address detection of every address. No values.
n=0
while [ $n -lt 15 ] && [ -n "$(ip -6 address show tentative)" ]; do n=$((n + 1)); sleep 0.2; done
