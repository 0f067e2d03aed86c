# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
echo "cpus $(nproc)"
while read -r name value unit; do
  if [ "$name" = MemTotal: ]; then echo "memory $((value / 1024))"; fi
done </proc/meminfo
df -Pk /var/lib | { read -r head; read -r device size rest; echo "disk $((size * 1024 / 1000000000))"; }
