"""Objects of the API server as desired state: looked at by its own dry run, applied, waited for, pruned, removed."""

from k8sha.objects.applied import Objects
from k8sha.objects.claims import NodePort, claims
from k8sha.objects.identity import Ref
from k8sha.objects.look import Wanted
from k8sha.objects.removal import Removal

__all__ = ["NodePort", "Objects", "Ref", "Removal", "Wanted", "claims"]
