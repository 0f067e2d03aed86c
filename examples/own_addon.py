"""An add-on of your own: a page that every worker serves, planned, installed, proved and removed like any other."""

from collections.abc import Iterator

from attrs import frozen

from k8sha import Check, NotYet
from k8sha.addons import Addon, parse
from k8sha.kube import Json

HELLO = """
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page, namespace: hello}
data: {index.html: "TEXT"}
---
apiVersion: v1
kind: Service
metadata: {name: hello, namespace: hello}
spec: {selector: {app: hello}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: hello, namespace: hello}
spec:
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: k8sha.io/busybox:1.37.0
        command: [httpd, -f, -p, "8080", -h, /page]
        readinessProbe: {httpGet: {port: 8080, path: /}}
        volumeMounts: [{name: page, mountPath: /page}]
      volumes: [{name: page, configMap: {name: page}}]
"""


@frozen
class Hello(Addon):
    """A page with ``text``, served by a pod on every worker."""

    text: str = "hello"

    def objects(self) -> tuple[Json, ...]:
        return parse(HELLO.replace("TEXT", self.text))

    def checks(self) -> Iterator[Check]:
        yield Check("the page is served", self.look)

    def look(self) -> str:
        page = self.plane.api.get("/api/v1/namespaces/hello/services/hello:80/proxy/")
        if page != self.text:
            raise NotYet(f"it says {page!r}")
        return str(page)
