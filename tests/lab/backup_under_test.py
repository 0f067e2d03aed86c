"""A backup that a test may kill: ``python -m tests.lab.backup_under_test KEY KNOWN_HOSTS FOLDER [--stacked] H=IP``."""

from __future__ import annotations

import sys

from k8sha import SSH, EtcdCluster, Event, Folder, Host, Passphrase


def tell(event: Event) -> None:
    sys.stdout.write(f"{event}\n")
    sys.stdout.flush()


def main() -> None:
    key, known_hosts, folder, *members = sys.argv[1:]
    ssh = SSH("vagrant", key=key, known_hosts=known_hosts)
    stacked = members[0] == "--stacked"
    hosts = [Host(*member.split("=", 1), ssh=ssh) for member in members[stacked:]]
    EtcdCluster(hosts, stacked=stacked).backup([Folder(folder)], encrypt=Passphrase("a word"), listen=tell)


if __name__ == "__main__":
    main()
