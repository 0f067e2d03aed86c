"""What differs per family of Linux distributions."""

from k8sha.distros.debian import Debian
from k8sha.distros.distro import Distro
from k8sha.distros.redhat import RedHat

__all__ = ["DISTROS", "Debian", "Distro", "RedHat"]

DISTROS: tuple[Distro, ...] = (Debian(), RedHat())
