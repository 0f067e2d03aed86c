# Which copies of backups may go. POSIX sh; nothing here looks at a clock: the names say when a copy was made.
# k8sha-etcd-20261122T214315Z-master-2-3.5.16-44.tar: time (UTC), host, version of etcd, revision.

# k8sha_copies FOLDER WROTE: names that this host's schedule wrote (they are in the file WROTE) and that are there, the
# newest first. Others lie there under names like these: what backup() keeps, and other hosts' copies in a shared folder.
k8sha_copies() {
  [ -s "$2" ] || return 0
  grep -E '^k8sha-etcd-[0-9]{8}T[0-9]{6}Z-[a-z0-9.-]+-[0-9]+\.[0-9]+\.[0-9]+-[0-9]+\.tar$' "$2" | LC_ALL=C sort -ru |
    while read -r k8sha_name; do
      if [ -f "$1/$k8sha_name" ]; then echo "$k8sha_name"; fi
    done
}

k8sha_good() { # FILE: whether it is as it was when it had been proven
  [ -s "$1.sha256" ] || return 1
  k8sha_is=$(sha256sum <"$1") || return 1
  [ "$(cat "$1.sha256")" = "${k8sha_is%% *}" ]
}

# k8sha_expired KEEP JUST: of "good NAME" and "bad NAME" lines, the newest first, prints the names that may go: those
# that KEEP good ones are newer than. Never JUST (the one that was made now, whatever the clock said), and never the
# newest good one of a minor version of etcd: it is what an upgrade is undone with. Without JUST nothing goes.
k8sha_expired() {
  k8sha_count=0 k8sha_minors=' '
  while read -r k8sha_state k8sha_name; do
    k8sha_minor=$(printf '%s' "$k8sha_name" | sed 's/.*-\([0-9]*\.[0-9]*\)\.[0-9]*-[0-9]*\.tar$/\1/')
    k8sha_stays=
    case $k8sha_minors in
      *" $k8sha_minor "*) ;;
      *) if [ "$k8sha_state" = good ]; then k8sha_stays=yes k8sha_minors="$k8sha_minors$k8sha_minor "; fi ;;
    esac
    if [ -n "$2" ] && [ "$k8sha_count" -ge "$1" ] && [ -z "$k8sha_stays" ] && [ "$k8sha_name" != "$2" ]; then
      echo "$k8sha_name"
    fi
    if [ "$k8sha_state" = good ]; then k8sha_count=$((k8sha_count + 1)); fi
  done
}

# k8sha_retain FOLDER KEEP JUST WROTE: removes what may go, if JUST is good, and strikes it out of WROTE.
k8sha_retain() {
  if ! k8sha_good "$1/$3"; then
    echo "$3 is not as it was proven: nothing is removed" >&2
    return 1
  fi
  for k8sha_copy in $(k8sha_copies "$1" "$4"); do
    if k8sha_good "$1/$k8sha_copy"; then echo "good $k8sha_copy"; else echo "bad $k8sha_copy"; fi
  done >"$4.listed"
  for k8sha_copy in $(k8sha_expired "$2" "$3" <"$4.listed"); do
    rm -f "$1/$k8sha_copy"
    rm -f "$1/$k8sha_copy.sha256"
    grep -vxF "$k8sha_copy" "$4" >"$4.new" # JUST is left in any case
    mv -f "$4.new" "$4"
  done
  rm -f "$4.listed"
}
