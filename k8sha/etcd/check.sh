# Judging a snapshot of etcd, on a host that has etcd's programs in $BIN. POSIX sh; it may be sourced or pasted.
#
# k8sha_check FILE SCRATCH [MARKER]
#   FILE is judged, and never written to. SCRATCH is a folder, made if need be, on a disk that may be written to; what a
#   judgement makes in it, and runs from it, is gone afterwards, also if the shell that runs it is killed.
#   MARKER, if given, is what one of the keys below k8sha/backup must hold.
#   Prints one fact a line, "name value". Where FILE is no good, the last of them is "refused CODE: WORDS", and it
#   returns 1. See k8sha/etcd/snapshot.py for the names.

# The data of a trial are kept from the disk's cache of the real member, and from its share of the processor.
k8sha_quietly() { env -i PATH="$PATH" LC_ALL=C nice -n 19 "$@"; }

k8sha_refuse() {
  printf 'refused %s: %s\n' "$1" "$(printf '%s' "$2" | tr '\n\t' '  ' | tail -c 400)"
  return 1
}

# The last 32 bytes are the sha256 of all before them: etcd's own tools look at that only when they restore.
k8sha_trailer() {
  if [ ! -f "$1" ] || [ ! -r "$1" ]; then
    k8sha_refuse unreadable "there is no such file, or it can't be read"
    return
  fi
  k8sha_size=$(stat -L -c %s "$1")
  echo "size $k8sha_size"
  if [ "$k8sha_size" -eq 0 ]; then k8sha_refuse empty "the file is empty"; return; fi
  if [ $((k8sha_size % 512)) -ne 32 ]; then
    k8sha_refuse no-hash "it has $k8sha_size bytes, which is no whole number of pages and a hash"
    return
  fi
  k8sha_ends=$(tail -c 32 "$1" | od -An -v -tx1 | tr -d ' \n')
  k8sha_is=$(head -c "$((k8sha_size - 32))" "$1" | sha256sum)
  if [ "${k8sha_is%% *}" != "$k8sha_ends" ]; then
    k8sha_refuse damaged "its contents have the sha256 ${k8sha_is%% *}, and it ends in $k8sha_ends"
    return
  fi
  k8sha_is=$(sha256sum <"$1")
  echo "sha256 ${k8sha_is%% *}"
}

# What a bolt file shows to whoever reads its bytes. Pages that are free may still hold an older one, so the newest
# version counts, and members may be some that have left.
k8sha_written() {
  LC_ALL=C grep -a -o -E '(cluster|storage)Version3\.[0-9]+\.[0-9]+' "$1" | sort -u -V |
    sed -n 's/^\(cluster\|storage\)Version\(.*\)/\1_version \2/p'
  LC_ALL=C grep -a -o -E '"peerURLs":\["[^]]*\],"name":"[^"]*"' "$1" | sort -u |
    sed -n 's/^"peerURLs":\[\(.*\)\],"name":"\(.*\)"$/member \2 \1/p' | tr -d '"'
}

k8sha_ask() { (cd "$k8sha_dir" && k8sha_quietly "$BIN/etcdctl" --endpoints=unix://k8sha:1 "$@"); }

k8sha_number() { sed -n 's/.*"'"$1"'":\([0-9][0-9]*\).*/\1/p'; }

k8sha_end() {
  if [ -n "${k8sha_etcd:-}" ]; then
    if kill -KILL "$k8sha_etcd" 2>/dev/null; then
      if wait "$k8sha_etcd" 2>/dev/null; then :; fi # its status is that of the signal, and "set -e" holds in a trap
    fi
    k8sha_etcd=
  fi
  if [ -n "${k8sha_dir:-}" ]; then rm -rf "$k8sha_dir"; fi
  k8sha_dir=
}

# A member of its own, made of the file: its sockets are files in a folder that only we may enter, so that it takes no
# port and nobody else can ask it. It dies with this shell.
k8sha_trial() {
  if ! k8sha_said=$(k8sha_quietly "$BIN/etcdutl" snapshot restore "$1" --data-dir "$k8sha_dir/data" --name trial \
    --initial-cluster trial=http://127.0.0.1:2 --initial-advertise-peer-urls http://127.0.0.1:2 2>&1); then
    k8sha_refuse restore "etcd can't restore it: $k8sha_said"
    return
  fi
  set -- "$BIN/etcd" --data-dir data --name trial --initial-cluster trial=http://127.0.0.1:2 \
    --initial-advertise-peer-urls http://127.0.0.1:2 --listen-peer-urls unix://k8sha:2 \
    --listen-client-urls unix://k8sha:1 --advertise-client-urls http://127.0.0.1:1 \
    --heartbeat-interval 10 --election-timeout 100
  (cd "$k8sha_dir" && exec setpriv --pdeathsig KILL env -i PATH="$PATH" nice -n 19 "$@") \
    >"$k8sha_dir/log" 2>&1 </dev/null 8>&- 9>&- & # locks are not its to keep
  k8sha_etcd=$!
  k8sha_tries=0
  until k8sha_said=$(k8sha_ask endpoint health 2>&1); do
    k8sha_tries=$((k8sha_tries + 1))
    if [ ! -d "/proc/$k8sha_etcd" ] || [ "$k8sha_tries" -gt 60 ]; then
      k8sha_refuse start "an etcd made of it does not start: $(tail -n 3 "$k8sha_dir/log") $k8sha_said"
      return
    fi
    sleep 0.2
  done
  k8sha_said=$(k8sha_ask get '' --from-key --keys-only --limit=1 -w json 2>&1)
  k8sha_trial=$(printf '%s' "$k8sha_said" | k8sha_number revision)
  k8sha_keys=$(printf '%s' "$k8sha_said" | k8sha_number count)
  printf 'trial_revision %s\nkeys %s\n' "${k8sha_trial:-0}" "${k8sha_keys:-0}"
  if [ "${k8sha_trial:-0}" -lt "$k8sha_revision" ]; then
    k8sha_refuse revision "an etcd made of it is at revision ${k8sha_trial:-none}, and the file at $k8sha_revision"
    return
  fi
  k8sha_found=$(k8sha_ask get k8sha/backup --prefix --sort-by=MODIFY --order=DESCEND --limit=1 --print-value-only)
  if [ -n "$k8sha_found" ]; then printf 'marker %s\n' "$k8sha_found"; fi
  # Where Kubernetes' users see a marker: of this backup, or of an earlier one.
  k8sha_found=$(k8sha_ask get /registry/configmaps/kube-system/k8sha-backup --print-value-only |
    LC_ALL=C grep -a -o '{"id":"[^}]*}' | head -n 1)
  if [ -n "$k8sha_found" ]; then printf 'shown %s\n' "$k8sha_found"; fi
  k8sha_found=$(k8sha_ask get k8sha/identity --print-value-only)
  if [ -n "$k8sha_found" ]; then printf 'identity %s\n' "$k8sha_found"; fi
}

k8sha_status() {
  if ! k8sha_said=$(k8sha_quietly "$BIN/etcdutl" snapshot status "$1" -w json 2>"$k8sha_dir/log"); then
    k8sha_refuse damaged "etcd can't read it: $k8sha_said $(tail -n 3 "$k8sha_dir/log")"
    return
  fi
  k8sha_revision=$(printf '%s' "$k8sha_said" | k8sha_number revision)
  if [ -z "$k8sha_revision" ]; then k8sha_refuse damaged "etcd gives no revision of it: $k8sha_said"; return; fi
  printf 'revision %s\nhash %s\ntotal_keys %s\n' "$k8sha_revision" "$(printf '%s' "$k8sha_said" | k8sha_number hash)" \
    "$(printf '%s' "$k8sha_said" | k8sha_number totalKey)"
}

# Whether the programs here are old for it: a minor version opens no data of a later one.
k8sha_newer() {
  k8sha_own=$(k8sha_quietly "$BIN/etcd" --version | sed -n 's/^etcd Version: *v\{0,1\}//p')
  echo "etcd $k8sha_own"
  k8sha_made=$(sed -n 's/^\(cluster\|storage\)_version 3\.\([0-9]*\)\..*/\2/p' "$k8sha_dir/written" |
    sort -n | tail -n 1)
  k8sha_minor=${k8sha_own#3.}
  if [ "${k8sha_made:-0}" -gt "${k8sha_minor%%.*}" ]; then
    k8sha_refuse newer "it was made by etcd 3.$k8sha_made, and here is etcd $k8sha_own"
  fi
}

# Twice the data, and the log of 64 MB that etcd allots beforehand, twice as well.
k8sha_room() {
  k8sha_free=$(($(stat -f -c '%a * %S / 1024' "$1")))
  k8sha_needs=$((k8sha_size / 512 + 128 * 1024))
  if [ "$k8sha_free" -lt "$k8sha_needs" ]; then
    k8sha_refuse no-space "a trial takes $k8sha_needs KiB in $1, where $k8sha_free are free"
  fi
}

k8sha_sweep() {
  for k8sha_old in "$1"/check.*; do
    k8sha_pid=${k8sha_old##*/check.}
    # A process that has ended and that nobody has waited for yet has no program any more.
    if [ -d "$k8sha_old" ] && [ ! -e "/proc/${k8sha_pid%%.*}/exe" ]; then rm -rf "$k8sha_old"; fi
  done
}

k8sha_check() {
  k8sha_trailer "$1" || return 1
  if ! (umask 077; mkdir -p "$2"); then k8sha_refuse no-space "$2 can't be made"; return; fi
  k8sha_sweep "$2"
  # In a shell of its own, so that its end can clean up whatever the caller's traps are.
  (
    k8sha_etcd='' k8sha_dir=''
    trap k8sha_end EXIT
    trap 'exit 143' HUP INT TERM
    umask 077
    k8sha_self=$(exec sh -c 'echo $PPID')
    k8sha_room "$2" || exit 1
    if ! k8sha_dir=$(mktemp -d "$2/check.$k8sha_self.XXXXXX"); then
      k8sha_refuse no-space "nothing fits in $2"
      exit 1
    fi
    k8sha_written "$1" >"$k8sha_dir/written"
    cat "$k8sha_dir/written"
    k8sha_newer && k8sha_status "$1" && k8sha_trial "$1" || exit 1
    if [ -n "${3:-}" ] && ! k8sha_ask get k8sha/backup --prefix --print-value-only | grep -qxF -e "$3"; then
      k8sha_refuse marker "the marker that was written before it was taken is not in it"
      exit 1
    fi
    echo "verified yes"
  )
}
