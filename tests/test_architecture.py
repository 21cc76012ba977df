"""The package keeps its shape, and the checker that says so can see when it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import arrows
from tests.support.imports import Module, loaded_by, read_package

PACKAGE = Path(__file__).resolve().parents[1] / "pushmirror"

Rule = Callable[[dict[str, Module]], list[str]]
RULES: tuple[Rule, ...] = (
    arrows.wrong_arrows,
    arrows.parts_without_a_layer,
    arrows.effects_in_core,
    arrows.misplaced_reactors,
    arrows.slow_client_commands,
    arrows.stray_processes,
    arrows.packages_with_code,
)

SOUND = {
    "__init__": '"""A package."""\n__version__ = "1"\n',
    "errors": "class Wrong(Exception): ...\n",
    "keys": "from pkg.errors import Wrong\nimport cryptography\n",
    "core/__init__": '"""Decisions."""\n',
    "core/model": "from __future__ import annotations\nimport json\nfrom collections.abc import Mapping\n",
    "core/wire": "from urllib.parse import quote\nfrom . import model\nfrom ..errors import Wrong\n",
    "settings/__init__": '"""Settings."""\n',
    "settings/load": "import pydantic\nfrom pkg.keys import something\nfrom pkg.core import model\n",
    "publisher/__init__": '"""Tier 1."""\n',
    "publisher/service": "from twisted.application import service\nfrom pkg.core.wire import anything\n",
    "cli/__init__": '"""Commands."""\n',
    "cli/publish": "import click, pkg\nfrom pkg.core import wire\ndef run():\n    from pkg.settings.load import x\n",
    "cli/daemon": "def run():\n    from twisted.internet import reactor\n",
    "cli/demo": "import subprocess\n",
}

# what is written into which module of the sound package above, the rule that must see it, and a part of what it says
FAULTS = [
    ("core/model", "from pkg import keys", "wrong_arrows", "pkg.core.model:1: core must not import pkg.keys"),
    ("errors", "from pkg.core import model", "wrong_arrows", "errors must not import pkg.core.model"),
    ("keys", "import pkg.settings.load", "wrong_arrows", "keys must not import pkg.settings.load"),
    ("settings/load", "from ..cli.demo import x", "wrong_arrows", "settings must not import pkg.cli.demo"),
    ("publisher/service", "import pkg.subscriber.ledger", "wrong_arrows", "must not import pkg.subscriber.ledger"),
    ("publisher/service", "def f():\n    import pkg.cli.demo", "wrong_arrows", "must not import pkg.cli.demo"),
    ("publisher/service", "from pkg.cli import publish", "wrong_arrows", "must not import pkg.cli.publish"),
    ("newcomer", "x = 1", "parts_without_a_layer", "newcomer"),
    ("core/wire", "import os", "effects_in_core", "core must not import os"),
    ("core/wire", "from time import monotonic", "effects_in_core", "core must not import time.monotonic"),
    ("core/wire", "import urllib.request", "effects_in_core", "core must not import urllib.request"),
    ("core/wire", "def f():\n    import sqlite3", "effects_in_core", "core must not import sqlite3"),
    ("core/wire", "def f():\n    return open('x')", "effects_in_core", "core must not call open()"),
    ("core/wire", "print('x')", "effects_in_core", "core must not call print()"),
    ("core/wire", "x = eval('1')", "effects_in_core", "core must not call eval()"),
    ("cli/daemon", "from twisted.internet import reactor", "misplaced_reactors", "pkg.cli.daemon:1"),
    ("cli/daemon", "try:\n    import twisted.internet.reactor\nfinally:\n    pass", "misplaced_reactors", "daemon:2"),
    ("publisher/service", "def f():\n    from twisted.internet import reactor", "misplaced_reactors", "service:2"),
    ("cli/publish", "import pydantic", "slow_client_commands", "cli.publish loads pydantic (pkg.cli.publish)"),
    ("cli/publish", "from pkg.settings import load", "slow_client_commands", "(pkg.cli.publish -> pkg.settings.load)"),
    ("cli/publish", "import pkg.publisher.service", "slow_client_commands", "loads twisted.application.service"),
    ("cli/__init__", "import fedmsg.meta", "slow_client_commands", "cli.publish loads fedmsg.meta"),
    ("keys", "import subprocess", "stray_processes", "pkg.keys:1: must not import subprocess"),
    ("keys", "import os\nos.system('x')", "stray_processes", "must not call os.system()"),
    ("keys", "import os\nos.execvp('x', [])", "stray_processes", "must not call os.execvp()"),
    ("keys", "from os import popen", "stray_processes", "must not import os.popen"),
    ("cli/demo", "import subprocess\nsubprocess.run('x', shell=True)", "stray_processes", "through a shell"),
    ("cli/__init__", "VALUE = 1", "packages_with_code", "pkg.cli:1"),
]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A small package that keeps every rule."""
    folder = tmp_path / "pkg"
    for name, text in {**SOUND, "subscriber/__init__": "", "subscriber/ledger": "import sqlite3\n"}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    """Nothing in pushmirror breaks this rule."""
    assert rule(read_package(PACKAGE)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_sound_package_is_not_complained_about(rule: Rule, sound: Path) -> None:
    """What the rules allow is allowed by the checker."""
    assert rule(read_package(sound)) == []


@pytest.mark.parametrize(("module", "text", "rule", "told"), FAULTS, ids=lambda value: str(value).replace("\n", "; "))
def test_a_fault_is_seen(module: str, text: str, rule: str, told: str, sound: Path) -> None:
    """One fault in a sound package is reported by the rule it breaks."""
    (sound / f"{module}.py").write_text(f"{text}\n")
    assert any(told in line for line in getattr(arrows, rule)(read_package(sound)))


def test_every_rule_is_shown_to_fail() -> None:
    """No rule is without a fault that it has been seen to catch."""
    assert {rule.__name__ for rule in RULES} == {rule for _, _, rule, _ in FAULTS}


def test_imports_for_the_type_checker_do_not_count_as_loaded(sound: Path) -> None:
    """A client command may name the types of heavy modules, as long as it does not import them when it runs."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pydantic\nelse:\n    import fedmsg\n"
    (sound / "cli" / "publish.py").write_text(text)
    loaded = loaded_by("pkg.cli.publish", read_package(sound))
    assert "pydantic" not in loaded
    assert "fedmsg" in loaded
