"""The few settings of a client command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pushmirror.errors import SettingsError
from pushmirror.settings.glance import DEFAULT_KEY_OVERLAP_MS, Glance, GlanceTree, glance
from pushmirror.settings.load import load_any
from pushmirror.settings.publisher import PublisherSettings

from .examples import write_publisher, write_subscriber

ROOT = Path(__file__).parents[2]


def glance_by_model(path: Path) -> Glance:
    """Return what a glance should see, from the full model."""
    settings = load_any(path)
    bus = settings.bus if isinstance(settings, PublisherSettings) else None
    return Glance(
        role="publisher" if bus else "subscriber",
        name=settings.name,
        state_dir=settings.state_dir,
        control=settings.control,
        topic_prefix=bus.topic_prefix if bus else None,
        environment=bus.environment if bus else None,
        trees={
            name: GlanceTree(tree.path, getattr(tree, "max_clients", None)) for name, tree in settings.trees.items()
        },
        key=settings.key,
        key_overlap_ms=getattr(settings, "key_overlap_ms", DEFAULT_KEY_OVERLAP_MS),
    )


@pytest.mark.parametrize("name", ["publisher.yaml", "subscriber.yaml"])
def test_a_glance_agrees_with_the_model_on_the_samples(name: str) -> None:
    """What a client command sees in a sample is what the daemon sees there."""
    assert glance(ROOT / "config" / name) == glance_by_model(ROOT / "config" / name)


def test_a_glance_agrees_with_the_model_on_every_key_it_reads(tmp_path: Path) -> None:
    """Limits of clients, and paths with needless slashes, are read alike."""
    for path in (write_publisher(tmp_path, ("/debian", "//debian/./")), write_subscriber(tmp_path)):
        assert glance(path) == glance_by_model(path)
    assert glance(write_publisher(tmp_path)).trees["debian"].max_clients == 20


@pytest.mark.parametrize(
    ("old", "new"),
    [("name: mirror.example.org", "name: 1"), ("name: mirror.example.org", "name: a/b"), ("control:", "contrl:"),
     ("state_dir: /", "state_dir: "), ("org.example", "a b"), ("max_clients: 20", "max_clients: true"),
     ("max_clients: 20", "max_clients: 0"), ("  fedora:", "  debian:"), ("  fedora:", "  a/b:"), ("bus:", "bas:"),
     ("    max_clients: 20", "    path: /x")],
)  # fmt: skip
def test_what_a_glance_cannot_use_is_told_in_full(tmp_path: Path, old: str, new: str) -> None:
    """When something that a client needs is wrong, it tells every fault, as the daemon would."""
    path = write_publisher(tmp_path, (old, new), ("http://", "ftp://"))
    with pytest.raises(SettingsError) as by_glance:
        glance(path)
    with pytest.raises(SettingsError) as by_model:
        load_any(path)
    assert by_glance.value.faults == by_model.value.faults


def test_a_glance_passes_over_what_clients_do_not_need(tmp_path: Path) -> None:
    """A bad address of the bus is no reason to keep a command from the daemon that runs."""
    assert glance(write_publisher(tmp_path, ("tcp://", "udp://"))).name == "mirror.example.org"


def test_a_glance_imports_no_models(tmp_path: Path) -> None:
    """Client commands start quickly, so a glance needs neither pydantic nor Twisted nor fedmsg."""
    code = (
        "import sys, pathlib; from pushmirror.settings.glance import glance; glance(pathlib.Path(sys.argv[1]));"
        "print(sorted({'pydantic', 'twisted', 'fedmsg', 'cryptography', 'zmq'} & set(sys.modules)))"
    )
    path = write_publisher(tmp_path)
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
