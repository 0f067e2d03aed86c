#!/bin/sh
# Written by k8sha: when the certificates of this master end, for node_exporter's textfile collector.
#   export-certificates FOLDER [ROOT]      ROOT stands before every path that is read
set -eu
folder=$1 root=${2:-}
new=$folder/.k8sha-certificates.prom
metric=k8sha_certificate_not_after_timestamp_seconds

# ended FILE TEXT: one line of the metric; TEXT is what openssl says.
ended() {
  printf '%s{file="%s"} %s\n' "$metric" "${1#"$root"}" "$(date -d "${2#notAfter=}" +%s)"
}

{
  printf '# HELP %s When a certificate ends.\n# TYPE %s gauge\n' "$metric" "$metric"
  for file in "$root"/etc/kubernetes/pki/*.crt "$root"/etc/kubernetes/pki/etcd/*.crt \
    "$root"/var/lib/kubelet/pki/kubelet-client-current.pem; do
    if [ -s "$file" ]; then
      end=$(openssl x509 -noout -enddate -in "$file")
      ended "$file" "$end"
    fi
  done
  for file in "$root"/etc/kubernetes/*.conf; do
    if [ ! -s "$file" ]; then continue; fi
    data=$(sed -n 's/^ *client-certificate-data: //p' "$file")
    if [ -n "$data" ]; then # the kubelet's own refers to a file, which was looked at above
      pem=$(printf '%s' "$data" | base64 -d)
      end=$(printf '%s\n' "$pem" | openssl x509 -noout -enddate)
      ended "$file" "$end"
    fi
  done
  echo '# HELP k8sha_certificates_looked_at_timestamp_seconds When this was looked at.'
  echo '# TYPE k8sha_certificates_looked_at_timestamp_seconds gauge'
  echo "k8sha_certificates_looked_at_timestamp_seconds $(date +%s)"
} >"$new"
chmod 0644 "$new"
mv -f "$new" "$folder/k8sha-certificates.prom"
