if [ -r /etc/os-release ]; then
  ( . /etc/os-release
    printf 'os %s\nos_version %s\nos_like %s\n' "${ID:-}" "${VERSION_ID:-}" "${ID_LIKE:-}"
    printf 'os_name %s\n' "${PRETTY_NAME:-}" )
fi
printf 'arch %s\n' "$(uname -m)"
printf 'kernel %s\n' "$(uname -r)"
printf 'hostname %s\n' "$(cat /proc/sys/kernel/hostname)"
if [ -r /etc/machine-id ]; then printf 'machine_id %s\n' "$(cat /etc/machine-id)"; fi
if [ -r /sys/class/dmi/id/product_uuid ]; then printf 'product_uuid %s\n' "$(cat /sys/class/dmi/id/product_uuid)"; fi
printf 'boot_id %s\n' "$(cat /proc/sys/kernel/random/boot_id)"
printf 'cpus %s\n' "$(nproc)"
while read -r name value unit; do
  if [ "$name" = MemTotal: ]; then printf 'memory_kib %s\n' "$value"; fi
done </proc/meminfo
printf 'disk_kib %s\n' "$(df -Pk /var/lib | { read -r head; read -r device size used free rest; echo "$free"; })"
printf 'clock %s\n' "$(date +%s.%N)"
printf 'init %s\n' "$(cat /proc/1/comm)"
printf 'cgroup %s\n' "$(stat -f -c %T /sys/fs/cgroup)"
for path in /sys/class/net/*/address; do
  name=${path#/sys/class/net/}
  if mac=$(cat "$path" 2>/dev/null); then printf 'mac %s %s\n' "${name%/address}" "$mac"; fi
done
ip -o addr show | while read -r index name family address rest; do
  case $family in inet|inet6) printf 'address %s %s\n' "${name%@*}" "$address";; esac
done
