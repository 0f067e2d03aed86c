"""The way of certificates and of the authority's key through a cluster under systemd, as stages."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Generator, Mapping, Sequence

from k8sha.errors import PreflightError, Problem
from k8sha.etcd.certificates import PKI, AuthorityKey, Keys
from k8sha.etcd.signing import Request, Sealed, Signed
from k8sha.hosts.host import Host
from k8sha.report import Outcome
from k8sha.resources.files import File
from k8sha.resources.pki import CertificateAuthority
from k8sha.resources.resource import KnownAfter, Resource
from k8sha.stage import Stage, Step

__all__ = ["certified"]

_AUTHORITY = CertificateAuthority(f"{PKI}/ca", "etcd-ca")


def certified(
    hosts: Sequence[Host], keys: Mapping[Host, Keys], *, days: int
) -> Generator[Step, Outcome, str | KnownAfter]:
    """Sees to it that every host has its certificates and the authority's key; returns the authority's certificate."""
    known = Counter(found.ca for found in keys.values() if found.ca)
    holders = [host for host in hosts if keys[host].authority]
    if len(known) > 1:
        common = known.most_common(1)[0][0]
        raise PreflightError(
            Problem(host.name, "has the certificate authority of another cluster", f"remove {PKI} there")
            for host in hosts
            if keys[host].ca not in ("", common)
        )
    due = [(host, name, csr) for host in hosts for name, csr in keys[host].due]
    lacking = [host for host in hosts if not keys[host].authority]
    if not due and not lacking:
        return base64.b64decode(next(iter(known))).decode()
    if known and not holders:
        if not due:
            return base64.b64decode(next(iter(known))).decode()
        raise PreflightError(
            [
                Problem(
                    "etcd", f"no member has {PKI}/ca.key, which is to sign certificates", "bring it back from a backup"
                )
            ]
        )
    signer = holders[0] if holders else hosts[0]
    later = KnownAfter("keys are made")
    signed = Signed(
        tuple(Request(host.name, host.address, name, csr or later) for host, name, csr in due),
        tuple(Sealed(host.name, keys[host].server or later) for host in lacking if host != signer),
        days=days,
    )
    outcome = yield Stage("certificates are signed", {signer: (_AUTHORITY, signed)})
    ca = _AUTHORITY.pem(outcome.of(signer.name, _AUTHORITY.key)) or KnownAfter("the authority is made")
    printed = outcome.of(signer.name, signed.key)
    made, seals = Signed.certificates(printed), Signed.seals(printed)
    work: dict[Host, list[Resource]] = {
        host: [] for host in hosts if host in lacking or host in {each[0] for each in due}
    }
    for host, resources in work.items():
        resources.append(File(f"{PKI}/ca.crt", ca))
        for owner, name, _ in due:
            if owner == host:
                pem = made.get((host.name, name)) or KnownAfter("it is signed")
                resources.append(File(f"{PKI}/{name}.crt", pem))
        if host in lacking and host != signer:
            resources.append(AuthorityKey(seals.get(host.name) or KnownAfter("it is encrypted")))
    yield Stage("certificates", {host: tuple(resources) for host, resources in work.items()}, batch=1)
    return ca
