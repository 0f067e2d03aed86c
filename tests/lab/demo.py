"""A service that says with which configuration it runs, for tests of what makes a service restart."""

from __future__ import annotations

from k8sha.component import Component
from k8sha.hosts import Host
from k8sha.resources import Directory, File, Service
from k8sha.stage import Stage
from tests.unit.fake import Parts

__all__ = ["REMOVE_DEMO", "demo"]

FOLDER = "/etc/k8sha-test"

REMOVE_DEMO = f"""\
systemctl disable --quiet --now demo.service || :
rm -rf /etc/systemd/system/demo.service /usr/local/bin/demo /run/demo {FOLDER} /var/lib/k8sha/restarted/demo.service*
systemctl daemon-reload"""

DEMO = """\
#!/bin/sh
# A service that says with which configuration it runs.
mkdir -p /run/demo
load() { cp /etc/k8sha-test/demo.conf /run/demo/running; }
trap load HUP
load
while :; do sleep 0.1; done
"""


def demo(host: Host, text: str = "one\n", *, reload: bool = False) -> Component:
    """A service with its program, its unit and its configuration."""
    program = File("/usr/local/bin/demo", DEMO, mode="0755")
    unit = File(
        "/etc/systemd/system/demo.service",
        "[Service]\nExecStart=/usr/local/bin/demo\nExecReload=/bin/kill -HUP $MAINPID\n"
        "[Install]\nWantedBy=multi-user.target\n",
    )
    config = File(f"{FOLDER}/demo.conf", text)
    service = Service("demo", watches=(unit, config), program="/usr/local/bin/demo", reload=reload)
    return Parts((Stage("demo", {host: (Directory(FOLDER), program, unit, config, service)}),))
