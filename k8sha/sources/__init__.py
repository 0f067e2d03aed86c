"""Where Kubernetes comes from."""

from k8sha.sources.bundle import Bundle
from k8sha.sources.source import Role, Source
from k8sha.sources.upstream import Upstream

__all__ = ["Bundle", "Role", "Source", "Upstream"]
