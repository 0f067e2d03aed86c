"""What a bundle brings to a host: only what is missing there, and known by what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8sha.resources.images import ContainerImages, ImageArchive
from k8sha.resources.programs import Program, Programs


def programs(tmp_path: Path) -> Programs:
    return Programs((Program("/usr/local/bin/kubelet", sha256="a" * 64, source=tmp_path / "kubelet"),))


@pytest.mark.parametrize(
    ("seen", "lines", "sent"),
    [
        (f"{'a' * 64} 0755 root:root /usr/local/bin/kubelet\n", (), False),
        ("absent /usr/local/bin/kubelet\n", ("+ /usr/local/bin/kubelet sha256 aaaaaaaa",), True),
        (
            f"{'b' * 64} 0755 root:root /usr/local/bin/kubelet\n",
            ("/usr/local/bin/kubelet: sha256: bbbbbbbb -> aaaaaaaa",),
            True,
        ),
        (
            f"{'a' * 64} 0700 vagrant:root /usr/local/bin/kubelet\n",
            ("/usr/local/bin/kubelet: mode: 0700 -> 0755", "/usr/local/bin/kubelet: owner: vagrant:root -> root:root"),
            False,
        ),
    ],
)
def test_programs_are_sent_only_where_their_content_differs(
    tmp_path: Path, seen: str, lines: tuple[str, ...], sent: bool
) -> None:
    wanted = programs(tmp_path)
    assert wanted.diff(seen.encode()).lines == lines
    assert bool(wanted.payloads(seen.encode())) is sent


ETCD = ImageArchive(Path("etcd.tar"), "e" * 64, 72_000_000, ("registry.k8s.io/etcd:3.5.30-0",))
PAUSE = ImageArchive(Path("pause.tar"), "f" * 64, 700_000, ("registry.k8s.io/pause:3.10",))


@pytest.mark.parametrize(
    ("seen", "lines", "sent"),
    [
        (
            f"answers\nimage {ETCD.names[0]}\nimage {PAUSE.names[0]}\nimported {'e' * 64}\nimported {'f' * 64}\n",
            (),
            [],
        ),
        (
            "",
            (
                "+ registry.k8s.io/etcd:3.5.30-0 (72 MB, sha256 eeeeeeee)",
                "+ registry.k8s.io/pause:3.10 (1 MB, sha256 ffffffff)",
            ),
            [ETCD, PAUSE],
        ),
        (
            f"answers\nimage {ETCD.names[0]}\nimported {'e' * 64}\nimported {'f' * 64}\n",
            ("+ registry.k8s.io/pause:3.10",),
            [PAUSE],
        ),
        (
            f"answers\nimage {ETCD.names[0]}\nimage {PAUSE.names[0]}\nimported {'f' * 64}\n",
            ("registry.k8s.io/etcd:3.5.30-0: of unknown origin -> 72 MB, sha256 eeeeeeee",),
            [ETCD],
        ),
        (f"imported {'e' * 64}\nimported {'f' * 64}\n", (), []),
    ],
    ids=["all there", "a bare host", "one removed", "another's image of that name", "containerd is down"],
)
def test_only_missing_images_are_sent(seen: str, lines: tuple[str, ...], sent: list[ImageArchive]) -> None:
    images = ContainerImages((ETCD, PAUSE))
    assert images.diff(seen.encode()).lines == lines
    assert [payload.staged for payload in images.payloads(seen.encode())] == [archive.staged for archive in sent]


def test_an_image_is_pinned_and_marked_only_once_it_is_whole() -> None:
    lines = ContainerImages((ETCD,)).apply().splitlines()
    order = [
        next(index for index, line in enumerate(lines) if mark in line)
        for mark in ("xargs -P 2", "io.cri-containerd.pinned=pinned", ': >"$stamp"', 'rm -f "$archive"')
    ]
    assert order == sorted(order)
