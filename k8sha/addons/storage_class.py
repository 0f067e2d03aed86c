"""Where an add-on keeps data: a StorageClass by its name, or the add-on that makes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from k8sha.addons.addon import Addon, refused
from k8sha.addons.storage import CsiNfs, NfsProvisioner
from k8sha.errors import KubeError, NotReady, Problem
from k8sha.kube import Api

__all__ = ["Storage", "class_gate", "class_maker", "class_name", "class_problems"]

Storage: TypeAlias = str | CsiNfs | NfsProvisioner | None
"""A StorageClass by its name, or the add-on that makes one; None for nowhere."""


def class_name(given: Storage) -> str | None:
    """The StorageClass's name."""
    return given if given is None or isinstance(given, str) else given.storage_class


def class_maker(given: Storage) -> tuple[Addon, ...]:
    """The add-on that makes the class, where that was given."""
    return () if given is None or isinstance(given, str) else (given,)


def class_problems(addon: str, api: Api, given: Storage) -> Iterator[Problem]:
    """A class that was named and is not there. One that another add-on makes need not be there yet, and of a cluster
    that can't be asked nothing is said: :func:`class_gate` asks for both again."""
    if not isinstance(given, str):
        return
    try:
        missing = _missing(addon, api, given)
    except KubeError as error:
        yield from refused(addon, error)
        return
    if missing is not None:
        yield missing


def class_gate(addon: str, api: Api, given: Storage) -> None:
    """Raises NotReady where the class is not there: no claim of it would be bound, and nothing that has one would
    run."""
    if given is not None and (missing := _missing(addon, api, given)) is not None:
        raise NotReady(f"{addon}: its StorageClass is there", 0, missing.cause, missing.remedy)


def _missing(addon: str, api: Api, given: str | CsiNfs | NfsProvisioner) -> Problem | None:
    name = class_name(given)
    if api.found(f"/apis/storage.k8s.io/v1/storageclasses/{name}") is not None:
        return None
    remedy = "make it first, or give the add-on that makes it as storage_class="
    if not isinstance(given, str):
        remedy = f"install {given.name} first"
    return Problem(addon, f"there is no StorageClass {name}", remedy)
