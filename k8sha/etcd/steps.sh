# The steps of a backup on a member's host. Needs check.sh before it, and $BIN $DATA $PKI $CREDENTIALS $FILES: etcd's
# programs, its data directory, the folder of its certificates, etcdctl's options, and what goes with a snapshot.
# Each step says on standard error why it failed, and returns 1.

k8sha_member() {
  # shellcheck disable=SC2086 # the options are words
  env -u ETCDCTL_API timeout 600 "$BIN/etcdctl" --endpoints=https://127.0.0.1:2379 $CREDENTIALS "$@"
}

# k8sha_place KIB FOLDER...: prints the first folder with that much room, off etcd's own disk where there is one, and
# never in memory. On etcd's disk as much again must stay free, so that a backup never fills it.
k8sha_place() {
  k8sha_wanted=$1
  shift
  k8sha_disk=$(stat -L -c %d "$DATA")
  for k8sha_turn in off on; do
    for k8sha_folder in "$@"; do
      [ -d "$k8sha_folder" ] || continue
      case $(stat -f -c %T "$k8sha_folder") in tmpfs | ramfs) continue ;; esac
      k8sha_same=off
      if [ "$(stat -L -c %d "$k8sha_folder")" = "$k8sha_disk" ]; then k8sha_same=on; fi
      [ "$k8sha_same" = "$k8sha_turn" ] || continue
      k8sha_free=$(($(stat -f -c '%a * %S / 1024' "$k8sha_folder")))
      if [ "$k8sha_same" = on ]; then k8sha_free=$((k8sha_free / 2)); fi
      if [ "$k8sha_free" -ge "$k8sha_wanted" ]; then
        echo "$k8sha_folder"
        return
      fi
    done
  done
  echo "a backup takes $k8sha_wanted KiB, and none of these has room for it: $*" >&2
  return 1
}

# The room of a snapshot and of its trial, in KiB: three times the data, and etcd's logs.
k8sha_need() { echo $(($(stat -L -c %s "$DATA/member/snap/db") * 3 / 1024 + 160 * 1024)); }

# k8sha_mark ID: writes the marker that the snapshot must hold, and prints it; names the cluster if nobody did. Each host
# has a key of its own: the members of a cluster are backed up at the same time.
k8sha_mark() {
  k8sha_name=$(k8sha_member get k8sha/identity --print-value-only) || return
  if [ -z "$k8sha_name" ]; then
    k8sha_name=$(cat /proc/sys/kernel/random/uuid)
    # Only if no other member's backup has done so meanwhile.
    printf 'create("k8sha/identity") = "0"\n\nput k8sha/identity %s\n\n\n' "$k8sha_name" |
      k8sha_member txn >/dev/null || return
  fi
  k8sha_marker="{\"id\":\"$1\",\"time\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"host\":\"$(uname -n)\"}"
  k8sha_member put "k8sha/backup/$(uname -n)" "$k8sha_marker" >/dev/null || return
  echo "$k8sha_marker"
}

# k8sha_show KUBECTL-OPTIONS...: the marker where Kubernetes' users see it, if this host's own API server answers.
k8sha_show() {
  k8sha_map='{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"k8sha-backup","namespace":"kube-system"},'
  k8sha_map="$k8sha_map\"data\":{\"marker\":\"$(printf '%s' "$k8sha_marker" | sed 's/"/\\"/g')\"}}"
  if k8sha_said=$(printf '%s' "$k8sha_map" |
    kubectl "$@" --request-timeout=10s apply --server-side --force-conflicts --field-manager=k8sha -f - 2>&1); then
    echo "configmap written"
  else
    echo "configmap not written: $(printf '%s' "$k8sha_said" | tr '\n' ' ' | tail -c 300)"
  fi
}

# k8sha_save FILE: a snapshot, proven, with the marker in it. Prints the facts of k8sha_check and "live N": how many
# keys this member counts at that revision ("live unknown" where it is compacted by now).
k8sha_save() {
  k8sha_member snapshot save "$1" >"$1.log" 2>&1 || { tail -n 3 "$1.log" >&2; return 1; }
  rm -f "$1.log"
  if ! k8sha_check "$1" "${1%/*}/trial" "$k8sha_marker" >"$1.facts"; then
    echo "the snapshot is no good: $(sed -n 's/^refused //p' "$1.facts")" >&2
    return 1
  fi
  k8sha_at=$(sed -n 's/^trial_revision //p' "$1.facts")
  k8sha_live=unknown
  if k8sha_said=$(k8sha_member get '' --from-key --keys-only --limit=1 --rev="$k8sha_at" -w json 2>&1); then
    k8sha_live=$(printf '%s' "$k8sha_said" | k8sha_number count)
    if [ "$k8sha_live" != "$(sed -n 's/^keys //p' "$1.facts")" ]; then
      echo "at revision $k8sha_at this member has $k8sha_live keys, and one made of the snapshot has" \
        "$(sed -n 's/^keys //p' "$1.facts")" >&2
      return 1
    fi
  elif ! printf '%s' "$k8sha_said" | grep -q compacted; then
    echo "this member can't be asked how many keys it has: $k8sha_said" >&2
    return 1
  fi
  echo "live $k8sha_live" >>"$1.facts"
  cat "$1.facts"
}

# k8sha_gather FOLDER: copies of what a snapshot is worthless without, below FOLDER/files by their own paths.
k8sha_gather() {
  mkdir -p "$1/files"
  for k8sha_file in $FILES $(k8sha_named); do
    for k8sha_one in $k8sha_file; do # a pattern
      [ -f "$k8sha_one" ] || continue
      mkdir -p "$1/files${k8sha_one%/*}"
      cp -p "$k8sha_one" "$1/files$k8sha_one" || return
    done
  done
}

# Files that the API server's own options name: encryption at rest, audit, admission.
k8sha_named() {
  if [ -f /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
    k8sha_options='\(encryption-provider-config\|audit-policy-file\|admission-control-config-file\)'
    sed -n "s/^ *- --$k8sha_options=\(\/[^ ]*\)$/\2/p" /etc/kubernetes/manifests/kube-apiserver.yaml
  fi
}

# k8sha_kubeadm FOLDER KUBECTL-OPTIONS...: kubeadm's own configuration, if the API server answers; its version.
k8sha_kubeadm() {
  k8sha_to=$1
  shift
  mkdir -p "$k8sha_to/files"
  if k8sha_said=$(kubectl "$@" --request-timeout=10s -n kube-system get configmap kubeadm-config -o yaml 2>&1); then
    printf '%s\n' "$k8sha_said" >"$k8sha_to/files/kubeadm-config.yaml"
  else
    echo "kubeadm-config not saved: $(printf '%s' "$k8sha_said" | tr '\n' ' ' | tail -c 300)"
  fi
  sed -n 's/^ *image: .*kube-apiserver:v\([0-9.]*\).*/kubernetes \1/p' /etc/kubernetes/manifests/kube-apiserver.yaml
}

# What this member says of its cluster: etcd's name for it, and the voters.
k8sha_cluster() {
  k8sha_said=$(k8sha_member endpoint status -w json) || return
  echo "cluster_id $(printf '%s' "$k8sha_said" | k8sha_number cluster_id)"
  k8sha_said=$(k8sha_member member list) || return # "id, started, name, peer URLs, client URLs, whether a learner"
  printf '%s\n' "$k8sha_said" | grep -v ', true$' | sed -n 's/^[^,]*, started, \([^,]*\), .*/voter \1/p'
}

# k8sha_hashed FILE...: these, and every file below "files", as they go into the archive: "file SHA256 SIZE NAME".
k8sha_hashed() {
  for k8sha_one in "$@" $(find files -type f | LC_ALL=C sort); do
    k8sha_is=$(sha256sum <"$k8sha_one")
    echo "file ${k8sha_is%% *} $(stat -c %s "$k8sha_one") $k8sha_one"
  done
}

# Whether a snapshot of this member is worth taking: it knows a leader, votes, and no alarm is raised.
k8sha_fit() {
  k8sha_said=$(k8sha_member endpoint status -w json) || { echo "etcd does not answer here" >&2; return 1; }
  case $k8sha_said in *'"isLearner":true'*) echo "this member is a learner" >&2; return 1 ;; esac
  k8sha_leader=$(printf '%s' "$k8sha_said" | k8sha_number leader)
  if [ "${k8sha_leader:-0}" = 0 ]; then echo "this member knows no leader: there is no quorum" >&2; return 1; fi
  k8sha_said=$(k8sha_member alarm list) || return
  if [ -n "$k8sha_said" ]; then echo "an alarm is raised: $k8sha_said" >&2; return 1; fi
}

k8sha_fact() { sed -n "s/^$1 //p" "$work/facts"; }

# k8sha_descriptor NAME HOST STACKED: the descriptor of the archive, from the facts in $work.
k8sha_descriptor() {
  k8sha_live=true
  if [ "$(k8sha_fact live)" = unknown ]; then k8sha_live=false; fi
  printf '{\n  "format": 1,\n  "name": "%s",\n  "time": "%s",\n  "host": "%s",\n' "$1" "$(k8sha_fact time)" "$2"
  printf '  "identity": "%s",\n  "cluster_id": "%s",\n' "$(k8sha_fact identity)" "$(k8sha_fact cluster_id)"
  printf '  "revision": %s,\n  "hash": %s,\n' "$(k8sha_fact trial_revision)" "$(k8sha_fact hash)"
  printf '  "keys": %s,\n  "live": %s,\n  "size": %s,\n' "$(k8sha_fact keys)" "$k8sha_live" "$(k8sha_fact size)"
  printf '  "etcd": "%s",\n  "kubernetes": "%s",\n' "$(k8sha_fact etcd)" "$(k8sha_fact kubernetes)"
  printf '  "stacked": %s,\n' "$3"
  printf '  "members": [%s],\n' "$(sed -n 's/^voter \(.*\)/"\1"/p' "$work/facts" | LC_ALL=C sort | paste -s -d , -)"
  printf '  "marker": "%s",\n' "$(k8sha_fact marker | sed 's/"/\\"/g')"
  printf '  "files": {%s}\n}\n' \
    "$(sed -n 's/^file \([0-9a-f]*\) [0-9]* \(.*\)$/"\2": "\1"/p' "$work/facts" | paste -s -d , -)"
}
