"""Restoring the lab's cluster, as a module for a process that is given one by its path: it may be killed.

The backup was taken beforehand; see test_restore.
"""

from __future__ import annotations

from pathlib import Path

from acceptance.bring_up import the_lab
from acceptance.lab_cluster import the_kubernetes
from acceptance.vagrant import Lab
from k8sha import ControlPlane, Report, Workers
from k8sha.events import Listener


def archives(lab: Lab) -> Path:
    """The folder where the one archive lies that is restored."""
    return lab.home / "killed-restore"


def work(listen: Listener) -> Report:
    """What the process is for."""
    (plane,) = cluster.of(ControlPlane)
    (archive,) = archives(_lab).glob("*.tar")
    workers = [host for group in cluster.of(Workers) for host in group.hosts]
    return plane.restore(archive, workers=workers, listen=listen).report


_lab = the_lab(lambda words: None)
cluster = the_kubernetes(_lab)
