"""What is wrong with a cluster, and why: symptoms read on every host, and rules that find the cause in them.

``snippets`` are put to the hosts, ``reading`` makes ``symptoms`` of what they print, and the rules in ``of_hosts``,
``of_cluster`` and ``of_balancers`` make ``findings`` of those. All of that is pure; ``report`` carries it out.
"""

__all__: list[str] = []
