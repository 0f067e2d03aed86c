"""A kubeconfig's present context, as what connections need: whom they trust, and who they say they are."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["tls_context"]


def tls_context(kubeconfig: Mapping[str, Any]) -> ssl.SSLContext:
    """Made for the authority and the client certificate of its present context.

    Key material that the kubeconfig holds goes to OpenSSL through pipes and never lies in a file: one would outlive us
    if we were killed, and an administrator's key opens everything.
    """
    from urllib3.util.ssl_ import create_urllib3_context

    chosen = _named(kubeconfig, "context", kubeconfig["current-context"])
    cluster, user = _named(kubeconfig, "cluster", chosen["cluster"]), _named(kubeconfig, "user", chosen["user"])
    made = create_urllib3_context()
    authority = _pem(cluster, "certificate-authority")
    if authority:
        made.load_verify_locations(cadata=authority.decode())
    else:
        made.load_default_certs()
    if certificate := _pem(user, "client-certificate"):
        with _piped(certificate) as first, _piped(_pem(user, "client-key")) as second:
            made.load_cert_chain(first, second)
    return made


def _named(kubeconfig: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(item[kind] for item in kubeconfig[f"{kind}s"] if item["name"] == name)
    return found


def _pem(entry: Mapping[str, Any], name: str) -> bytes:
    """What an entry holds itself, or the content of the file that it names; nothing where it does neither."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data)
    return Path(entry[name]).read_bytes() if entry.get(name) else b""


@contextmanager
def _piped(content: bytes) -> Iterator[str]:
    """A path from which this can be read once, as a shell's ``<(...)`` gives. It fits in a pipe: these are a few KB."""
    reader, writer = os.pipe()
    try:
        with open(writer, "wb") as end:
            end.write(content)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
