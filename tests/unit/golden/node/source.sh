# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
if command -v curl >/dev/null; then
  if status=$(curl -sS -k -L -o /dev/null -w '%{http_code}' --connect-timeout 5 --max-time 15 https://pkgs.k8s.io/core:/stable:/v1.33/deb/InRelease 2>&1); then
    echo "status $status"
  else echo "failed $status"; fi
elif [ -x /usr/lib/apt/apt-helper ]; then
  file=$(mktemp); trap 'rm -f "$file"' EXIT
  if said=$(/usr/lib/apt/apt-helper -o Acquire::http::Timeout=5 -o Acquire::https::Timeout=5 -o Acquire::Retries=0 -o Acquire::https::Verify-Peer=false download-file https://pkgs.k8s.io/core:/stable:/v1.33/deb/InRelease "$file" 2>&1); then echo "status 200"
  else echo "failed $said" | tr '\n' ' '; fi
elif command -v wget >/dev/null; then
  if said=$(wget -q -T 5 -t 1 --no-check-certificate -O /dev/null https://pkgs.k8s.io/core:/stable:/v1.33/deb/InRelease 2>&1); then echo "status 200"
  else echo "failed wget: exit $? $said" | tr '\n' ' '; fi
fi
