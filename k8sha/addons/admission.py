"""Which pods a namespace of ours admits: it says so itself, as a cluster's defaults may refuse what its pods need."""

from __future__ import annotations

from k8sha.versions import Version

__all__ = ["admitting"]


def admitting(level: str, version: Version) -> dict[str, str]:
    """Labels by which a namespace admits pods up to a Pod Security Standard, as it is in this minor version."""
    labels = {}
    for mode in ("enforce", "warn", "audit"):
        labels[f"pod-security.kubernetes.io/{mode}"] = level
        labels[f"pod-security.kubernetes.io/{mode}-version"] = f"v{version.minor}"
    return labels
