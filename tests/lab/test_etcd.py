"""etcd on hosts of its own, for real: installed, broken, mended. One story, in this order, on the masters of the lab
and two hosts more. The figures are logged: ``-o log_cli=true -o log_cli_level=INFO``."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from acceptance.vagrant import Lab
from k8sha.components.etcd import EtcdCluster
from k8sha.errors import PreflightError, VerifyError
from k8sha.etcd.access import DATA, Access
from k8sha.etcd.member import EtcdSettings
from k8sha.hosts import Host
from k8sha.waiting import Check, NotYet, wait_for

pytestmark = pytest.mark.timeout(240)

log = logging.getLogger(__name__)

ACCESS = Access(stacked=False)
LOCAL = "https://127.0.0.1:2379"
SETTINGS = EtcdSettings(skip_requirements=("disk-sync",))  # containers of one machine share its disk
SMALL = EtcdSettings(quota_bytes=16 * 1024**2, skip_requirements=("disk-sync",))


def do(host: Host, text: str) -> str:
    exit, out, err = host.execute(text)
    assert exit == 0, f"{host}: {text}: {err.decode(errors='replace')}"
    return out.decode()


def bare(host: Host) -> None:
    """A host as it was before anything was installed."""
    do(
        host,
        f"""\
if systemctl cat etcd >/dev/null 2>&1; then systemctl stop etcd; fi
DEBIAN_FRONTEND=noninteractive apt-get purge -y -q etcd-server etcd-client >/dev/null
rm -rf /etc/etcd {DATA}/* /var/lib/k8sha/etcd /var/lib/k8sha/restarted/etcd.service* /etc/systemd/system/etcd.service
rm -f /etc/sysctl.d/90-k8sha-etcd.conf
sysctl -q -w net.ipv4.tcp_retries2=15
systemctl daemon-reload""",
    )


def put(host: Host, key: str, value: str) -> str:
    """Write a key through a host's own member; what the gateway said."""
    data = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value.encode()).decode()}
    return do(host, f"{ACCESS.curl} --max-time 1 {LOCAL}/v3/kv/put -d '{json.dumps(data)}' || echo refused")


def delete(host: Host, key: str) -> None:
    """Delete a key, if it is there."""
    data = {"key": base64.b64encode(key.encode()).decode()}
    do(host, f"{ACCESS.curl} -f {LOCAL}/v3/kv/deleterange -d '{json.dumps(data)}'")


def get(host: Host, key: str) -> str:
    data = {"key": base64.b64encode(key.encode()).decode()}
    found = json.loads(do(host, f"{ACCESS.curl} {LOCAL}/v3/kv/range -d '{json.dumps(data)}'"))
    return base64.b64decode(found["kvs"][0]["value"]).decode() if found.get("kvs") else ""


def sees_everything(cluster: EtcdCluster) -> None:
    """Every check of the cluster holds, soon."""
    for check in cluster.checks():
        wait_for(check, timeout=60)


def lead(host: Host, cluster: EtcdCluster) -> None:
    """Make a host's member the leader."""
    views = cluster.views()
    data = json.dumps({"targetID": views[host.name].own_id})
    leader = next(each for each in cluster.hosts if views[each.name].leads)
    if leader != host:
        do(leader, f"{ACCESS.curl} --fail-with-body {LOCAL}/v3/maintenance/transfer-leadership -d '{data}'")


class Story:
    """The cluster under test, and the host that comes later."""

    def __init__(self, lab: Lab, hosts: Mapping[str, Host]) -> None:
        self.lab = lab
        self.members = [hosts[machine.name] for machine in lab.topology.masters]
        self.spare, self.fifth = (hosts[machine.name] for machine in lab.topology.workers[:2])
        self.etcd = EtcdCluster(self.members, settings=SETTINGS)

    @property
    def every(self) -> list[Host]:
        return [*self.members, self.spare, self.fifth]

    def leader(self) -> Host:
        views = self.etcd.views()
        return next(host for host in self.members if views[host.name].leads)


@pytest.fixture(scope="module")
def story(lab: Lab, hosts: Mapping[str, Host]) -> Iterator[Story]:
    found = Story(lab, hosts)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(bare, found.every))
    yield found
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(bare, found.every))


def test_it_is_installed_and_proven(story: Story) -> None:
    report = story.etcd.install()
    log.info(f"three members in {report.seconds:.1f} s, {report.trips} trips, load {os.getloadavg()[0]:.1f}")
    story.etcd.verify()
    put(story.members[0], "begun", "yes")
    assert [get(host, "begun") for host in story.members] == ["yes"] * 3


def test_a_second_install_changes_nothing_in_one_trip_a_stage(story: Story) -> None:
    began = {host: host.trips for host in story.members}
    report = story.etcd.install()
    assert report.changed == ()
    stages = {result.stage for result in report.results}
    trips = {host.trips - began[host] for host in story.members}
    assert trips == {len(stages) + 2}, stages  # the lock with the facts, and preflight
    assert not story.etcd.plan()


def test_secrets_are_nowhere_else(story: Story) -> None:
    keys = [do(host, f"cat {ACCESS.pki}/*.key") for host in story.members]
    lines = {line for text in keys for line in text.splitlines() if len(line) == 64}
    assert len(lines) > 100
    shown = f"{story.etcd.plan()} {story.etcd.install()}"
    for host in story.members:
        shown += do(
            host, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' '; journalctl -u etcd"
        )
        open_to_others = f"find /etc/etcd /var/lib/k8sha/etcd {DATA} -type f -perm /007"
        modes = do(host, f"for file in $({open_to_others}); do grep -l 'PRIVATE KEY' $file; done || :")
        assert modes == ""
    assert [line for line in lines if line in shown] == []


def test_who_has_no_certificate_of_ours_is_refused(story: Story) -> None:
    host, other = story.members[0], story.members[1].address
    said = do(
        host,
        f"""\
cd "$(mktemp -d)"
openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -days 1 -subj /CN=root 2>/dev/null
for call in "http://{other}:2379/version" "-k https://{other}:2379/version" \\
  "-k --cert crt --key key https://{other}:2379/version" "-k --cert crt --key key https://{other}:2380/version"; do
  if curl -sS --max-time 5 $call >out 2>&1 && ! grep -q HTTP out; then echo "$call: $(cat out)"; fi
done
ss -Hltn | grep -E ':(2379|2380|2381|4001|7001) '""",
    )
    listeners = sorted(line.split()[3] for line in said.splitlines())
    own = host.address
    assert listeners == sorted([f"{own}:2379", "127.0.0.1:2379", f"{own}:2380", "127.0.0.1:2381"]), said


def test_a_member_that_freezes_is_missed_and_comes_back(story: Story) -> None:
    lost = story.leader()
    rest = [host for host in story.members if host != lost]
    began = time.monotonic()
    story.lab.freeze(lost.name)
    try:

        def writes() -> str:
            if "refused" in (said := put(rest[0], "while", "frozen")) or "error" in said:
                raise NotYet(said)
            return said

        wait_for(Check("writes go on", writes), timeout=20, interval=0.1)
        log.info(f"writes go on {time.monotonic() - began:.2f} s after the leader froze, load {os.getloadavg()[0]:.1f}")
    finally:
        story.lab.thaw(lost.name)
        lost.close()
    sees_everything(story.etcd)
    assert get(lost, "while") == "frozen"


def test_a_follower_that_was_silent_serves_as_soon_as_it_is_back(story: Story) -> None:
    """With the kernel's own patience it heard nothing of the leader for another 11.5 s: what the leader sends waits for
    TCP's next attempt, and these are as far apart as the silence was long."""
    leader = story.leader()
    away = next(host for host in story.members if host != leader)
    began = time.monotonic()
    story.lab.freeze(away.name)
    try:

        def let_go() -> str:
            if left := do(leader, f"ss -Htn state established dst {away.address} sport = :2380"):
                raise NotYet(left)
            return "none is left"

        wait_for(Check("the leader lets go of its connections", let_go), timeout=60, interval=0.5)
    finally:
        story.lab.thaw(away.name)
        away.close()
    back = time.monotonic()
    data = json.dumps({"key": base64.b64encode(b"begun").decode()})

    def read() -> str:
        said = do(away, f"{ACCESS.curl} --max-time 1 {LOCAL}/v3/kv/range -d '{data}' || echo refused")
        if '"kvs"' not in said:
            raise NotYet(said)
        return said

    wait_for(Check("it reads what the cluster has", read), timeout=60, interval=0.1)
    took = time.monotonic() - back
    log.info(f"reads {took:.2f} s after {back - began:.1f} s of silence, load {os.getloadavg()[0]:.1f}")
    assert took < 5


def test_a_member_that_lost_its_data_joins_anew(story: Story) -> None:
    lost = story.members[0]
    before = story.etcd.views()[lost.name].own_id
    do(lost, f"systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf {DATA}/member")
    with pytest.raises(VerifyError, match=lost.name):
        story.etcd.verify()
    report = story.etcd.install()
    log.info(f"joined anew in {report.seconds:.1f} s, load {os.getloadavg()[0]:.1f}")
    story.etcd.verify()
    assert story.etcd.views()[lost.name].own_id != before
    assert get(lost, "begun") == "yes"


@pytest.mark.parametrize("alarm", ["", "CORRUPT"])
def test_one_that_is_rejoined_keeps_its_old_data_aside(story: Story, alarm: str) -> None:
    """While that alarm is raised no member counts as healthy: it must go with the member that has it."""
    host = story.members[1]
    if alarm:
        data = json.dumps({"action": "ACTIVATE", "memberID": story.etcd.views()[host.name].own_id, "alarm": alarm})
        do(host, f"{ACCESS.curl} --fail-with-body {LOCAL}/v3/maintenance/alarm -d '{data}'")
        with pytest.raises(VerifyError, match=f"{host.name} raised the alarm {alarm}"):
            story.etcd.verify()
    story.etcd.rejoin(host)
    sees_everything(story.etcd)
    assert do(host, f"ls -d {DATA}/k8sha-kept-rejoined-*/member").strip()
    do(host, f"rm -rf {DATA}/k8sha-kept-*")


def test_a_full_database_is_named_and_cured(story: Story) -> None:
    small = EtcdCluster(story.members, settings=SMALL)
    small.install()
    host = story.members[0]
    fill = f"""\
value=$(head -c 900000 /dev/zero | base64 -w 0)
n=0
while [ $n -lt 60 ]; do
  said=$(printf '{{"key":"ZmlsbA==","value":"%s"}}' "$value" | {ACCESS.curl} {LOCAL}/v3/kv/put -d @-)
  case $said in *space*) echo full; exit 0;; esac
  n=$((n + 1))
done
echo "$said\""""
    assert do(host, fill).strip() == "full"
    with pytest.raises(VerifyError, match=r"NOSPACE.*disarm"):
        small.verify()
    began = time.monotonic()
    small.disarm()
    log.info(f"cured in {time.monotonic() - began:.1f} s, load {os.getloadavg()[0]:.1f}")
    assert "error" not in put(host, "after", "cure")
    sees_everything(small)
    assert small.disarm().changed == ()
    story.etcd.install()


def test_certificates_that_end_soon_are_named_and_renewed_without_a_restart(story: Story) -> None:
    host = story.members[2]
    do(
        host,
        f"""\
cd {ACCESS.pki}
openssl req -new -key server.key -subj /CN={host.name} -out /run/k8sha/csr
printf 'subjectAltName = DNS:{host.name}, DNS:localhost, IP:{host.address}, IP:127.0.0.1\n' >/run/k8sha/ext
openssl x509 -req -in /run/k8sha/csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 5 -extfile /run/k8sha/ext \\
  -out server.crt
rm -f /run/k8sha/csr /run/k8sha/ext""",
    )
    started = do(host, "systemctl show -p ActiveEnterTimestampMonotonic etcd")
    with pytest.raises(VerifyError, match=r"server\.crt ends in [45] days"):
        story.etcd.verify()
    story.etcd.install()
    story.etcd.verify()
    assert do(host, "systemctl show -p ActiveEnterTimestampMonotonic etcd") == started


def test_defragmenting_leaves_it_whole(story: Story) -> None:
    leader = story.leader()
    report = story.etcd.defragment()
    done = [result.host for result in report.changed if "defragmented" in result.resource]
    assert sorted(done) == sorted(host.name for host in story.members)
    assert done[-1] == leader.name
    sees_everything(story.etcd)


def test_a_member_is_replaced_by_another_host(story: Story) -> None:
    dead = story.members[0]
    story.lab.freeze(dead.name)
    dead.close()
    try:
        with pytest.raises(PreflightError, match="powered_off"):
            story.etcd.replace(dead, story.spare)
        report = story.etcd.replace(dead, story.spare, powered_off=True)
        log.info(f"replaced in {report.seconds:.1f} s, load {os.getloadavg()[0]:.1f}")
    finally:
        story.lab.thaw(dead.name)
        dead.close()
    after = EtcdCluster([story.spare, *story.members[1:]], settings=SETTINGS)
    after.verify()
    assert get(story.spare, "begun") == "yes"
    with pytest.raises(PreflightError, match="still has the data"):
        after.replace(story.spare, dead)
    after.replace(story.spare, dead, wipe=True)
    story.etcd.verify()
    assert do(story.spare, "systemctl is-active etcd || true").strip() == "inactive"


def test_quorum_is_not_given_away(story: Story) -> None:
    lost, other, third = story.members
    do(lost, "systemctl stop etcd")
    with pytest.raises(PreflightError, match=r"1 of 2|would be"):
        story.etcd.rejoin(other)
    with pytest.raises(PreflightError, match="2 of 3 voters are healthy"):
        story.etcd.defragment()
    story.etcd.install()
    story.etcd.verify()
    assert get(third, "begun") == "yes"


def test_it_shrinks_and_grows(story: Story) -> None:
    one = EtcdCluster(story.members[:1], settings=SETTINGS)
    with pytest.raises(PreflightError, match="none of the given hosts"):
        one.install()
    lead(story.members[-1], story.etcd)  # so the last one to go is the leader of two, the hardest to remove
    story.etcd.remove(*story.members[1:])
    one.verify()
    story.etcd.install()
    story.etcd.verify()
    assert [get(host, "begun") for host in story.members] == ["yes"] * 3


def test_a_host_that_lost_all_never_begins_a_second_cluster(story: Story) -> None:
    first = story.members[0]
    do(first, f"systemctl stop etcd; rm -rf {DATA}/member; systemctl start etcd || true")
    assert do(first, "systemctl is-active etcd || true").strip() in ("inactive", "failed")
    for host in story.members[1:]:
        do(host, "systemctl stop etcd")
        do(host, f"mv {DATA}/member {DATA}/away")
    try:
        with pytest.raises(PreflightError, match="data is gone"):
            story.etcd.install()
    finally:
        for host in story.members[1:]:
            do(host, f"mv {DATA}/away {DATA}/member")
    story.etcd.install()
    story.etcd.verify()
    assert get(first, "begun") == "yes"


def test_three_become_five_and_bear_the_loss_of_two(story: Story) -> None:
    bare(story.spare)
    five = EtcdCluster(story.every, settings=SETTINGS)
    began = time.monotonic()
    five.install()
    five.verify()
    log.info("3 -> 5 members: %.1f s, load %.1f", time.monotonic() - began, os.getloadavg()[0])
    lost = [five.hosts[0], five.hosts[-1]]
    for host in lost:
        do(host, f"systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf {DATA}/member")

    def written() -> str:
        said = put(five.hosts[1], "two are gone", "yes")
        if "refused" in said or "error" in said:
            raise NotYet(said)
        return ""

    wait_for(Check("three of five take a write", written), timeout=30)
    with pytest.raises(VerifyError):
        five.verify()
    five.install()
    five.verify()
    assert [get(host, "two are gone") for host in five.hosts] == ["yes"] * 5
