"""An object that stays where it is, and is ours no more."""

from __future__ import annotations

from k8sha.errors import KubeError
from k8sha.kube import FIELD_MANAGER, Api
from k8sha.objects.identity import HASH, OWNER, Ref
from k8sha.objects.others import bare, passing
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["give_up", "let_go"]

_PATIENCE = 30.0
"""Seconds in which an object must be had as it is: somebody may write to it at any time, but hardly all the time."""


def give_up(api: Api, ref: Ref) -> None:
    """Take away the fields that only we have set, as from an object that was there before us.

    One that would not be whole without them (a definition has no ``spec`` then) keeps them.
    """
    try:
        api.apply(bare(ref), force=True)
    except KubeError as error:
        if error.status != 422:
            raise
        let_go(api, ref)


def let_go(api: Api, ref: Ref) -> None:
    """Leave an object as it is, without our marks and our name as the owner of its fields."""
    path = api.path_of(bare(ref))

    def look() -> str:
        live = api.found(path)
        if live is None:
            return ""
        meta = live["metadata"]
        others = [entry for entry in meta.get("managedFields", ()) if entry.get("manager") != FIELD_MANAGER]
        ours = {
            "labels": {OWNER: None},
            "annotations": {HASH: None},
            "managedFields": others or [{}],  # an empty list would leave them as they are
            "resourceVersion": meta.get("resourceVersion"),
        }
        query = {"fieldManager": FIELD_MANAGER}
        try:
            api.request("patch", path, {"metadata": ours}, query=query, kind="merge-patch+json")
        except KubeError as error:
            if error.status != 409 and not passing(error):
                raise
            raise NotYet(str(error)) from None
        return ""

    wait_for(Check(f"{ref} is given up", look), timeout=_PATIENCE)
