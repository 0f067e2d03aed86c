"""A password that is made once, kept in a Secret, and shown nowhere."""

from __future__ import annotations

import base64
import secrets

from attrs import define, field

from k8sha.errors import KubeError
from k8sha.kube import Api
from k8sha.objects.applied import not_there_yet

__all__ = ["Password"]


@define(eq=False)
class Password:
    """Kept in the Secret at ``path`` under ``key``. Mutable: it is known once it was read, and until then it is one
    that was made here, which is what the Secret gets if it is not there."""

    path: str
    key: str
    value: str = field(factory=lambda: secrets.token_urlsafe(24), init=False, repr=False)

    def read(self, api: Api) -> None:
        """Take what the Secret has. Where there is no cluster yet, or no Secret, the value stays as it is.

        Raises KubeError, or a host's error, where that can't be found out: the Secret must never be overwritten.
        """
        try:
            found = api.found(self.path)
        except KubeError as error:
            if not_there_yet(error):
                return
            raise
        kept = (found or {}).get("data", {}).get(self.key)
        if kept:
            self.value = base64.b64decode(kept).decode()
