"""The package's metadata, scripts and documents fit the code."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import pushmirror
from pushmirror.cli.main import COMMANDS
from tests.support.imports import read_package
from tests.support.processes import REPOSITORY

SCRIPTS = ["scripts/setup", "scripts/demo", "scripts/check", "scripts/test", ".ci/run"]
DISTRIBUTION_OF = {
    "OpenSSL": "pyOpenSSL",
    "zmq": "pyzmq",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
}  # where the import has another name than what is installed
MACHINE_PATH = re.compile(r"/(root|home|tmp)/[\w.]+")


@pytest.fixture(scope="module")
def metadata() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    return parser


def names(lines: str) -> set[str]:
    """Return the distribution names of a list of requirements."""
    found = (re.match(r"[\w-]+", line) for line in lines.splitlines() if not line.startswith("#"))
    return {match[0].lower() for match in found if match}


def test_the_version_comes_from_the_package(metadata: configparser.ConfigParser) -> None:
    """There is one place for the version, and it is a version."""
    assert metadata["metadata"]["version"] == "attr: pushmirror.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", pushmirror.__version__)


def test_what_the_package_imports_is_what_it_requires(metadata: configparser.ConfigParser) -> None:
    """Every foreign import has a requirement, and every requirement is imported somewhere."""
    modules = read_package(REPOSITORY / "pushmirror")
    tops = {imported.name.split(".")[0] for module in modules.values() for imported in module.imports}
    foreign = tops - set(sys.stdlib_module_names) - {"pushmirror"}
    required = names(metadata["options"]["install_requires"])
    assert {DISTRIBUTION_OF.get(top, top).lower() for top in foreign} == required


@pytest.mark.parametrize("group", ["console_scripts", "fedmsg.meta"])
def test_entry_points_lead_somewhere(group: str, metadata: configparser.ConfigParser) -> None:
    """Each entry point names a module that exists and something that is defined in it."""
    _, _, target = metadata["options.entry_points"][group].strip().partition(" = ")
    module, _, attribute = target.partition(":")
    found = find_spec(module)
    assert found is not None and found.origin is not None
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    assert attribute in {getattr(statement, "name", None) for statement in tree.body}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_shell(script: str) -> None:
    """Each script can be started as it is, and a shell understands it."""
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True, timeout=10)


def test_setup_refuses_what_it_does_not_know() -> None:
    """A purpose that does not exist ends with a line that names those that do."""
    done = subprocess.run(
        ["scripts/setup", "x"], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "scripts/setup: unknown purpose 'x': use 'run' or 'test'\n"


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        ({"id": "echo 1000", "apt-get": "exit 9"}, "please run: sudo apt-get install rsync"),
        ({"id": "echo 0"}, "please install with your package manager: rsync"),
        ({"id": "echo 0", "apt-get": "exit 9"}, "apt-get update failed; see above"),
    ],
    ids=["no root", "no apt-get", "apt-get fails"],
)
def test_setup_says_what_to_install(programs: dict[str, str], told: str, tmp_path: Path) -> None:
    """Without rsync, and without the means to install it, the last line says exactly what to do."""
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run(
        ["/bin/sh", "scripts/setup"],
        cwd=REPOSITORY,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"scripts/setup: {told}"


def test_the_readme_lists_every_command() -> None:
    """The table of commands in the README has each command once, and no other."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `pushmirror ([\w-]+)", readme, flags=re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_documents_lead_to_files(document: str) -> None:
    """Every relative link points to something in the repository."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in targets if not (REPOSITORY / target).exists()] == []


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    """The newest section is for what has not been released."""
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE)[0] == "Unreleased"


def test_documents_name_no_paths_of_a_developers_machine() -> None:
    """README, CONTRIBUTING and CHANGELOG hold for every machine."""
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        assert not MACHINE_PATH.findall((REPOSITORY / document).read_text(encoding="utf-8")), document


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    """Building needs no network; every module of the package is in the wheel, and no test."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(REPOSITORY / name, sources)
    shutil.copytree(REPOSITORY / "pushmirror", sources / "pushmirror", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, sources], check=True, timeout=100)
    (wheel,) = tmp_path.glob("pushmirror-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    expected = {str(path.relative_to(sources)) for path in (sources / "pushmirror").rglob("*.py")}
    assert packed == expected
