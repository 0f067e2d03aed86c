"""What is done with etcd members: how they are reached, judged, backed up, restored and exchanged.

The object that users hold is :class:`k8sha.EtcdCluster`; this room has what its verbs are made of.
"""

__all__: list[str] = []
