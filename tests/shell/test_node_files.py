"""Files of a node in a temporary folder, against real shells: absent, made, again, drifted, made again."""

from __future__ import annotations

from pathlib import Path

from k8sha.hosts import Host
from k8sha.resources.files import beside
from k8sha.resources.kubelet import CniPlugins, HostsEntry
from k8sha.resources.resource import Resource


def differs(host: Host, resource: Resource) -> tuple[str, ...]:
    exit, out, err = host.read(resource.probe())[0]
    assert exit == 0, err
    return resource.diff(out).lines


def carry_out(host: Host, resource: Resource) -> None:
    exit, _, err = host.execute(resource.apply())
    assert exit == 0, err


def test_a_hosts_entry_leads_the_file_and_leaves_the_rest(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1\tlocalhost\n# a comment\n192.168.56.77 api.example.com\n")
    with host:
        entry = HostsEntry("api.example.com", "192.168.56.100", path=str(path))
        other = HostsEntry("registry.example.com", "192.168.56.5", path=str(path))
        assert differs(host, entry) == ("+ 192.168.56.100 api.example.com",)
        for resource in (entry, entry, other):
            carry_out(host, resource)
        assert differs(host, entry) == differs(host, other) == ()
        moved = HostsEntry("api.example.com", "192.168.56.101", path=str(path))
        assert differs(host, moved) == ("- 192.168.56.100 api.example.com", "+ 192.168.56.101 api.example.com")
        carry_out(host, moved)
        assert differs(host, moved) == ()
    lines = path.read_text().splitlines()
    assert lines[:3] == [
        "# k8sha: api.example.com",
        "192.168.56.101 api.example.com",
        "# k8sha: end of api.example.com",
    ]
    assert lines[-3:] == ["127.0.0.1\tlocalhost", "# a comment", "192.168.56.77 api.example.com"]
    assert len(lines) == 9


def test_what_a_killed_run_left_beside_a_file_of_names_goes_and_the_file_keeps_its_owner_and_mode(
    host: Host, tmp_path: Path
) -> None:
    """Each kill left another file in /etc, for good."""
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    path.chmod(0o640)
    Path(beside(str(path))).write_text("half of")
    with host:
        carry_out(host, HostsEntry("api.example.com", "192.168.56.100", path=str(path)))
    assert [left.name for left in tmp_path.iterdir() if "hosts" in left.name] == ["hosts"]
    assert path.read_text().splitlines()[1:] == [
        "192.168.56.100 api.example.com",
        "# k8sha: end of api.example.com",
        "127.0.0.1 localhost",
    ]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_absent_is_made(host: Host, tmp_path: Path) -> None:
    with host:
        entry = HostsEntry("api.example.com", "192.168.56.100", path=str(tmp_path / "hosts"))
        carry_out(host, entry)
        assert differs(host, entry) == ()
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644


def test_plugins_are_linked_and_others_are_kept(host: Host, tmp_path: Path) -> None:
    source, folder = tmp_path / "cni", tmp_path / "opt" / "bin"
    source.mkdir()
    for name in ("bridge", "portmap"):
        (source / name).write_text("the distribution's")
        (source / name).chmod(0o755)
    folder.mkdir(parents=True)
    (folder / "portmap").write_text("an add-on's")
    (folder / "portmap").chmod(0o755)
    plugins = CniPlugins(str(source), folder=str(folder), names=("bridge", "portmap"))
    with host:
        assert differs(host, plugins) == (f"+ bridge -> {source}/bridge",)
        carry_out(host, plugins)
        carry_out(host, plugins)
        assert differs(host, plugins) == ()
        (source / "bridge").unlink()
        assert differs(host, plugins) == (f"+ bridge -> {source}/bridge",)
        exit, _, err = host.execute(plugins.apply())
    assert (exit, err.decode().strip()) == (1, f"there is no {source}/bridge")
    assert (folder / "portmap").read_text() == "an add-on's"
