"""``python -m acceptance.installer CLUSTER.py``: installs a cluster and tells every event as a line of JSON.

Where the module defines ``work``, a callable that takes a listener, that is what is done instead.

A process of its own, so that it can be killed at any point: that is what it is for.
"""

from __future__ import annotations

import json
import runpy
import sys

from k8sha import Began, Cluster, Event, Finished, K8shaError, StageBegan


def main(path: str) -> int:
    """Install; exit 0 when done, 1 with the error on stderr."""
    module = runpy.run_path(path)
    cluster = module["cluster"]
    assert isinstance(cluster, Cluster)

    def tell(event: Event) -> None:
        match event:
            case Began(host, resource):
                print(json.dumps(["began", host, resource]), flush=True)
            case Finished(result):
                print(json.dumps([result.status.value, result.host, result.resource]), flush=True)
            case StageBegan(component, stage):
                print(json.dumps(["stage", component, stage]), flush=True)

    try:
        with cluster:
            report = module.get("work", cluster.install)(tell)
    except K8shaError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(["done", str(len(report.changed)), f"{report.seconds:.1f} s"]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
