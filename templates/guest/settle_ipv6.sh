# Wait until the kernel has looked for duplicates of every address. No values.
n=0
while [ $n -lt 15 ] && [ -n "$(ip -6 address show tentative)" ]; do n=$((n + 1)); sleep 0.2; done
