# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
for folder in /var/lib /var/lib/containerd; do
  if [ -d "$folder" ]; then
    df -Pm "$folder" | { read -r head; read -r device size used free rest; echo "$folder $size $free"; }
  fi
done
