"""What is put to a host: shell that only reads, in parts that can't hurt each other.

Nothing here needs the API server, and nothing fails because something is broken: each part has a time limit of its own,
so that a runtime that hangs hides nothing else.
"""

from __future__ import annotations

import shlex

from k8sha.components.diagnosis.logs import TAIL
from k8sha.components.diagnosis.symptoms import PARTS, UNITS
from k8sha.components.masters import DONE, MasterState, master_files
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.unfinished import UNFINISHED

__all__ = ["symptom_texts"]

WORKER_FILES = "kubelet.conf pki/ca.crt"
_PKI = "/etc/kubernetes/pki"

_UNITS = f"""\
for unit in {" ".join(UNITS)}; do
  systemctl show -p Id -p LoadState -p ActiveState -p Result -p NRestarts -p UnitFileState "$unit.service"
done"""

_DISKS = f"""\
for folder in / /var/lib /var/log {DATA} /var/lib/containerd /var/lib/kubelet; do
  if [ -d "$folder" ]; then
    df -Pm "$folder" | {{ read -r head; read -r device size used free rest; printf '%s ' "$folder" "$size" "$free"; }}
    df -Pi "$folder" | {{ read -r head; read -r device size used free part rest; echo "${{part:-0%}}"; }}
  fi
done"""

_END = """\
end() { if end=$(openssl x509 -noout -enddate 2>/dev/null); then echo "$(date -d "${end#notAfter=}" +%s) $1"; fi; }"""
_OWN_CERTIFICATES = f"""\
{_END}
for file in {Access(stacked=False).pki}/*.crt; do
  if [ -s "$file" ]; then end "$file" <"$file"; fi
done"""
_CERTIFICATES = f"""\
{_END}
for file in {_PKI}/*.crt {_PKI}/etcd/*.crt /var/lib/kubelet/pki/kubelet-client-current.pem; do
  if [ -s "$file" ]; then end "$file" <"$file"; fi
done
for file in /etc/kubernetes/*.conf; do
  if [ -s "$file" ] && grep -q client-certificate-data "$file"; then
    sed -n 's/^ *client-certificate-data: //p' "$file" | base64 -d | end "$file"
  fi
done"""

_STACKED = f"[ -e /etc/kubernetes/manifests/etcd.yaml ] || [ -e {DATA}/member ]"


def _member(access: Access, expected: str) -> str:
    """What a member says of itself; ``expected`` is a command that tells whether there is to be one."""
    ask = (
        f"curl -sS --max-time 4 --cacert {access.pki}/ca.crt --cert {access.pki}/healthcheck-client.crt "
        f"--key {access.pki}/healthcheck-client.key https://127.0.0.1:2379"
    )
    return f"""\
if {expected}; then echo expected; else echo none; exit 0; fi
one() {{ {{ "$@" 2>&1 || echo ' (no answer)'; }} | tr -d '\\n'; echo; }}
one {ask}/health
one {ask}/v3/cluster/member/list -d '{{"linearizable":false}}'
one {ask}/v3/maintenance/status -d '{{}}'
one {ask}/v3/maintenance/alarm -d '{{"action":"GET"}}'"""


_CONTAINERS = f"""\
if command -v crictl >/dev/null; then crictl --timeout 6s ps -a --name '^({"|".join(PARTS)})$' -o json; fi"""

_LOGS = f"""\
for unit in {" ".join(UNITS)}; do
  if [ "$(systemctl show -p LoadState --value "$unit.service")" = loaded ]; then
    echo "== $unit"; journalctl -q -u "$unit.service" -n {TAIL} --no-pager -o cat | cut -c 1-400
  fi
done
for part in {" ".join(PARTS)}; do
  newest=
  for file in /var/log/pods/kube-system_"$part"-*/"$part"/*.log; do
    if [ -e "$file" ] && {{ [ -z "$newest" ] || [ "$file" -nt "$newest" ]; }}; then newest=$file; fi
  done
  if [ -n "$newest" ]; then echo "== $part"; tail -n {TAIL} "$newest" | cut -c 1-3000; fi
done"""


def symptom_texts(
    role: str, address: str, endpoint: tuple[str, int], vip: str, *, stacked: bool = True
) -> dict[str, str]:
    """The snippets for one host, by name. ``endpoint`` is where the API is reached, ``vip`` empty without balancers.
    Without ``stacked`` etcd is on hosts of its own."""
    host, port = endpoint
    connect = shlex.quote(f"exec 3<>/dev/tcp/{host}/{port}")
    texts = {
        "clock": "date +%s.%N",
        "units": _UNITS,
        "disks": _DISKS,
        "endpoint": f"if timeout 4 bash -c {connect} 2>/dev/null; then echo open; else echo closed; fi",
        "logs": _LOGS,
    }
    if role in ("master", "worker"):
        files = master_files(stacked=stacked) if role == "master" else WORKER_FILES
        state = f"{MasterState(stacked=stacked).probe()}\n{DONE.format(files=files)}"
        texts |= {"certificates": _CERTIFICATES, "state": state}
        texts["endpoint"] = f"""\
if [ -s {_PKI}/ca.crt ]; then
  curl -sS --max-time 5 --cacert {_PKI}/ca.crt https://{host}:{port}/readyz 2>&1 || echo ' (no answer)'
else echo unknown; fi"""
    if role == "master":
        api = f"kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{address}:6443 --request-timeout=4s"
        texts |= {
            "etcd": _member(Access(stacked=True), _STACKED if stacked else "false"),
            "containers": _CONTAINERS,
            "api": f"curl -sS --max-time 4 --cacert {_PKI}/ca.crt 'https://{address}:6443/readyz?verbose' 2>&1 || echo",
            "nodes": f"{api} get nodes --no-headers 2>/dev/null || echo",
            "secrets": f"{api} -n kube-system get secrets --no-headers -o custom-columns=n:.metadata.name 2>/dev/null"
            " || echo",
        }
    if role == "etcd":
        texts |= {"etcd": _member(Access(stacked=False), "true"), "certificates": _OWN_CERTIFICATES}
    if role in ("master", "etcd"):
        texts["restore"] = UNFINISHED
    if role == "balancer":
        texts["balancer"] = f"""\
if ip -o -4 address show to {shlex.quote(vip)}/32 | grep -q .; then echo 'vip here'; fi
if [ -r /run/k8sha-loadbalancer/vrrp ]; then echo "vrrp $(cat /run/k8sha-loadbalancer/vrrp)"; fi
if [ -r /var/lib/k8sha/loadbalancer/drained ]; then echo "drained $(cat /var/lib/k8sha/loadbalancer/drained)"; fi
if command -v socat >/dev/null && [ -S /run/haproxy-admin.sock ]; then
  echo 'show stat -1 4 -1' | timeout 4 socat -t 2 - UNIX-CONNECT:/run/haproxy-admin.sock 2>/dev/null || echo
fi"""
    return texts
