# probe
if [ -S /run/containerd/containerd.sock ] && command -v curl >/dev/null; then
  if printf '\0\0\0\0\002\010\001' | curl -s -f --max-time 5 --http2-prior-knowledge --unix-socket /run/containerd/containerd.sock \
    -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- \
    http://containerd/runtime.v1.RuntimeService/Status
  then :; else echo "no answer ($?)"; fi
fi
