# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
for name in containerd.io; do
  if rpm -q --quiet "$name"; then continue; fi
  if found=$(dnf -q repoquery --available --qf '%{name}' "$name" 2>&1); then
    if [ -z "$found" ]; then echo "none $name"; fi
  else echo "failed $name $(echo "$found" | tail -n 1)"; fi
done
