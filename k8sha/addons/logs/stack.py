"""Logging: Elasticsearch, Fluent Bit and Kibana, the guide's EFK, made by Elastic's operator."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator

from attrs import field, frozen, validators

from k8sha.addons.addon import Addon, refused
from k8sha.addons.admission import admitting
from k8sha.addons.logs.collector import INDEX, collector_objects
from k8sha.addons.logs.operator import DEFINITIONS, operator_objects
from k8sha.addons.manifests import Manifest
from k8sha.addons.passwords import Password
from k8sha.addons.storage_class import Storage, class_gate, class_maker, class_name, class_problems
from k8sha.component import Checks, Component, Stages
from k8sha.errors import KubeError, Problem
from k8sha.kube import Json
from k8sha.pods import PROOF
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Logging"]

_NAMESPACE = "logging"
_NAME = "logs"
_VERSION = "9.4.3"
_ELASTICSEARCH = f"docker.elastic.co/elasticsearch/elasticsearch:{_VERSION}"
_KIBANA = f"docker.elastic.co/kibana/kibana:{_VERSION}"
_PATIENCE = 180.0
"""Seconds for a pod to start, write its line and find it: an image that is there, a flush every second, and
Elasticsearch's refresh."""

_ROLES = f"""\
k8sha_writer:
  cluster: [monitor]
  indices:
    - names: ["{INDEX}*"]
      privileges: [auto_configure, create_doc]
k8sha_reader:
  indices:
    - names: ["{INDEX}*"]
      privileges: [read]
"""
_USERS = {"fluent-bit": "k8sha_writer", "k8sha-verify": "k8sha_reader"}

_ASK = """\
echo "k8sha verify $WORD"
end=$((SECONDS + 150))
while [ "$SECONDS" -lt "$end" ]; do
  if found=$(curl -sS -f --cacert /authority/ca.crt --config /dev/stdin "$URL" <<END
user = "k8sha-verify:$PASSWORD"
END
  ); then
    case $found in *'"count":0'*) said="nothing found yet" ;; *'"count":'*) exit 0 ;; *) said=$found ;; esac
  else said="curl: $?"; fi
  sleep 2
done
echo "$said" | tee /dev/termination-log
exit 1
"""


def _password(user: str) -> Password:
    return Password(f"/api/v1/namespaces/{_NAMESPACE}/secrets/{_NAME}-{user}", "password")


@frozen
class Logging(Addon):
    """``replicas`` Elasticsearch nodes, Fluent Bit on every node, one Kibana; everything over TLS, with passwords.

    With a ``storage_class`` (its name, or the add-on that makes it) each Elasticsearch node keeps its data in a claim
    of ``storage``; without, a node that moves begins anew, and only the other copies have what it had. Fluent Bit may
    only write, what ``verify`` uses may only read; both passwords are random, made once, and in Secrets alone. People
    log into Kibana as ``elastic``, whose password Elastic's operator keeps in the Secret ``logs-es-elastic-user``.

    Logs go into the data stream ``logs-kubernetes-default``, which nobody empties: how long they are kept is yours to
    say, in Kibana's index lifecycle policies. The images are under Elastic's licence, not a free one.
    """

    replicas: int = field(default=3, kw_only=True, validator=validators.in_((1, 3, 5)))
    storage_class: Storage = field(default=None, kw_only=True)
    storage: str = field(
        default="50Gi", kw_only=True, validator=validators.matches_re(r"[1-9][0-9]*(\.[0-9]+)?([KMGTP]i?)?")
    )
    memory: str = field(default="2Gi", kw_only=True, validator=validators.matches_re(r"[1-9][0-9]*[MG]i"))
    patience: float = field(default=900, kw_only=True)
    _passwords: tuple[tuple[str, Password], ...] = field(
        factory=lambda: tuple((user, _password(user)) for user in _USERS), init=False, eq=False, repr=False
    )

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return _NAMESPACE

    @property
    def made_by_pods(self) -> tuple[str, ...]:
        """See :attr:`Addon.made_by_pods`: what Elastic's operator keeps beyond its own objects' end, so that it may be
        copied, and its own identity. Claims of Elasticsearch are not among it: data does not go with an add-on."""
        return (
            f"Secret {_NAME}-es-*",
            f"Secret {_NAME}-kb-*",
            "ConfigMap elastic-operator-uuid",
            "ConfigMap elastic-licensing",
        )

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        return (DEFINITIONS,)

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        labels = admitting("privileged", self.plane.version)  # Fluent Bit reads the hosts' files
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE, "labels": labels}}
        password = {"name": f"{_NAME}-fluent-bit", "key": "password"}
        return (
            *super().objects(),
            space,
            *operator_objects(_NAMESPACE),
            *self._secrets(),
            self._elasticsearch(),
            self._kibana(),
            *collector_objects(_NAMESPACE, elasticsearch=_NAME, password=password),
        )

    def _secrets(self) -> Iterator[Json]:
        yield _secret(f"{_NAME}-roles", "Opaque", {"roles.yml": _ROLES})
        for user, password in self._passwords:
            values = {"username": user, "password": password.value, "roles": _USERS[user]}
            yield _secret(f"{_NAME}-{user}", "kubernetes.io/basic-auth", values)

    def _elasticsearch(self) -> Json:
        container = {
            "name": "elasticsearch",
            "resources": {"requests": {"memory": self.memory, "cpu": "500m"}, "limits": {"memory": self.memory}},
        }
        pod: Json = {"containers": [container]}
        nodes: Json = {"name": "all", "count": self.replicas, "config": {"node.store.allow_mmap": False}}
        name = class_name(self.storage_class)
        if name is None:
            pod["volumes"] = [{"name": "elasticsearch-data", "emptyDir": {}}]
        else:
            asked = {"requests": {"storage": self.storage}}
            spec = {"storageClassName": name, "accessModes": ["ReadWriteOnce"], "resources": asked}
            nodes["volumeClaimTemplates"] = [{"metadata": {"name": "elasticsearch-data"}, "spec": spec}]
        nodes["podTemplate"] = {"spec": pod}
        realm = [{"secretName": f"{_NAME}-{user}"} for user in _USERS]
        return {
            "apiVersion": "elasticsearch.k8s.elastic.co/v1",
            "kind": "Elasticsearch",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE},
            "spec": {
                "version": _VERSION,
                "image": _ELASTICSEARCH,
                "auth": {"fileRealm": realm, "roles": [{"secretName": f"{_NAME}-roles"}]},
                "nodeSets": [nodes],
                "volumeClaimDeletePolicy": "DeleteOnScaledownOnly",  # data does not go with an add-on
            },
        }

    def _kibana(self) -> Json:
        return {
            "apiVersion": "kibana.k8s.elastic.co/v1",
            "kind": "Kibana",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE},
            "spec": {"version": _VERSION, "image": _KIBANA, "count": 1, "elasticsearchRef": {"name": _NAME}},
        }

    @property
    def follows(self) -> tuple[Component, ...]:
        """See :attr:`Component.follows`."""
        return class_maker(self.storage_class)

    def gate(self) -> None:
        """See :meth:`Addon.gate`."""
        class_gate(self.name, self.plane.api, self.storage_class)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        yield from class_problems(self.name, self.plane.api, self.storage_class)
        try:
            self._read_passwords()
        except KubeError as error:  # whether one that is down stays so is seen when this add-on's turn comes
            yield from refused(self.name, error)
            return
        yield from super().problems()

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        self._read_passwords()
        yield from super().stages()

    def _read_passwords(self) -> None:
        for _, password in self._passwords:
            password.read(self.plane.api)

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check("a line that a pod writes is found by a query", self._found)

    def _found(self) -> str:
        name, word = f"{PROOF}{secrets.token_hex(4)}", secrets.token_hex(12)
        path = f"/api/v1/namespaces/{_NAMESPACE}/pods"
        self.plane.api.request("post", path, self._asking(name, word))

        def look() -> str:
            status = self.plane.api.get(f"{path}/{name}").get("status", {})
            ended = next(
                (item.get("state", {}).get("terminated") for item in status.get("containerStatuses", ())), None
            )
            if status.get("phase") == "Failed":
                return str((ended or {}).get("message") or status.get("message") or "it gave up")
            if status.get("phase") != "Succeeded":
                raise NotYet(f"the pod that asks is {status.get('phase')}: {status.get('containerStatuses')}")
            return ""

        try:
            said = wait_for(Check("the pod has written and asked", look), timeout=_PATIENCE)
        finally:
            self.plane.api.delete(f"{path}/{name}")
        if said:
            raise NotYet(f"its line is not found: {said.strip()[-300:]}")
        return "found"

    def _asking(self, name: str, word: str) -> Json:
        """One pod that writes the line and looks for it: the image of Elasticsearch has curl, and is there already."""
        url = f"https://{_NAME}-es-http:9200/{INDEX}/_count?q=message%3A%22{word}%22"
        container = {
            "name": "ask",
            "image": self.mirror.image(_ELASTICSEARCH),
            "command": ["bash", "-c", _ASK],
            "env": [
                {"name": "WORD", "value": word},
                {"name": "URL", "value": url},
                {
                    "name": "PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": f"{_NAME}-k8sha-verify", "key": "password"}},
                },
            ],
            "volumeMounts": [{"name": "authority", "mountPath": "/authority", "readOnly": True}],
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "authority", "secret": {"secretName": f"{_NAME}-es-http-certs-public"}}],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _secret(name: str, kind: str, values: dict[str, str]) -> Json:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": _NAMESPACE},
        "type": kind,
        "data": data,
    }
