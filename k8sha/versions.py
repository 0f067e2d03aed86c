"""Kubernetes versions: which are supported, and what of kubeadm's follows from them."""

from __future__ import annotations

import re
from datetime import date

from attrs import frozen

from k8sha.errors import ConfigError, Problem

__all__ = ["Version", "check_supported", "default_pause", "kubeadm_api"]

_FULL = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")

_END_OF_LIFE = {
    "1.30": date(2025, 6, 28),
    "1.31": date(2025, 10, 28),
    "1.32": date(2026, 2, 28),
    "1.33": date(2026, 6, 28),
    "1.34": date(2026, 10, 27),
    "1.35": date(2027, 2, 28),
    "1.36": date(2027, 6, 28),
    "1.37": date(2027, 10, 28),
}
"""The last day on which a minor version gets fixes, from https://kubernetes.io/releases/patch-releases/."""

_PAUSE = {
    "1.30": "3.9",
    "1.31": "3.10",
    "1.32": "3.10",
    "1.33": "3.10",
    "1.34": "3.10.1",
    "1.35": "3.10.1",
    "1.36": "3.10.2",
    "1.37": "3.10.2",
}
"""``PauseVersion`` in kubeadm's cmd/kubeadm/app/constants/constants.go at each minor version."""


@frozen(order=True)
class Version:
    """A full version such as 1.33.13: which patch it is decides as much as which minor. ``feature`` is the 33."""

    major: int
    feature: int
    patch: int

    @classmethod
    def parse(cls, text: str | Version) -> Version:
        """``1.33.13`` or ``v1.33.13``. Raises ConfigError for anything else, pre-releases included."""
        if isinstance(text, Version):
            return text
        found = _FULL.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ConfigError.of(
                f"version {text!r}", "is not a full version", "write the patch version as well, such as 1.33.13"
            )
        return cls(*(int(number) for number in found.groups()))

    @property
    def minor(self) -> str:
        """``1.33``."""
        return f"{self.major}.{self.feature}"

    def __str__(self) -> str:
        return f"{self.major}.{self.feature}.{self.patch}"


def check_supported(version: Version, *, today: date | None = None) -> tuple[Problem | None, str | None]:
    """Why this version can't be installed, or None; and what to warn of, or None. ``today`` is for tests."""
    known = list(_END_OF_LIFE)
    if version.minor not in _END_OF_LIFE:
        cause = "is older" if version < Version.parse(f"{known[0]}.0") else "is newer"
        return (
            Problem(
                f"Kubernetes {version}",
                f"{cause} than the versions that are known to work: {known[0]} to {known[-1]}",
                "choose one of those",
            ),
            None,
        )
    end = _END_OF_LIFE[version.minor]
    if end < (date.today() if today is None else today):
        return None, (
            f"Kubernetes {version.minor} has had no fixes since {end.isoformat()} "
            "(https://kubernetes.io/releases/patch-releases/): plan the upgrade"
        )
    return None, None


def kubeadm_api(version: Version) -> str:
    """The newest version of kubeadm's configuration API that this version's kubeadm reads."""
    return "v1beta3" if version.minor == "1.30" else "v1beta4"


def default_pause(version: Version) -> str:
    """The tag of the pause image that this version's kubeadm expects."""
    return _PAUSE[version.minor]
