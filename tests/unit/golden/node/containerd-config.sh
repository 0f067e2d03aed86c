# probe
if command -v containerd >/dev/null; then set -- $(containerd --version); echo "version ${3#v}"; fi
if [ -L /etc/containerd/config.toml ]; then echo kind link
elif [ -f /etc/containerd/config.toml ]; then
  sum=$(sha256sum </etc/containerd/config.toml); sum=${sum%% *}
  size=$(stat -c %s /etc/containerd/config.toml)
  printf 'kind file\nsum %s\nmode 0%s\nowner %s\n' "$sum" $(stat -c '%a %U:%G' /etc/containerd/config.toml)
  if [ "$sum" != unknown ] && [ "$size" -le 65536 ]; then
    printf 'content %s\n' "$(base64 -w 0 </etc/containerd/config.toml)"
  fi
elif [ -e /etc/containerd/config.toml ]; then echo kind other
else echo kind absent; fi

# apply
set -- $(containerd --version)
case ${3#v} in
[01].*)
(umask 022; mkdir -p /etc/containerd)
new=/etc/containerd/.k8sha.config.toml
rm -f "$new"
trap 'rm -f "$new"' EXIT
umask 077
set -C
base64 -d >"$new" <<'END'
dmVyc2lvbiA9IDIK
END
set +C
chown root:root "$new"
chmod 0644 "$new"
containerd --config "$new" config dump >/dev/null
sync -d "$new"
mv -fT "$new" /etc/containerd/config.toml
;;
*)
(umask 022; mkdir -p /etc/containerd)
new=/etc/containerd/.k8sha.config.toml
rm -f "$new"
trap 'rm -f "$new"' EXIT
umask 077
set -C
base64 -d >"$new" <<'END'
dmVyc2lvbiA9IDMK
END
set +C
chown root:root "$new"
chmod 0644 "$new"
containerd --config "$new" config dump >/dev/null
sync -d "$new"
mv -fT "$new" /etc/containerd/config.toml
;;
esac
