# probe
if [ -f /etc/hosts ]; then awk '$0 == "# k8sha: api.example.com" { ours = 1; next } $0 == "# k8sha: end of api.example.com" { ours = 0; next } ours { print } ' /etc/hosts; fi

# apply
new=$(mktemp /etc/hosts.XXXXXX)
trap 'rm -f "$new"' EXIT
printf '%s\n' '# k8sha: api.example.com' '192.168.56.100 api.example.com' '# k8sha: end of api.example.com' >"$new"
if [ -f /etc/hosts ]; then awk '$0 == "# k8sha: api.example.com" { ours = 1; next } $0 == "# k8sha: end of api.example.com" { ours = 0; next } ours { next } { print }' /etc/hosts >>"$new"; fi
chmod 0644 "$new"
mv -fT "$new" /etc/hosts
