"""What an rsync can write to, by the kernel's own rule."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from pushmirror.subscriber.confinement import find_version, start_confined

needs_rules = pytest.mark.skipif(not find_version(), reason="this kernel has no Landlock, or does not let us use it")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a folder for staging beside it, and a folder that is none of rsync's business."""
    for name in ("tree/d", "tree/e", "staging", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "precious").write_text("precious")
    (tmp_path / "tree" / "link").symlink_to("../outside")
    return tmp_path / "tree"


def shell(script: str, tree: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in the tree, as the runner starts rsync."""

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script], cwd=tree, capture_output=True, text=True, timeout=20, check=False)

    return start_confined(start, [str(tree), str(tree.parent / "staging"), str(tree.parent / "nothing")])


ATTACKS = {
    "a new file": "echo evil > link/evil",
    "over a file": "echo evil > link/precious",
    "appended": "echo evil >> link/precious",
    "truncated": ": > link/precious",
    "a directory": "mkdir link/evil",
    "a link": "ln -s /etc link/evil",
    "a hardlink of ours": "echo ours > d/ours && ln d/ours link/evil",
    "a hardlink of theirs": "ln link/precious d/theirs",
    "moved there": "echo ours > d/ours && mv -f d/ours link/precious",
    "moved from there": "mv link/precious d/theirs",
    "deleted": "rm -f link/precious",
    "the directory deleted": "rm -rf link/. ../outside",
    "a pipe": "mkfifo link/evil",
}


@pytest.mark.parametrize("script", ATTACKS.values(), ids=list(ATTACKS))
def test_a_link_leads_no_write_out_of_the_tree(tree: Path, script: str) -> None:
    """Whoever can write below the link without the rule cannot with it, child processes included."""
    outside = tree.parent / "outside"
    if find_version():
        assert shell(script, tree).returncode != 0
        assert [path.name for path in outside.iterdir()] == ["precious"]
        assert ((outside / "precious").read_text(), (outside / "precious").stat().st_nlink) == ("precious", 1)
    # The same without the rule.
    subprocess.run(["sh", "-c", script], cwd=tree, capture_output=True, timeout=20, check=False)
    precious = outside / "precious"
    changed = not precious.exists() or precious.read_text() != "precious" or precious.stat().st_nlink > 1
    assert changed or len(list(outside.iterdir())) > 1


@needs_rules
def test_what_rsync_does_in_its_folders_it_still_can(tree: Path) -> None:
    """Make, write, rename between directories and from the staging folder, link, remove; and throw output away."""
    done = shell(
        "echo new > ../staging/new && mv ../staging/new d/new && mv d/new e/new && ln e/new d/other && echo x > d/other"
        " && ln -s new e/link && mkdir -p d/f/g && rm -r d/f && chmod 600 e/new && cat ../outside/precious > /dev/null",
        tree,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tree / "e").iterdir()) == ["link", "new"]


@needs_rules
def test_the_rule_holds_for_what_is_started_and_not_for_the_daemon(tree: Path) -> None:
    """The thread is gone afterwards; another one is as free as before."""
    assert shell("echo evil > ../outside/evil", tree).returncode != 0
    assert "rsync" not in {thread.name for thread in threading.enumerate()}
    (tree.parent / "outside" / "ours").write_text("the daemon's own")


def test_what_fails_at_the_start_fails_here(tree: Path) -> None:
    """As without the rule."""

    def start() -> None:
        raise FileNotFoundError("no such program")

    with pytest.raises(FileNotFoundError, match="no such program"):
        start_confined(start, [str(tree)])
