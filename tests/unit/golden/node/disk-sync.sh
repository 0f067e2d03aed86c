# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
folder=/var/lib
if [ -d /var/lib/etcd ]; then folder=/var/lib/etcd; fi
if [ -e /var/lib/etcd/member ]; then exit 0; fi
file=$(mktemp "$folder/.k8sha-sync.XXXXXX")
trap 'rm -f "$file"' EXIT
dd if=/dev/zero of="$file" bs=2300 count=100 conv=fsync 2>/dev/null
n=0
while [ $n -lt 100 ]; do
  LC_ALL=C dd if=/dev/zero of="$file" bs=2300 count=1 seek=$n conv=notrunc oflag=dsync 2>&1 | tail -n 1
  n=$((n + 1))
done
