# Wait for the end of cloud-init, then report it and the addresses. Values: tenths.
# cloud-init writes result.json last, in /run, so the file is from this boot.
until [ -e /run/cloud-init/result.json ] || [ "$tenths" -le 0 ]; do
tenths=$((tenths - 2)); sleep 0.2
done
cat /run/cloud-init/result.json 2>/dev/null || echo null
echo; echo '==addresses=='
ip -j address
