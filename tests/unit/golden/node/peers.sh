# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
answers() {
  if command -v ping >/dev/null && ping -q -c 1 -W 2 "$2" >/dev/null 2>&1; then return 0; fi
  if command -v ssh-keyscan >/dev/null; then
    if ssh-keyscan -T 3 -p 22 "$2" 2>&1 | grep -q SSH-; then return 0; fi
  elif command -v curl >/dev/null; then
    if curl -s --connect-timeout 3 --max-time 3 "telnet://$2:22" </dev/null | grep -q SSH-; then return 0; fi
  elif ! command -v ping >/dev/null; then return 0
  fi
  echo "$1 $2"
}
answers worker-1 192.168.56.20 &
answers worker-2 192.168.56.21 &
wait
