"""The settings of detection: what may be written, what it becomes, and what a client command sees of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pushmirror.cli.check_config import check_config
from pushmirror.errors import SettingsError
from pushmirror.settings.glance import glance
from pushmirror.settings.load import load_publisher

from .examples import make_surroundings, write_publisher


def write_detect(folder: Path, detect: str, *replacements: tuple[str, str]) -> Path:
    """Write a publisher's file whose first tree has this section."""
    return write_publisher(folder, ("max_clients: 20", f"detect: {detect}"), *replacements)


def test_nothing_is_detected_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Without the section a tree is announced by its operator alone."""
    detect = load_publisher(write_publisher(tmp_path)).trees["debian"].detect
    assert (detect.scan_ms, detect.thorough_ms, detect.watch, detect.marker, detect.exclude) == (None,) * 4 + ((),)


def test_all_ways_together(tmp_path: Path) -> None:
    """Durations become milliseconds, and a watch without more has its default."""
    text = '{scan: 5m, thorough: 24h, watch: {}, marker: project/trace/master, exclude: ["*.tmp", "/private/"]}'
    detect = load_publisher(write_detect(tmp_path, text)).trees["debian"].detect
    assert (detect.scan_ms, detect.thorough_ms, detect.marker) == (300_000, 86_400_000, "project/trace/master")
    assert detect.watch is not None and detect.watch.settle_ms == 10_000
    assert detect.exclude == ("*.tmp", "/private/")


@pytest.mark.parametrize(
    ("detect", "key", "told"),
    [
        ("{scan: 5}", "detect.scan", "no unit"),
        ("{scan: 1ms}", "detect.scan", "out of range"),
        ("{thorough: 1s}", "detect.thorough", "out of range"),
        ("{watch: 10s}", "detect.watch", ""),
        ("{watch: {settel: 10s}}", "detect.watch.settel", "settle"),
        ("{marker: ../trace}", "detect.marker", "root of the tree"),
        ("{marker: ''}", "detect.marker", "root of the tree"),
        ('{exclude: ["- *.tmp"]}', "detect.exclude[0]", "filter rule"),
        ("{exclude: '*.tmp'}", "detect.exclude", ""),
        ("{scann: 5m}", "detect.scann", "scan"),
    ],
)
def test_faults_are_told_where_they_are(tmp_path: Path, detect: str, key: str, told: str) -> None:
    """With the line, the key and what to do; and a client command tells the same ones."""
    path = write_detect(tmp_path, detect)
    with pytest.raises(SettingsError) as caught:
        load_publisher(path)
    (fault,) = caught.value.faults
    assert (fault.line, fault.key) == (13, f"trees.debian.{key}")
    assert told in fault.message


def test_a_glance_sees_what_a_scan_needs(tmp_path: Path) -> None:
    """The patterns, the URL that names the module, and the rsync daemon's configuration."""
    path = write_detect(
        tmp_path,
        '{exclude: ["*.tmp"]}\n    url: rsync://mirror.example.org/debian/\n    profile: deb',
        ("control:", "rsyncd_conf: /srv/rsyncd.conf\ncontrol:"),
    )
    seen, settings = glance(path), load_publisher(path)
    tree = seen.trees["debian"]
    assert (tree.exclude, tree.url, tree.profile) == (("*.tmp",), "rsync://mirror.example.org/debian/", "deb")
    assert seen.rsyncd_conf == settings.rsyncd_conf == Path("/srv/rsyncd.conf")
    assert glance(write_publisher(tmp_path)).rsyncd_conf is None


@pytest.mark.parametrize("detect", ["[]", "{exclude: 5}", '{exclude: ["a//b"]}'])
def test_a_glance_at_a_bad_section_tells_every_fault(tmp_path: Path, detect: str) -> None:
    """A client command that would need it refuses as check-config does."""
    with pytest.raises(SettingsError, match=r"trees\.debian\.detect"):
        glance(write_detect(tmp_path, detect))


def test_check_config_tells_what_the_rsync_daemon_hides(tmp_path: Path) -> None:
    """A note for the tree: subscribers miss such paths, and no scan announces them."""
    make_surroundings(tmp_path)
    conf = tmp_path / "rsyncd.conf"
    conf.write_text(f"[debian]\npath = {tmp_path}/debian\nexclude = /private *.iso\n")
    path = write_publisher(tmp_path, ("control:", f"rsyncd_conf: {conf}\ncontrol:"))
    result = CliRunner().invoke(check_config, [str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "note: tree debian:" in result.stdout and "hides /private *.iso" in result.stdout
    assert "tree fedora: " in result.stdout and "note: tree fedora" not in result.stdout
