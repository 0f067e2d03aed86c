"""What a host is, read in one trip before anything else: system, size, addresses, clock."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import time

from attrs import frozen

__all__ = ["FACTS", "Facts", "Interface"]

# Each value is assigned before it is printed, so that a command that fails fails the whole. Linux tells the name of
# its architecture in a file from 6.1 on.
FACTS = """\
if [ -r /etc/os-release ]; then
  ( . /etc/os-release
    printf 'os %s\\nos_version %s\\nos_like %s\\n' "${ID:-}" "${VERSION_ID:-}" "${ID_LIKE:-}"
    printf 'os_name %s\\n' "${PRETTY_NAME:-}" )
fi
if { read -r kernel </proc/sys/kernel/osrelease && read -r arch </proc/sys/kernel/arch; } 2>/dev/null; then :
else kernel=$(uname -r); arch=$(uname -m); fi
systems=$(stat -f -c '%a %S %T' /sys/fs/cgroup /var/lib)
printf 'kernel %s\\narch %s\\n' "$kernel" "$arch"
{
  read -r free size type; printf 'cgroup %s\\n' "$type"
  read -r free size type; printf 'disk_kib %s\\n' "$((free * size / 1024))"
} <<END
$systems
END
for pair in hostname:/proc/sys/kernel/hostname machine_id:/etc/machine-id product_uuid:/sys/class/dmi/id/product_uuid \\
  boot_id:/proc/sys/kernel/random/boot_id init:/proc/1/comm; do
  if { read -r value <"${pair#*:}"; } 2>/dev/null; then printf '%s %s\\n' "${pair%%:*}" "$value"; fi
done
while read -r name value unit; do
  if [ "$name" = MemTotal: ]; then printf 'memory_kib %s\\n' "$value"; break; fi
done </proc/meminfo
while read -r name value; do
  if [ "$name" = Cpus_allowed_list: ]; then printf 'cpus %s\\n' "$value"; break; fi
done </proc/self/status
for path in /sys/class/net/*/address; do
  name=${path#/sys/class/net/}
  if { read -r mac <"$path"; } 2>/dev/null; then printf 'mac %s %s\\n' "${name%/address}" "$mac"; fi
done
addresses=$(ip -o addr show)
while read -r index name family address rest; do
  case $family in inet|inet6) printf 'address %s %s\\n' "${name%@*}" "$address";; esac
done <<END
$addresses
END
if [ -e /etc/kubernetes/kubelet.conf ]; then
  authority=
  if { while read -r line; do
    case $line in -----BEGIN*) authority=;; -----END*) break;; *) authority=$authority$line;; esac
  done </etc/kubernetes/pki/ca.crt; } 2>/dev/null; then printf 'authority %s\\n' "$authority"; fi
fi
for path in /var/lib/k8sha/restore/open/fencing /var/lib/k8sha/restore/open/exchanged \\
  /var/lib/k8sha/restore/open/undoing; do
  if [ -e "$path" ]; then printf 'restore %s\\n' "$path"; fi
done
for path in /etc/kubernetes/k8sha-fenced; do
  if [ -e "$path" ]; then printf 'fenced %s\\n' "$path"; fi
done
clock=$(date +%s.%N)
printf 'clock %s\\n' "$clock"
"""


@frozen
class Interface:
    """An address on a network interface, with its prefix, and the interface's MAC."""

    name: str
    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    mac: str = ""


@frozen
class Facts:
    """What one trip told of a host. ``skew`` is its clock minus ours in seconds, at most ``skew_error`` off: half the
    time that the trip took."""

    os: str = ""
    os_version: str = ""
    os_like: tuple[str, ...] = ()
    os_name: str = ""
    arch: str = ""
    kernel: str = ""
    hostname: str = ""
    machine_id: str = ""
    product_uuid: str = ""
    boot_id: str = ""
    cpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    skew: float = 0.0
    skew_error: float = 0.0
    init: str = ""
    cgroup: str = ""
    authority: str = ""
    """The sha256 of the certificate authority of the cluster that the host is a node of; empty where it is of none."""
    restore: str = ""
    """What a restore left there that has stopped something and has not ended, a path; empty where there is none."""
    fenced: str = ""
    """The folder of manifests that were moved away from the kubelet, be it by a restore or for one member alone."""
    interfaces: tuple[Interface, ...] = ()

    @property
    def architecture(self) -> str:
        """The architecture as container images name it: amd64, arm64."""
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.arch, self.arch)

    @property
    def cgroup_v2(self) -> bool:
        """Whether the unified cgroup hierarchy is in use."""
        return self.cgroup == "cgroup2fs"

    def interface_towards(self, address: str) -> Interface | None:
        """The interface whose own network an address is in, None where there is none."""
        wanted = ipaddress.ip_address(address)
        for interface in self.interfaces:
            if interface.address.version == wanted.version and wanted in interface.address.network:
                return interface
        return None

    def has_address(self, address: str) -> bool:
        """Whether an address is the host's own."""
        return any(str(interface.address.ip) == address for interface in self.interfaces)

    @classmethod
    def parse(cls, text: str, *, sent: float | None = None, now: float | None = None) -> Facts:
        """Facts from the probe's output. Lines it does not know are passed over. ``sent`` and ``now`` are when the
        probe was sent and answered, by our clock.
        """
        values: dict[str, str] = {}
        macs: dict[str, str] = {}
        addresses: list[tuple[str, str]] = []
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            match name:
                case "mac":
                    interface, _, mac = rest.partition(" ")
                    macs[interface] = mac
                case "address":
                    interface, _, address = rest.partition(" ")
                    addresses.append((interface, address))
                case _:
                    values[name] = rest
        clock = float(values.get("clock", "").removesuffix(".%N") or 0)  # not every date knows parts of a second
        answered = time.time() if now is None else now
        asked = answered if sent is None else sent
        return cls(
            os=values.get("os", ""),
            os_version=values.get("os_version", ""),
            os_like=tuple(values.get("os_like", "").split()),
            os_name=values.get("os_name", ""),
            arch=values.get("arch", ""),
            kernel=values.get("kernel", ""),
            hostname=values.get("hostname", ""),
            machine_id=values.get("machine_id", ""),
            product_uuid=values.get("product_uuid", ""),
            boot_id=values.get("boot_id", ""),
            cpus=_counted(values.get("cpus", "")),
            memory_mib=int(values.get("memory_kib") or 0) // 1024,
            disk_mib=int(values.get("disk_kib") or 0) // 1024,
            skew=clock - (asked + answered) / 2 if clock else 0.0,
            skew_error=(answered - asked) / 2,
            init=values.get("init", ""),
            cgroup=values.get("cgroup", ""),
            authority=_fingerprint(values.get("authority", "")),
            restore=values.get("restore", ""),
            fenced=values.get("fenced", ""),
            interfaces=tuple(
                Interface(name, ipaddress.ip_interface(address), macs.get(name, "")) for name, address in addresses
            ),
        )


def _fingerprint(encoded: str) -> str:
    """The sha256 of a certificate, as the lines between its BEGIN and END have it."""
    try:
        return hashlib.sha256(base64.b64decode(encoded, validate=True)).hexdigest() if encoded else ""
    except ValueError:
        return "unreadable"


def _counted(listed: str) -> int:
    """How many there are in a list as the kernel writes them: ``0-3,8`` has five."""
    ranges = [part.split("-") for part in listed.split(",") if part]
    return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)
