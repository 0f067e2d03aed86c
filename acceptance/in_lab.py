"""The lab's cluster as a cluster module, for a process that is given one by its path."""

from __future__ import annotations

from acceptance.bring_up import the_lab
from acceptance.lab_cluster import the_kubernetes

cluster = the_kubernetes(the_lab(lambda words: None))
