"""The ten tasks for pyinfra."""

from pathlib import Path

from pyinfra.operations import apt, files, server, systemd  # type: ignore[import-not-found, unused-ignore]

FILES = Path(__file__).parent / "files"
SYSCTL = "/etc/sysctl.d/90-kubernetes.conf"

files.put(src=str(FILES / "modules.conf"), dest="/etc/modules-load.d/kubernetes.conf", mode="644")
files.put(src=str(FILES / "crictl.yaml"), dest="/etc/crictl.yaml", mode="644")
files.put(src=str(FILES / "containerd.toml"), dest="/etc/containerd/config.toml", mode="600")
server.sysctl(key="net.ipv4.conf.all.rp_filter", value=2, persist=True, persist_file=SYSCTL)
server.sysctl(key="net.ipv4.ip_forward", value=1, persist=True, persist_file=SYSCTL)
server.sysctl(key="net.ipv4.ip_nonlocal_bind", value=1, persist=True, persist_file=SYSCTL)
apt.packages(packages=["conntrack"])
systemd.service(service="cron", running=True, enabled=True)
systemd.service(service="ssh", running=True, enabled=True)
files.replace(path="/etc/fstab", text=r"^[^#].*[[:space:]]swap[[:space:]].*$", replace=r"#&")
