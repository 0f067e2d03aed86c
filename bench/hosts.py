"""The hosts of the bench: one container with systemd and no network, and in it an sshd for each host.

They listen on loopback addresses 127.0.1.N of the container's own network namespace, which the tools are made to enter:
nothing leaves the machine, and nothing else on it is in the way. How a host differs from the next: ``host/bench-host``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, frozen

from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["DIRECT", "PROXIED", "Fleet", "Hosts", "run"]

DIRECT, PROXIED = "127.0.1", "127.0.2"
PORT = 2222

_SSHD = """\
Port {port}
HostKey /bench/host_key
AuthorizedKeysFile /bench/user_key.pub
# The folder is not root's, or is reached through one that is not.
StrictModes no
PasswordAuthentication no
# One logind would serve all hosts; a real host has its own.
UsePAM no
PrintMotd no
# All hosts are asked at once, by one client.
MaxStartups 100
PerSourcePenalties no
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""

_RESET = r"""
systemctl stop 'bench-host@*'
rm -rf /run/bench
for number in $(seq 1 "$1"); do set -- "$@" "bench-host@$number"; done
shift
systemctl start "$@"
"""

_STATE = r"""
for number in $(seq 1 "$1"); do
  cd "/run/bench/$number/etc"
  kept=$(cat modules-load.d/kubernetes.conf crictl.yaml containerd/config.toml 2>/dev/null | sha256sum | cut -c 1-64)
  modes=$(stat -c %a modules-load.d/kubernetes.conf crictl.yaml containerd/config.toml 2>/dev/null | tr '\n' ' ')
  sysctl=$(sort sysctl.d/90-kubernetes.conf 2>/dev/null | tr '\n' ';')
  swap=$(awk '$1 !~ /^#/ && $3 == "swap" { lines++ } END { print lines + 0 }' fstab)
  touched=$(find . -printf '%P %i %C@\n' | sort | sha256sum | cut -c 1-64)
  printf '%s|%s|%s|%s|%s\n' "$kept" "$modes" "$sysctl" "$swap" "$touched"
done
"""


def run(*command: str, text: str = "") -> str:
    """What a command prints. Raises CalledProcessError with its output in the notes."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}\n{error.stderr}")
        raise
    return done.stdout


@frozen
class Fleet:
    """What a tool must know to reach some hosts."""

    addresses: tuple[str, ...]
    port: int
    key: str
    known_hosts: str

    def write(self, path: Path) -> Path:
        """As JSON, for those who read it in another process."""
        path.write_text(json.dumps(asdict(self)))
        return path


@frozen
class Hosts:
    """The running container."""

    container: str
    process: int
    folder: Path

    @classmethod
    @contextmanager
    def up(cls, image: str, folder: Path) -> Iterator[Hosts]:
        """Start the container, with throw-away keys; take it away in the end, whatever happened."""
        for name in ("host_key", "user_key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(folder / name))
        (folder / "sshd_config").write_text(_SSHD.format(port=PORT))
        container = run("docker", "run", *_docker_options(folder), image).strip()
        try:
            process = int(run("docker", "inspect", "--format", "{{.State.Pid}}", container))
            hosts = cls(container, process, folder)
            hosts._await_systemd()
            yield hosts
        finally:
            run("docker", "rm", "--force", "--volumes", container)

    def fleet(self, count: int, *, proxied: bool = False) -> Fleet:
        """The first so many hosts, with a known_hosts file that has those and no others."""
        net = PROXIED if proxied else DIRECT
        addresses = tuple(f"{net}.{number}" for number in range(1, count + 1))
        key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        known = self.folder / f"known_hosts.{net}.{count}"
        known.write_text("".join(f"[{address}]:{PORT} {key}\n" for address in addresses))
        return Fleet(addresses, PORT, str(self.folder / "user_key"), str(known))

    def inside(self, *command: str) -> tuple[str, ...]:
        """A command of this machine that shares the hosts' network."""
        return ("nsenter", "--target", str(self.process), "--net", "--", *command)

    def execute(self, text: str, *arguments: str) -> str:
        """A shell text in the container, as root."""
        return run("docker", "exec", "--interactive", self.container, "sh", "-eu", "-s", "--", *arguments, text=text)

    def reset(self, count: int) -> None:
        """This many hosts and no others, each as if just installed."""
        self.execute(_RESET, str(count))
        addresses = self.fleet(count).addresses

        def look() -> str:
            listening = run(*self.inside("ss", "-Hltn", f"sport = :{PORT}")).split()
            missing = [address for address in addresses if f"{address}:{PORT}" not in listening]
            if missing:
                raise NotYet(f"{len(missing)} do not, among them {missing[0]}")
            return ""

        wait_for(Check("every sshd listens", look), timeout=120, interval=0.2)

    def state(self, count: int) -> tuple[str, ...]:
        """Of each of the first so many hosts: what the tasks should have made, and a hash that any touch changes."""
        return tuple(self.execute(_STATE, str(count)).splitlines())

    def cpu(self) -> float:
        """Seconds of CPU that all hosts together have used so far: sshd, and what the tools ran there."""
        lines = Path(f"/proc/{self.process}/cgroup").read_text().splitlines()
        places = {kind: path for _, kind, path in (line.split(":", 2) for line in lines)}
        if "cpuacct" in (kinds := {kind: name for name in places for kind in name.split(",")}):
            name = kinds["cpuacct"]
            return int(Path(f"/sys/fs/cgroup/{name}{places[name]}/cpuacct.usage").read_text()) / 1e9
        folder = Path(f"/sys/fs/cgroup{places['']}").parent  # systemd lives in init.scope of its own tree
        used = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
        return int(used["usage_usec"]) / 1e6

    def _await_systemd(self) -> None:
        def look() -> str:
            done = subprocess.run(
                ("docker", "exec", self.container, "systemctl", "is-system-running"), capture_output=True, text=True
            )
            if done.stdout.strip() not in ("running", "degraded"):
                raise NotYet(done.stdout.strip() or done.stderr.strip())
            return done.stdout.strip()

        wait_for(Check("systemd runs in the container", look), timeout=120, interval=0.5)


def _docker_options(folder: Path) -> Sequence[str]:
    key = (folder / "user_key.pub").read_text().strip()
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    lacking = not int(status["CapBnd"], 16) >> 24 & 1  # CAP_SYS_RESOURCE, without which --privileged fails
    version = int(run("docker", "version", "--format", "{{.Server.Version}}").split(".")[0])
    drop = ("--cap-drop", "SYS_RESOURCE") if lacking and version < 23 else ()
    # The same as the lab's hosts have (Vagrantfile), but no network.
    return (
        *("--detach", "--name", f"k8sha-bench-{os.getpid()}", "--label", "k8sha.bench", "--network", "none"),
        *("--cap-add", "ALL", *drop, "--cgroupns", "private"),
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *("--security-opt", "systempaths=unconfined", "--device-cgroup-rule", "a *:* rwm", "--device", "/dev/kmsg"),
        *("--tmpfs", "/run:exec", "--tmpfs", "/tmp:exec", "--stop-signal", "SIGRTMIN+3"),
        *("--env", "LAB_DNS=", "--env", f"LAB_KEY={key}", "--volume", f"{folder}:/bench:ro"),
    )
