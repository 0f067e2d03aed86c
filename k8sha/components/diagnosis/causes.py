"""From symptoms to causes, the likely one first.

A rule is a function of all symptoms. A finding's rank says how deep the cause lies: a full disk stops etcd, which takes
the API server's readiness, which empties the balancers' rotation; all of these are seen, and the disk comes first.
"""

from __future__ import annotations

from k8sha.components.diagnosis.findings import Finding, Rule, Symptoms
from k8sha.components.diagnosis.of_balancers import BALANCER_RULES
from k8sha.components.diagnosis.of_cluster import CLUSTER_RULES
from k8sha.components.diagnosis.of_hosts import HOST_RULES

__all__ = ["causes"]

RULES: tuple[Rule, ...] = (*HOST_RULES, *CLUSTER_RULES, *BALANCER_RULES)


def causes(symptoms: Symptoms) -> tuple[Finding, ...]:
    """Everything that is wrong, the likely cause first."""
    return tuple(sorted((found for rule in RULES for found in rule(symptoms)), key=lambda found: found.rank))
