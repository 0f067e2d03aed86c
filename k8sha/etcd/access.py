"""Where the things of an etcd member are on its own host, and how it is asked there.

A member is either *stacked* (a static pod that kubeadm made, on a master) or a service of its own under systemd. All
that differs between the two, for whoever asks, stands here.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["DATA", "Access"]

DATA = "/var/lib/etcd"
"""The data directory of a member, in both topologies. It may be a mount point, so it is never renamed itself: what is
kept, or made ready, lies in it beside ``member``, on the same file system."""


@frozen
class Access:
    """How the members of a cluster are reached on their own hosts: kubeadm's places, or those of our own service.

    The files of the PKI have kubeadm's names in both: ``ca``, ``server``, ``peer`` and ``healthcheck-client``, each
    ``.crt`` and ``.key``.
    """

    stacked: bool

    @property
    def pki(self) -> str:
        """The folder of the certificates that etcd uses."""
        return "/etc/kubernetes/pki/etcd" if self.stacked else "/etc/etcd/pki"

    @property
    def curl(self) -> str:
        """curl with the client certificate that every member's host has, for etcd's HTTP gateway; 5 s at most.

        By HTTP 1.1: with HTTP 2 a busy gateway was seen to end in curl's "error in the HTTP2 framing layer".
        """
        return (
            f"curl -sS --http1.1 --max-time 5 --cacert {self.pki}/ca.crt --cert {self.pki}/healthcheck-client.crt "
            f"--key {self.pki}/healthcheck-client.key"
        )

    @property
    def credentials(self) -> str:
        """The same certificate as etcdctl's options."""
        return (
            f"--cacert={self.pki}/ca.crt --cert={self.pki}/healthcheck-client.crt "
            f"--key={self.pki}/healthcheck-client.key"
        )
