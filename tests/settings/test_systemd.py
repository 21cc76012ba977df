"""The files for systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pushmirror.settings.dropin import compose_dropin
from pushmirror.settings.load import load_any

from .examples import write_publisher, write_subscriber

SYSTEMD = Path(__file__).parents[2] / "systemd"
ROLES = ("publisher", "subscriber")
MOST_EXPOSED = 1.5

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze with `arguments`."""
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def copy_unit(role: str, folder: Path) -> Path:
    """Copy a unit, its program replaced by one that this machine has."""
    text = (SYSTEMD / f"pushmirror-{role}.service").read_text()
    assert "ExecStart=/usr/bin/pushmirror " in text
    path = folder / f"pushmirror-{role}.service"
    path.write_text(text.replace("/usr/bin/pushmirror ", f"{shutil.which('true')} "))
    return path


@needs_analyze
@pytest.mark.parametrize("role", ROLES)
def test_units_are_good(role: str, tmp_path: Path) -> None:
    """systemd finds nothing to say against a unit."""
    result = analyze("verify", "--man=no", copy_unit(role, tmp_path))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize("role", ROLES)
def test_units_are_hardened(role: str) -> None:
    """systemd rates the exposure of a unit below the limit."""
    result = analyze("security", "--offline=true", "--no-pager", SYSTEMD / f"pushmirror-{role}.service")
    rating = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert rating is not None, result.stderr
    assert float(rating[1]) < MOST_EXPOSED


@pytest.mark.parametrize("role", ROLES)
def test_units_bound_what_a_daemon_may_take_and_do(role: str) -> None:
    """Memory, tasks and descriptors have limits; there are no capabilities, no new privileges, no core dumps."""
    unit = (SYSTEMD / f"pushmirror-{role}.service").read_text().splitlines()
    found = dict(
        line.split("=", 1) for line in unit if re.match(r"[A-Za-z]+=", line) and "SystemCallFilter" not in line
    )
    assert all(re.fullmatch(r"[0-9]+G?", found[limit]) for limit in ("MemoryMax", "TasksMax", "LimitNOFILE"))
    assert (found["CapabilityBoundingSet"], found["AmbientCapabilities"], found["LimitCORE"]) == ("", "", "0")
    assert (found["NoNewPrivileges"], found["ProtectSystem"], found["User"]) == ("yes", "strict", "pushmirror")
    assert (found["RestrictSUIDSGID"], found["PrivateDevices"], found["ProtectHome"]) == ("yes", "yes", "yes")
    assert [line for line in unit if line.startswith("SystemCallFilter=")][:2] == [
        "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"
    ]  # fmt: skip


def test_the_subscriber_may_confine_its_rsync() -> None:
    """The system calls for it are in no group of older systemd versions, so that they are named one by one."""
    unit = (SYSTEMD / "pushmirror-subscriber.service").read_text()
    calls = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    assert f"SystemCallFilter={' '.join(calls)}\n" in unit


@needs_analyze
@pytest.mark.parametrize("role", ROLES)
def test_dropins_are_good(role: str, tmp_path: Path) -> None:
    """systemd takes the drop-in that is printed for odd places: spaces, colons, quotes and homes."""
    write = write_publisher if role == "publisher" else write_subscriber
    settings = write(
        tmp_path,
        (f"path: {tmp_path}/debian", "path: '/srv/a b\"c%d\\e'"),
        (f"path: {tmp_path}/fedora", "path: '/home/a b:c'"),
    )
    folder = tmp_path / f"pushmirror-{role}.service.d"
    folder.mkdir()
    (folder / "trees.conf").write_text(compose_dropin(load_any(settings)).text)
    result = analyze("verify", "--man=no", copy_unit(role, tmp_path))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("role", ROLES)
def test_units_start_the_daemon_with_the_sample_places(role: str) -> None:
    """A unit makes the folders that the sample of its daemon names, and starts it with that file."""
    unit = (SYSTEMD / f"pushmirror-{role}.service").read_text()
    settings = load_any(SYSTEMD.parent / "config" / f"{role}.yaml")
    assert f"ExecStart=/usr/bin/pushmirror {role} --config /etc/pushmirror/{role}.yaml\n" in unit
    assert f"StateDirectory={settings.state_dir.relative_to('/var/lib')}\n" in unit
    assert f"RuntimeDirectory={settings.control.parent.relative_to('/run')}\n" in unit
    assert "ReadWritePaths" not in compose_dropin(settings).text.replace(
        f"ReadWritePaths=-{settings.tree_paths[0]}", ""
    )


@pytest.mark.parametrize(("name", "program"), [("sysusers.d", "systemd-sysusers"), ("tmpfiles.d", "systemd-tmpfiles")])
def test_files_for_the_user_and_the_folders_are_good(name: str, program: str, tmp_path: Path) -> None:
    """systemd makes the user and the folders from these files, below a root that is not the machine's."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "etc").mkdir()
    for file, text in (("passwd", "root:x:0:0::/:/bin/sh\n"), ("group", "root:x:0:\n")):
        (tmp_path / "etc" / file).write_text(text)
    steps = [["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "sysusers.d" / "pushmirror.conf")]]
    if name == "tmpfiles.d":
        steps.append(
            ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(SYSTEMD / "tmpfiles.d" / "pushmirror.conf")]
        )
    for step in steps:
        result = subprocess.run(step, capture_output=True, text=True, timeout=60, check=False)
        if "Permission denied" in result.stderr or "Operation not permitted" in result.stderr:
            pytest.skip(f"{step[0]} needs rights that this user does not have")
        assert result.returncode == 0, result.stderr
    assert re.search(r"(?m)^pushmirror:", (tmp_path / "etc" / "passwd").read_text())
    if name == "tmpfiles.d":
        assert (tmp_path / "etc" / "pushmirror").stat().st_mode & 0o7777 == 0o750
        assert (tmp_path / "var" / "lib" / "pushmirror" / "publisher").is_dir()
