"""Settings held against the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pushmirror.errors import Fault, SettingsError
from pushmirror.keys import generate_key_file
from pushmirror.settings.load import load_and_inspect_publisher, load_and_inspect_subscriber
from pushmirror.settings.mounts import find_place, parse_mounts

from .examples import make_surroundings, write_publisher, write_subscriber

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path) -> None:
    make_surroundings(tmp_path)


def publisher_faults(path: Path) -> list[Fault]:
    """Return the faults that a publisher would start with."""
    with pytest.raises(SettingsError) as caught:
        load_and_inspect_publisher(path)
    return list(caught.value.faults)


def subscriber_faults(path: Path) -> list[Fault]:
    """Return the faults that a subscriber would start with."""
    with pytest.raises(SettingsError) as caught:
        load_and_inspect_subscriber(path)
    return list(caught.value.faults)


def test_good_surroundings_have_no_fault(tmp_path: Path) -> None:
    """With everything in its place both files load."""
    assert load_and_inspect_publisher(write_publisher(tmp_path)).name == "mirror.example.org"
    assert load_and_inspect_subscriber(write_subscriber(tmp_path)).name == "t2.example.net"


def test_inspection_changes_nothing(tmp_path: Path) -> None:
    """A look at the disk leaves it as it was."""
    path = write_subscriber(tmp_path, ("coalesce: 5s", f"staging_dir: {tmp_path}/staging/fedora"))
    before = sorted(tmp_path.rglob("*"))
    load_and_inspect_subscriber(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_state_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """A ledger of theirs, or a link in the place of a file: also in one like /tmp, where files may be added first."""
    (tmp_path / "state").chmod(mode)
    for faults in (subscriber_faults(write_subscriber(tmp_path)), publisher_faults(write_publisher(tmp_path))):
        (fault,) = [fault for fault in faults if "everybody" in fault.message]
        assert f"chmod o-w {tmp_path}/state" in fault.message
    (tmp_path / "state").chmod(0o770)
    assert load_and_inspect_subscriber(write_subscriber(tmp_path)).name == "t2.example.net"


def test_missing_places_are_told_with_their_lines(tmp_path: Path) -> None:
    """Folders and files that are not there are each a fault at the key that names them."""
    for folder in ("state", "debian"):
        (tmp_path / folder).rmdir()
    for name in ("publisher.key", "authorized_nodes"):
        (tmp_path / name).unlink()
    faults = publisher_faults(write_publisher(tmp_path))
    assert [(fault.line, fault.key) for fault in faults] == [
        (2, "state_dir"), (3, "key"), (12, "trees.debian.path"), (16, "authorized_nodes")
    ]  # fmt: skip
    assert all("does not exist: " in fault.message for fault in faults)
    assert "pushmirror keygen" in faults[1].message


def test_faults_of_the_file_and_of_the_disk_come_together(tmp_path: Path) -> None:
    """One look tells what is wrong in the file and what is wrong on the disk."""
    (tmp_path / "fedora").rmdir()
    path = write_subscriber(tmp_path, ("coalesce: 5s", "colaesce: 5"), ("name: t2.example.net", "name: 'a b'"))
    assert [(fault.line, fault.key) for fault in subscriber_faults(path)] == [
        (1, "name"), (21, "trees.fedora.path"), (22, "trees.fedora.colaesce")
    ]  # fmt: skip


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    """A tree must be a folder, and a key must be a file."""
    (tmp_path / "debian").rmdir()
    (tmp_path / "debian").write_text("")
    (tmp_path / "publisher.key").unlink()
    (tmp_path / "publisher.key").mkdir()
    assert [(fault.key, fault.message.split(":")[0]) for fault in publisher_faults(write_publisher(tmp_path))] == [
        ("key", "is not a file"), ("trees.debian.path", "is not a folder")
    ]  # fmt: skip


def test_trees_that_only_links_bring_together_overlap(tmp_path: Path) -> None:
    """A tree whose path leads into another by a symbolic link overlaps with it."""
    (tmp_path / "fedora").rmdir()
    (tmp_path / "debian" / "inner").mkdir()
    (tmp_path / "fedora").symlink_to("debian/inner")
    (fault,) = subscriber_faults(write_subscriber(tmp_path))
    assert (fault.line, fault.key) == (21, "trees.fedora.path")
    assert "lies inside the tree debian (line 17)" in fault.message
    assert "symbolic link" in fault.message


def test_trees_that_only_a_mount_brings_together_overlap(tmp_path: Path) -> None:
    """A tree that shows a folder of another one by a bind mount overlaps with it; one mounted elsewhere does not."""
    (tmp_path / "debian" / "inner").mkdir()
    path = write_subscriber(tmp_path)
    check = f"{sys.executable} -m pushmirror check-config {path}"
    script = f"mount --bind {tmp_path}/debian/inner {tmp_path}/fedora && {check}"
    command = ["unshare", "-m", "sh", "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    if "mount:" in found.stderr or "unshare:" in found.stderr:
        pytest.skip("this user may not mount")
    assert found.stderr.startswith(f"{path}:21: trees.fedora.path: lies inside the tree debian (line 17)")
    assert "(a mount leads there)" in found.stderr
    assert load_and_inspect_subscriber(path)


def test_a_place_is_told_by_the_mount_that_is_nearest_and_last() -> None:
    """Spaces in names are escaped in the table; a mount over another one hides it."""
    mounts = parse_mounts(
        [
            "1 0 8:1 / / rw - ext4 /dev/a rw",
            "2 1 8:2 / /srv rw - ext4 /dev/b rw",
            r"3 2 8:1 /data/with\040space /srv/mirror rw shared:1 - ext4 /dev/a rw",
            "4 2 8:3 / /srv/hidden rw - ext4 /dev/c rw",
            "5 2 8:4 /sub /srv/hidden rw - ext4 /dev/d rw",
            "nonsense",
        ]
    )
    places = {
        "/nowhere/etc": "/8:1/nowhere/etc", "/srv/nothing/x": "/8:2/nothing/x", "/srv/hidden": "/8:4/sub",
        "/srv/mirror/nothing": "/8:1/data/with space/nothing", "/srv/mirrors": "/8:2/mirrors",
    }  # fmt: skip
    assert {path: str(find_place(Path(path), mounts)) for path in places} == places
    assert find_place(Path("/nowhere/etc"), ()) == Path("/nowhere/etc")


def test_a_tree_may_be_reached_by_a_link(tmp_path: Path) -> None:
    """A symbolic link to the folder of a tree does no harm by itself."""
    (tmp_path / "fedora").rename(tmp_path / "elsewhere")
    (tmp_path / "fedora").symlink_to("elsewhere")
    assert load_and_inspect_subscriber(write_subscriber(tmp_path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_private_key_is_for_its_owner_alone(tmp_path: Path, mode: int) -> None:
    """A key that the group or the world can open is refused with the command that closes it."""
    (tmp_path / "publisher.key").chmod(mode)
    (fault,) = publisher_faults(write_publisher(tmp_path))
    assert (fault.line, fault.key) == (3, "key")
    assert f"mode {mode:04o}" in fault.message
    assert f"chmod 600 {tmp_path}/publisher.key" in fault.message


def test_a_key_without_its_public_half_is_refused(tmp_path: Path) -> None:
    """The public half beside a key must be there, and be the half of this key."""
    (tmp_path / "publisher.key.pub").unlink()
    (fault,) = publisher_faults(write_publisher(tmp_path))
    assert "publisher.key.pub cannot be read" in fault.message
    (tmp_path / "subscriber.key.pub").rename(tmp_path / "publisher.key.pub")
    (fault,) = publisher_faults(write_publisher(tmp_path))
    assert "is not the public half of this key" in fault.message


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """A file that holds something else is no key."""
    (tmp_path / "publisher.key").write_text("nonsense")
    (fault,) = publisher_faults(write_publisher(tmp_path))
    assert fault.key == "key"
    assert "\n" not in str(fault)


def test_each_bad_line_of_the_authorised_nodes_is_a_fault(tmp_path: Path) -> None:
    """Lines that are no key and name are told each on a line of its own."""
    generate_key_file(tmp_path / "node.key", comment="node")
    good = (tmp_path / "node.key.pub").read_text()
    (tmp_path / "authorized_nodes").write_text(f"{good}nonsense\n{good}")
    faults = publisher_faults(write_publisher(tmp_path))
    assert [(fault.line, fault.key) for fault in faults] == [(16, "authorized_nodes")] * 2
    assert "authorized_nodes:2:" in faults[0].message
    assert "authorized_nodes:3:" in faults[1].message


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_password_is_not_for_the_world(tmp_path: Path, mode: int) -> None:
    """A password file that everybody can open is refused with the command that closes it."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    path = write_subscriber(tmp_path, ("coalesce: 5s", f"password_file: {secret}"))
    secret.chmod(0o640)
    assert load_and_inspect_subscriber(path)
    secret.chmod(mode)
    (fault,) = subscriber_faults(path)
    assert (fault.line, fault.key) == (22, "trees.fedora.password_file")
    assert f"chmod 600 {secret}" in fault.message


def test_the_password_of_each_source_is_looked_at(tmp_path: Path) -> None:
    """A secret beside one of several sources is guarded as that of the tree."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    sources = f"sources: [rsync://127.0.0.1/fedora/, {{url: rsync://localhost/fedora/, password_file: {secret}}}]"
    (fault,) = subscriber_faults(write_subscriber(tmp_path, ("source: rsync://127.0.0.1:8730/fedora/", sources)))
    assert (fault.line, fault.key) == (20, "trees.fedora.sources[1].password_file")
    assert f"chmod 600 {secret}" in fault.message


def test_a_missing_password_file_is_told(tmp_path: Path) -> None:
    """A password file that is not there is a fault before rsync asks for it."""
    (fault,) = subscriber_faults(write_subscriber(tmp_path, ("coalesce: 5s", f"password_file: {tmp_path}/none")))
    assert "does not exist" in fault.message


def test_staging_on_another_file_system_is_refused(tmp_path: Path) -> None:
    """A staging folder from which no file can be renamed into the tree is refused, also before it exists."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev or not os.access(other, os.W_OK):
        pytest.skip("this machine has no second file system at /dev/shm")
    path = write_subscriber(tmp_path, ("coalesce: 5s", f"staging_dir: {other}/pushmirror-not-made/x"))
    (fault,) = subscriber_faults(path)
    assert (fault.line, fault.key) == (22, "trees.fedora.staging_dir")
    assert "another file system" in fault.message


def test_permissions_are_those_of_the_daemons_user(tmp_path: Path) -> None:
    """Folders that cannot be written and files that cannot be read are faults for whoever runs the check."""
    (tmp_path / "debian").chmod(0o555)
    (tmp_path / "state").chmod(0o555)
    (tmp_path / "fedora").chmod(0o000)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o000)
    path = write_subscriber(tmp_path, ("coalesce: 5s", f"password_file: {tmp_path}/secret"))
    result = check_without_privileges(path)
    for folder in ("debian", "state", "fedora"):
        (tmp_path / folder).chmod(0o755)
    lines = [line.removeprefix(f"{path}:") for line in result.stderr.splitlines()]
    assert [line.split(" by ")[0] for line in lines] == [
        "2: state_dir: cannot be written", "17: trees.debian.path: cannot be written",
        "21: trees.fedora.path: cannot be read", "22: trees.fedora.password_file: cannot be read",
    ]  # fmt: skip
    assert result.returncode == 2


def test_a_publisher_need_not_write_its_trees(tmp_path: Path) -> None:
    """A publisher reads its trees and writes nothing there."""
    (tmp_path / "debian").chmod(0o555)
    result = check_without_privileges(write_publisher(tmp_path))
    (tmp_path / "debian").chmod(0o755)
    assert (result.returncode, result.stderr) == (0, "")


def check_without_privileges(path: Path) -> subprocess.CompletedProcess[str]:
    """Run check-config as this user, without root's right to open everything."""
    command = [sys.executable, "-c", "from pushmirror.cli.check_config import check_config; check_config()", str(path)]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root reads and writes everything, and there is no setpriv to give that right up")
        rights = "-dac_override,-dac_read_search"
        command = [setpriv, f"--inh-caps={rights}", f"--bounding-set={rights}", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
