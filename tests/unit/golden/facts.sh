if [ -r /etc/os-release ]; then
  ( . /etc/os-release
    printf 'os %s\nos_version %s\nos_like %s\n' "${ID:-}" "${VERSION_ID:-}" "${ID_LIKE:-}"
    printf 'os_name %s\n' "${PRETTY_NAME:-}" )
fi
if { read -r kernel </proc/sys/kernel/osrelease && read -r arch </proc/sys/kernel/arch; } 2>/dev/null; then :
else kernel=$(uname -r); arch=$(uname -m); fi
systems=$(stat -f -c '%a %S %T' /sys/fs/cgroup /var/lib)
printf 'kernel %s\narch %s\n' "$kernel" "$arch"
{
  read -r free size type; printf 'cgroup %s\n' "$type"
  read -r free size type; printf 'disk_kib %s\n' "$((free * size / 1024))"
} <<END
$systems
END
for pair in hostname:/proc/sys/kernel/hostname machine_id:/etc/machine-id product_uuid:/sys/class/dmi/id/product_uuid \
  boot_id:/proc/sys/kernel/random/boot_id init:/proc/1/comm; do
  if { read -r value <"${pair#*:}"; } 2>/dev/null; then printf '%s %s\n' "${pair%%:*}" "$value"; fi
done
while read -r name value unit; do
  if [ "$name" = MemTotal: ]; then printf 'memory_kib %s\n' "$value"; break; fi
done </proc/meminfo
while read -r name value; do
  if [ "$name" = Cpus_allowed_list: ]; then printf 'cpus %s\n' "$value"; break; fi
done </proc/self/status
for path in /sys/class/net/*/address; do
  name=${path#/sys/class/net/}
  if { read -r mac <"$path"; } 2>/dev/null; then printf 'mac %s %s\n' "${name%/address}" "$mac"; fi
done
addresses=$(ip -o addr show)
while read -r index name family address rest; do
  case $family in inet|inet6) printf 'address %s %s\n' "${name%@*}" "$address";; esac
done <<END
$addresses
END
if [ -e /etc/kubernetes/kubelet.conf ]; then
  authority=
  if { while read -r line; do
    case $line in -----BEGIN*) authority=;; -----END*) break;; *) authority=$authority$line;; esac
  done </etc/kubernetes/pki/ca.crt; } 2>/dev/null; then printf 'authority %s\n' "$authority"; fi
fi
for path in /var/lib/k8sha/restore/open/fencing /var/lib/k8sha/restore/open/exchanged \
  /var/lib/k8sha/restore/open/undoing; do
  if [ -e "$path" ]; then printf 'restore %s\n' "$path"; fi
done
for path in /etc/kubernetes/k8sha-fenced; do
  if [ -e "$path" ]; then printf 'fenced %s\n' "$path"; fi
done
clock=$(date +%s.%N)
printf 'clock %s\n' "$clock"
