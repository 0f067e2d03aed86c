"""Where the cluster under test comes from: a module of the user's, or the lab."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from k8sha import Cluster

from .lab.commands import REPOSITORY
from .lab_cluster import find_origin, kubernetes_cluster, stand_in_cluster
from .options import NO_KUBERNETES, Options
from .record import Certificate
from .subject import Power, Subject
from .tell import Tell
from .topology import DEFAULT
from .vagrant import Lab

__all__ = ["from_lab", "from_module", "the_lab"]


def the_lab(say: Callable[[str], None]) -> Lab:
    """The lab that the environment speaks of, or the usual one; see the Vagrantfile for the variables."""
    topology = Path(os.environ.get("K8SHA_TOPOLOGY", DEFAULT))
    home = Path(os.environ.get("VAGRANT_DOTFILE_PATH", REPOSITORY / ".vagrant"))
    return Lab(topology, home=home, provider=os.environ.get("VAGRANT_DEFAULT_PROVIDER", "docker"), listen=say)


def from_module(path: Path) -> Subject:
    """The user's own: a module that defines ``cluster``, and ``power`` if there is power over its machines."""
    names = runpy.run_path(str(path), run_name="cluster")
    cluster = names.get("cluster")
    if not isinstance(cluster, Cluster):
        raise pytest.UsageError(f"{path} defines no `cluster` that is a k8sha.Cluster")
    power: Power | None = names.get("power")
    return Subject(cluster, path.name, power)


def from_lab(lab: Lab, options: Options, certificate: Certificate, tell: Tell) -> Subject:
    """The lab's: with Kubernetes, or in front of stand-ins where there is nowhere to take it from; that is put on
    record."""
    origin = find_origin(options.bundle, stand_ins=options.stand_ins)
    title = f"Lab {lab.topology.network}"
    if origin.source is None or origin.version is None:
        certificate.notes.append(NO_KUBERNETES.format(reason=origin.words))
        tell.say(f"no Kubernetes: {origin.words}")
        return Subject(stand_in_cluster(lab), title, lab)
    certificate.facts.append(("Kubernetes comes from", origin.words))
    tell.say(f"Kubernetes {origin.version}: {origin.words}")
    return Subject(kubernetes_cluster(lab, origin.source, origin.version), title, lab)
