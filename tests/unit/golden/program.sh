{
umask 077
LC_ALL=C; PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
k8sha_run=/run/k8sha; k8sha_locked=${1-}; k8sha_d="$k8sha_run/none"
[ -d "$k8sha_run" ] || mkdir -p "$k8sha_run"
k8sha_p=$PPID; k8sha_q=$PPID
while [ "$k8sha_q" -gt 1 ]; do
read -r k8sha_s <"/proc/$k8sha_q/stat" || break
case $k8sha_s in *" (sshd"*|*" (dropbear"*) k8sha_p=$k8sha_q; break;; esac
k8sha_s=${k8sha_s##*") "}; k8sha_s=${k8sha_s#* }; k8sha_q=${k8sha_s%% *}
done
k8sha_leave() { rm -f "$k8sha_d".*; exit 70; }
trap k8sha_leave HUP INT PIPE TERM
}
k8sha_0123456789abcdef() {
if [ -z "$k8sha_locked" ]; then
exec 9>>"$k8sha_run/lock"
if flock -w 1 9; then
k8sha_locked=1
printf '%s %s\n' "$k8sha_p" 'ann@desk pid 1' >"$k8sha_run/holder"
set --
for k8sha_old in "$k8sha_run"/trip.*; do
k8sha_s=${k8sha_old##*/trip.}
if [ -e "$k8sha_old" ] && [ ! -d "/proc/${k8sha_s%%.*}" ]; then set -- "$@" "$k8sha_old"; fi
done
if [ $# -gt 0 ]; then rm -rf -- "$@"; fi
else
exec 9>&-
k8sha_h=; k8sha_who=
if [ -r "$k8sha_run/holder" ]; then read -r k8sha_h k8sha_who <"$k8sha_run/holder"; fi
k8sha_h=${k8sha_h:-0}; k8sha_who=${k8sha_who:-unknown}
if [ -d "/proc/$k8sha_h" ]; then k8sha_s=live; else k8sha_s=orphan; fi
printf '%s busy %s %s %s\n%s end\n' 0123456789abcdef "$k8sha_s" "$k8sha_h" "$k8sha_who" 0123456789abcdef
return 0
fi
fi
k8sha_d="$k8sha_run/trip.$$.0123456789abcdef"; : >"$k8sha_d.on" || exit 70
k8sha_ok=1; k8sha_rcs=
if [ "$k8sha_ok" = 1 ]; then
[ -d "/proc/$k8sha_p" ] || k8sha_leave
printf '%s begin %s\n' 0123456789abcdef 0
read -r k8sha_t k8sha_s </proc/uptime; k8sha_b=${k8sha_t%.*}${k8sha_t#*.}
LC_ALL=C.UTF-8 timeout -k 10 7 sh -eu /dev/fd/3 3<<'0123456789abcdef_0' </dev/null >"$k8sha_d.out" 2>"$k8sha_d.err"
token='it'"'"'s secret'
echo "$token" >/run/token
0123456789abcdef_0
k8sha_rc=$?
read -r k8sha_t k8sha_s </proc/uptime; k8sha_t=${k8sha_t%.*}${k8sha_t#*.}
printf '%s did %s %s %s ' 0123456789abcdef 0 "$k8sha_rc" $(( (k8sha_t - k8sha_b) * 10 ))
tail -c 4000000 "$k8sha_d.out" | base64 -w 0; printf ' '
tail -c 4000000 "$k8sha_d.err" | base64 -w 0; printf ' .\n'
if [ "$k8sha_rc" != 0 ]; then k8sha_ok=0; fi
fi
rm -f "$k8sha_d.out" "$k8sha_d.err"
timeout -k 5 5 sh -eu /dev/fd/3 3<<'0123456789abcdef_0p' </dev/null >"$k8sha_d.0.out" 2>"$k8sha_d.0.err"
echo alone
0123456789abcdef_0p
k8sha_rcs="$k8sha_rcs,$?"
k8sha_look() {
timeout -k 5 "$1" sh /dev/fd/3 "$k8sha_d" "$2" 3<<'0123456789abcdef_1s' </dev/null
if [ "$2" = all ] || [ "$2" = 1 ]; then
read -r k8sha_t k8sha_s </proc/uptime; echo "${k8sha_t%.*}${k8sha_t#*.}" >"$1.1.began"
( set -eu --; . /dev/fd/4 ) 4<<'0123456789abcdef_1p' >"$1.1.out" 2>"$1.1.err"
cat /etc/hostname
0123456789abcdef_1p
echo "$?" >"$1.1.exit"
fi
if [ "$2" = all ] || [ "$2" = 2 ]; then
read -r k8sha_t k8sha_s </proc/uptime; echo "${k8sha_t%.*}${k8sha_t#*.}" >"$1.2.began"
( set -eu --; . /dev/fd/4 ) 4<<'0123456789abcdef_2p' >"$1.2.out" 2>"$1.2.err"
echo beside
0123456789abcdef_2p
echo "$?" >"$1.2.exit"
fi
0123456789abcdef_1s
}
k8sha_look 61 all
for k8sha_i in 1 2; do
k8sha_rc=
if [ ! -s "$k8sha_d.$k8sha_i.exit" ]; then
read -r k8sha_t k8sha_s </proc/uptime; k8sha_b=${k8sha_t%.*}${k8sha_t#*.}; k8sha_t=$k8sha_b
if [ -s "$k8sha_d.$k8sha_i.began" ]; then read -r k8sha_b <"$k8sha_d.$k8sha_i.began"; fi
if [ $((k8sha_t - k8sha_b)) -ge 6000 ]; then k8sha_rc=124; else k8sha_look 60 "$k8sha_i"; k8sha_rc=$?; fi
fi
if [ -s "$k8sha_d.$k8sha_i.exit" ]; then read -r k8sha_rc <"$k8sha_d.$k8sha_i.exit"; fi
k8sha_rcs="$k8sha_rcs,$k8sha_rc"
done
set --; k8sha_s=.
for k8sha_i in 0.out 0.err 1.out 1.err 2.out 2.err; do
if [ -s "$k8sha_d.$k8sha_i" ]; then set -- "$@" "$k8sha_d.$k8sha_i"
elif [ ! -f "$k8sha_d.$k8sha_i" ]; then k8sha_s=lost; fi
done
printf '%s seen %s %s ' 0123456789abcdef "$k8sha_rcs" "$#"
if [ $# -gt 0 ]; then head -v -c 4000001 -- "$@" | base64 -w 0; fi
printf ' %s\n' "$k8sha_s"
rm -f "$k8sha_d".*
printf '%s end\n' 0123456789abcdef
}
k8sha_0123456789abcdef; unset -f k8sha_0123456789abcdef
