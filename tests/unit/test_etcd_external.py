"""An etcd on hosts of its own in kubeadm's words, and that a control plane does not take one in silence."""

from __future__ import annotations

import pytest

from k8sha.components.control_plane import ControlPlane
from k8sha.components.etcd import EtcdCluster
from k8sha.components.kubeadm import ClusterSettings, cluster_config
from k8sha.endpoint import Endpoint
from k8sha.errors import ConfigError
from k8sha.hosts import Host
from k8sha.sources import Upstream
from k8sha.versions import Version

MASTERS = (Host("master-1", "192.168.56.10"),)
OWN = tuple(Host(f"etcd-{n}", f"192.168.56.{n + 40}") for n in (1, 2, 3))


@pytest.mark.parametrize("version", ["1.30.14", "1.33.13"])
def test_kubeadm_is_told_where_it_is_and_makes_none(version: str) -> None:
    config = cluster_config(
        Version.parse(version),
        Endpoint("192.168.56.100"),
        MASTERS,
        ClusterSettings(),
        image_repository=None,
        etcd_tag="3.5.24-0",
        dns_tag=None,
        external_etcd=EtcdCluster(OWN).endpoints,
    )
    assert config["etcd"] == {
        "external": {
            "endpoints": ["https://192.168.56.41:2379", "https://192.168.56.42:2379", "https://192.168.56.43:2379"],
            "caFile": "/etc/kubernetes/pki/etcd/ca.crt",
            "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt",
            "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key",
        }
    }


def test_a_control_plane_does_not_take_one_in_silence() -> None:
    with pytest.raises(ConfigError, match="not supported yet"):
        ControlPlane(
            hosts=MASTERS,
            endpoint=Endpoint("192.168.56.100"),
            version="1.33.13",
            source=Upstream(),
            etcd=EtcdCluster(OWN),
        )
