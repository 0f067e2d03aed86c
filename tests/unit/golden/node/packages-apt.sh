# probe
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$file" ]; then exit 0; fi
done
missing=
for name in containerd runc; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) || status=absent
  if [ "$status" != installed ]; then missing="$missing $name"; fi
done
if [ -z "$missing" ]; then exit 0; fi
folder=$(mktemp -d /run/k8sha/apt.XXXXXX)
trap 'rm -rf "$folder"' EXIT
set -- /var/lib/apt/lists/*_Packages*
if [ -e "$1" ]; then
  for name in $missing; do
    case $(apt-cache policy "$name") in *'Candidate: (none)'*|'') echo "none $name"; none=1;; esac
  done
  if [ "${none:-}" = 1 ]; then exit 0; fi
  # A dpkg that was interrupted makes it fail; the installation mends that, or says what can't be mended.
  if ! apt-get -qq --print-uris --no-install-recommends -y install $missing >"$folder/uris" 2>&1; then exit 0; fi
else
  apt-get -qq --print-uris update >"$folder/all"
  grep InRelease "$folder/all" >"$folder/uris"
fi
tr -d "'" <"$folder/uris" | awk '{ split($1, part, "/"); server = part[3]
  if (!(server in size) || $3 < size[server]) { size[server] = $3; uri[server] = $1 } }
  END { for (server in uri) print uri[server] }' >"$folder/fetch"
while read -r uri; do
  case $uri in file:*|cdrom:*) continue;; esac
  if said=$(/usr/lib/apt/apt-helper -o Acquire::http::Timeout=5 -o Acquire::https::Timeout=5 -o Acquire::Retries=0 download-file "$uri" "$folder/file" 2>&1); then :; else
    echo "unreachable $uri $(echo "$said" | tail -n 1)"
  fi
done <"$folder/fetch"
