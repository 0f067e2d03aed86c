# probe
if command -v ctr >/dev/null && images=$(ctr --connect-timeout 3s --namespace k8s.io images list --quiet 2>/dev/null); then
  echo answers
  for image in $images; do echo "image $image"; done
fi
for stamp in /var/lib/k8sha/images/*; do
  if [ -f "$stamp" ]; then echo "imported ${stamp##*/}"; fi
done

# apply
mkdir -p /var/lib/k8sha/images
set --
for archive in /var/lib/k8sha/upload/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee /var/lib/k8sha/upload/ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff; do if [ -f "$archive" ]; then set -- "$@" "$archive"; fi; done
if [ $# -gt 0 ]; then printf '%s\n' "$@" | xargs -P 2 -n 1 ctr --connect-timeout 3s --namespace k8s.io images import; fi
finish() {
  archive=/var/lib/k8sha/upload/$1 stamp=/var/lib/k8sha/images/$1
  shift
  if [ ! -f "$archive" ]; then return 0; fi
  for name; do ctr --connect-timeout 3s --namespace k8s.io images label "$name" io.cri-containerd.pinned=pinned; done
  : >"$stamp"
  rm -f "$archive"
}
finish eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee registry.k8s.io/etcd:3.5.30-0
finish ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff registry.k8s.io/pause:3.10

