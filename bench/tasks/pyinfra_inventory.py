"""The hosts for pyinfra: those of the fleet that BENCH_FLEET names."""

import json
import os
from pathlib import Path

_fleet = json.loads(Path(os.environ["BENCH_FLEET"]).read_text())
hosts = [
    (
        address,
        {
            "ssh_user": "root",
            "ssh_port": _fleet["port"],
            "ssh_key": _fleet["key"],
            "ssh_known_hosts_file": _fleet["known_hosts"],
            "ssh_strict_host_key_checking": "yes",
        },
    )
    for address in _fleet["addresses"]
]
