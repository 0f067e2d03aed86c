#!/bin/sh
# Written by k8sha: approves the serving certificates of kubelets, those alone that ask for what is theirs.
#
# A request is let through if it comes from system:node:NAME, asks for the usages of a server, its subject is
# O=system:nodes, CN=system:node:NAME, and every name and address in it is one that the Node object NAME has.
# Everything else is left as it is, for a person to look at.
set -eu
umask 077
export KUBECONFIG=/etc/kubernetes/admin.conf
if [ ! -s "$KUBECONFIG" ]; then exit 0; fi
kubectl="kubectl --request-timeout=20s"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Usages have spaces in them, so they are what is left of a line.
each='{{.metadata.name}} {{.spec.username}} {{.spec.request}} {{range .spec.usages}}{{.}},{{end}}{{"\n"}}'
$kubectl get certificatesigningrequests --field-selector=spec.signerName=kubernetes.io/kubelet-serving \
  -o go-template="{{range .items}}{{if not .status.conditions}}$each{{end}}{{end}}" \
  >"$folder/pending"

refuse() { echo "$1 of $2 is not approved: $3" >&2; }

while read -r name user request usages; do
  node=${user#system:node:}
  if [ "$node" = "$user" ] || [ -z "$node" ]; then refuse "$name" "$user" "no node asks for it"; continue; fi
  case $usages in
    "digital signature,server auth," | "key encipherment,digital signature,server auth," | \
      "digital signature,key encipherment,server auth,") ;;
    *) refuse "$name" "$user" "it asks for $usages"; continue ;;
  esac
  printf '%s' "$request" | base64 -d >"$folder/csr"
  if ! openssl req -in "$folder/csr" -noout -verify >"$folder/said" 2>&1; then
    refuse "$name" "$user" "its signature is wrong"; continue
  fi
  subject=$(openssl req -in "$folder/csr" -noout -subject -nameopt RFC2253)
  if [ "$subject" != "subject=CN=$user,O=system:nodes" ]; then refuse "$name" "$user" "its $subject"; continue; fi
  if ! $kubectl get node "$node" -o go-template='{{range .status.addresses}}{{.address}}{{"\n"}}{{end}}' >"$folder/own"
  then refuse "$name" "$user" "there is no such node"; continue; fi
  openssl req -in "$folder/csr" -noout -text |
    sed -n '/Subject Alternative Name/{n;s/^ *//;s/, /\n/g;p;}' >"$folder/names"
  strange=$(awk 'FNR == NR { own[tolower($0)] = 1; next }
    /^DNS:/ { value = substr($0, 5) } /^IP Address:/ { value = substr($0, 12) }
    !/^(DNS|IP Address):/ || !(tolower(value) in own) { print }' "$folder/own" "$folder/names")
  if [ ! -s "$folder/names" ]; then refuse "$name" "$user" "it names nothing"; continue; fi
  if [ -n "$strange" ]; then refuse "$name" "$user" "it asks for $(echo $strange)"; continue; fi
  $kubectl certificate approve "$name"
done <"$folder/pending"
