# probe
systemctl show --timestamp=unix -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload \
  -p ExecMainStartTimestamp kubelet.service
if [ -e /etc/kubernetes/kubelet.conf ] && [ -e /var/lib/kubelet/config.yaml ]; then
  echo joined
  for file in /usr/local/bin/kubelet; do if [ -e "$file" ]; then stat -L -c "changed %Z" "$file"; fi; done
fi

# apply
systemctl daemon-reload
systemctl enable --quiet kubelet.service
if [ -e /etc/kubernetes/kubelet.conf ] && [ -e /var/lib/kubelet/config.yaml ]; then
  started=$(systemctl show --timestamp=unix -p ExecMainStartTimestamp kubelet.service)
  started=${started#*=}; started=${started#@}; stale=
  for changed in $(for file in /usr/local/bin/kubelet; do if [ -e "$file" ]; then stat -L -c "changed %Z" "$file"; fi; done); do
    case $changed in changed) ;; *) if [ "$changed" -gt "${started:-0}" ]; then stale=1; fi;; esac
  done
  if [ -n "$stale" ]; then systemctl restart kubelet.service; else systemctl start kubelet.service; fi
fi
