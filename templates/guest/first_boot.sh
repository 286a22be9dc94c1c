# What has become of cloud-init: one line for each fact, `word value`. Reads only; as root it also reads the logs.
# Needs boot_state.
first_boot() {
[ ! -r /run/cloud-init/result.json ] || printf 'result %s\n' "$(tr '\n' ' ' </run/cloud-init/result.json)"
[ ! -e /run/cloud-init/disabled ] || echo disabled
command -v cloud-init >/dev/null 2>&1 || [ -e /usr/bin/cloud-init ] || echo absent
[ ! -e /run/cloud-init/result.json ] || return 0
echo unit
timeout 2 systemctl show --property=Id,LoadState,ActiveState,Result -- labrun-cloud-init.service cloud-init-local.service \
cloud-init-main.service cloud-init.service cloud-init-network.service cloud-config.service cloud-final.service \
2>/dev/null | sed 's/=/ /; s/^$/unit/'
case $(id -u) in 0) as_root='' ;; *) as_root='sudo -n' ;; esac
{
$as_root cat /var/log/cloud-init-output.log /var/log/cloud-init.log
$as_root journalctl -q -b -o cat -n 200 -u labrun-cloud-init -u 'cloud-init*' -u cloud-config -u cloud-final
} 2>/dev/null | grep -E '^[A-Za-z_.]+(Error|Exception)(:|$)|[[ ](ERROR|CRITICAL)[] :]' | tail -n 3 | sed 's/^/said /'
echo "boot $(boot_state 2>/dev/null)"
timeout 2 systemctl --no-legend list-jobs 2>/dev/null | head -n 9 | while read -r _ job _; do echo "job $job"; done
}
