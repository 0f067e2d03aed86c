#!/bin/sh
# Written by k8sha: what this balancer sees, for node_exporter's textfile collector.
#   export-balancer write FOLDER VIP PORT    who holds the VIP, and HAProxy's servers (PORT 0: none)
#   export-balancer watch FOLDER VIP         how often the VIP came here, for as long as this runs
set -eu
do=$1 folder=$2 vip=$3

# put NAME: what is on stdin becomes that file, whole.
put() {
  cat >"$folder/.$1"
  chmod 0644 "$folder/.$1"
  mv -f "$folder/.$1" "$folder/$1"
}

write() {
  port=$1 held=0 answers=0
  if [ -n "$(ip -o -4 address show to "$vip/32")" ]; then held=1; fi
  servers=
  if [ "$port" != 0 ] && found=$(curl -fsS --max-time 5 "http://127.0.0.1:$port/metrics"); then
    answers=1
    servers=$(printf '%s\n' "$found" | awk '/^(# (HELP|TYPE) )?haproxy_server_/')
  fi
  {
    echo '# HELP k8sha_vip_held Whether this balancer has the virtual address.'
    echo '# TYPE k8sha_vip_held gauge'
    echo "k8sha_vip_held{vip=\"$vip\"} $held"
    if [ "$port" != 0 ]; then
      echo '# HELP k8sha_haproxy_answers Whether HAProxy gave its own metrics.'
      echo '# TYPE k8sha_haproxy_answers gauge'
      echo "k8sha_haproxy_answers $answers"
    fi
    if [ -n "$servers" ]; then printf '%s\n' "$servers"; fi
  } | put k8sha-balancer.prom
}

acquired() {
  {
    echo '# HELP k8sha_vip_acquired_total How often the virtual address came to this balancer.'
    echo '# TYPE k8sha_vip_acquired_total counter'
    echo "k8sha_vip_acquired_total{vip=\"$vip\"} $1"
  } | put k8sha-vip.prom
}

watch() {
  count=0
  acquired 0
  ip -o -4 monitor address | while read -r line; do
    case $line in
    Deleted*) ;;
    *" inet $vip/"*)
      count=$((count + 1))
      acquired "$count"
      ;;
    esac
  done
}

case $do in
write) write "$4" ;;
watch) watch ;;
*)
  echo "usage: $0 write FOLDER VIP PORT | watch FOLDER VIP" >&2
  exit 2
  ;;
esac
