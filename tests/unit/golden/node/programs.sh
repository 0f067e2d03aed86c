# probe
look() {
  if [ ! -f "$1" ]; then echo "absent $1"; return 0; fi
  now=$(stat -L -c '%s-%i-%.Z' "$1")
  sum=
  if [ -f "$2" ]; then
    if ! read -r sum was <"$2" || [ "$was" != "$now" ]; then sum=; fi
  fi
  if [ -z "$sum" ]; then sum=$(sha256sum <"$1"); sum=${sum%% *}; fi
  echo "$sum $(stat -L -c '0%a %U:%G' "$1") $1"
}
look /usr/local/bin/kubelet /var/lib/k8sha/placed/usr-local-bin-kubelet


# apply
mkdir -p /var/lib/k8sha/placed
place() {
  if [ -f "$2" ]; then
    if ! printf '%s  %s\n' "$3" "$2" | sha256sum -c --quiet -; then
      rm -f "$2"
      echo "$1 was damaged on its way here: run again" >&2
      return 1
    fi
    (umask 022; mkdir -p "${1%/*}")
    chown root:root "$2"
    chmod 0755 "$2"
    mv -fT "$2" "$1.k8sha"
    if [ -x /usr/sbin/restorecon ]; then /usr/sbin/restorecon "$1.k8sha"; fi
    mv -fT "$1.k8sha" "$1"
  else
    printf '%s  %s\n' "$3" "$1" | sha256sum -c --quiet -
    chown root:root "$1"
    chmod 0755 "$1"
  fi
  printf '%s %s\n' "$3" "$(stat -L -c '%s-%i-%.Z' "$1")" >"$4.new"
  mv -f "$4.new" "$4"
}
place /usr/local/bin/kubelet /var/lib/k8sha/upload/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa /var/lib/k8sha/placed/usr-local-bin-kubelet

