"""The documents say what the code does: every key, number, option and module in them is held against it."""

from __future__ import annotations

import ast
import base64
import configparser
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pushmirror.cli.main import COMMANDS, group
from pushmirror.control.client import ask
from pushmirror.core import lists, messages, paths, wire
from pushmirror.core.command import RunOptions, Selection, build_command
from pushmirror.core.filters import Rules, rsync_arguments
from pushmirror.core.lists import format_changes, list_digest
from pushmirror.core.messages import UPDATED, format_update, topic
from pushmirror.core.model import ChangeList, Event, Report, Stage, StageKind, Update
from pushmirror.core.paths import TreePath
from pushmirror.core.patterns import parse_pattern
from pushmirror.core.profiles import PROFILES, metadata_arguments, payload_arguments
from pushmirror.core.progress import Progress
from pushmirror.core.source import parse_source
from pushmirror.core.wire import canonical, compose, digest
from pushmirror.errors import PushmirrorError, UsageError
from pushmirror.http.questions import MAX_UPDATES
from pushmirror.http.serving import MAX_BODY_BYTES, MAX_HEADER_BYTES
from pushmirror.keys import PrivateKey, seal
from pushmirror.publisher.detect import detector, run_announcer
from pushmirror.publisher.detect.run_arguments import parse_call
from pushmirror.publisher.proofs import SIGNATURES_AT_ONCE
from pushmirror.settings.known import ANY_NAME, list_keys
from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.subscriber.listener import CAUSES
from pushmirror.subscriber.records import JobRecord
from pushmirror.subscriber.status import show_job
from tests.support.processes import REPOSITORY
from tests.support.world import PUBLISHER, TREE, World

DOCS = REPOSITORY / "docs"
PACKAGE = REPOSITORY / "pushmirror"
DOCUMENTS = [*sorted(DOCS.glob("*.md")), REPOSITORY / "SECURITY.md"]
SET_BY_THE_OPERATOR = {
    *("--temp-dir", "--link-dest", "--timeout", "--contimeout", "--bwlimit", "--password-file"),
    *("--include", "--exclude"),
}
FIXED_EXCLUDES = {"--exclude=.~tmp~", "--exclude=/.~pushmirror~", "--exclude=*"}
ENCODINGS = {"ascii", "surrogatepass"}
MACHINE_PATH = re.compile(r"/(root|home|tmp|work)/[\w.]+")
MAX_PROSE_CHARACTERS = 120

PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")
DESIGN = (DOCS / "design.md").read_text(encoding="utf-8")


def named_in(text: str) -> set[str]:
    """Return what a document puts into backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def undocumented(words: set[str], text: str) -> list[str]:
    """Return those of `words` that a document does not name."""
    return sorted(words - named_in(text))


# --- the protocol


def keys_in(module: Any) -> set[str]:
    """Return the keys of JSON objects that a module writes or reads, as far as they stand there as constants."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            values = list(node.keys)
        elif isinstance(node, ast.Call):
            values = [*node.args]
        elif isinstance(node, ast.Subscript):
            values = [node.slice]
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple):
            values = [*node.iter.elts]
        texts = (value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str))
        found |= {text for text in texts if re.fullmatch(r"[a-z][a-z_]*", text)}
    return found - ENCODINGS


def test_every_key_of_a_message_is_in_the_protocol() -> None:
    """No key is read or written by the program that the protocol does not name."""
    report = {field.name for field in dataclasses.fields(Report)} - {"event"}
    keys = keys_in(messages) | keys_in(lists) | keys_in(wire) | report
    assert {"changed", "interval_ms", "nonce", "lag_ms", "certificate"} <= keys
    assert undocumented(keys, PROTOCOL) == []


def test_every_kind_of_message_is_in_the_protocol() -> None:
    """Announcements, heartbeats, states and every report have a place in it."""
    announced = {messages.UPDATED, messages.HEARTBEAT, messages.UPDATING, messages.STATE}
    kinds = announced | {f"sync.{event.value}" for event in Event}
    assert undocumented(kinds, PROTOCOL) == []


def test_the_limits_are_those_of_the_program() -> None:
    """Numbers in the protocol are the program's own."""
    limits = [
        wire.MAX_MESSAGE_BYTES,
        wire.MAX_INLINE_BYTES,
        wire.MAX_INTEGER,
        wire.MAX_TOPIC_LENGTH,
        lists.MAX_LIST_PATHS,
        lists.MAX_LIST_BYTES,
        messages.MAX_TREES,
        messages.MAX_UPDATING_MS,
        run_announcer.EXPIRES_MS,
        messages.MAX_REASON_LENGTH,
        messages.DEFAULT_HEARTBEAT_MS,
        paths.MAX_PATH_BYTES,
        paths.MAX_PART_BYTES,
        MAX_BODY_BYTES,
        MAX_HEADER_BYTES,
        SIGNATURES_AT_ONCE,
        MAX_UPDATES,
    ]
    found = set(map(int, re.findall(r"\d+", PROTOCOL)))
    assert [limit for limit in limits if limit not in found] == []
    assert messages.NAME.pattern in PROTOCOL


def example() -> tuple[Update, bytes, PrivateKey]:
    """Return the worked example of the protocol: an update, its signed bytes, and the key."""
    changes = ChangeList(
        changed=tuple(map(TreePath, (b"-notes", b"pool/a.deb", b"pool/caf\xe9.deb", "pool/é.deb".encode()))),
        deleted=(TreePath(b"pool/old.deb"),),
    )
    update = Update(
        publisher="mirror.example.org",
        tree="debian",
        epoch="1795338257000-0123456789abcdef",
        serial=1,
        previous=0,
        previous_digest=None,
        at_ms=1795338260123,
        whole=False,
        list_digest=list_digest(changes),
        changes=changes,
        changed=4,
        deleted=1,
        bytes=2048,
        root_mtime_ns=1795338259000000000,
        max_clients=20,
    )
    signed = compose(
        topic("org.example", "prod", UPDATED),
        format_update(update),
        msg_id="2026-6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        at_ms=update.at_ms,
        counter=update.serial,
        username=update.publisher,
    )
    return update, signed, PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def test_the_worked_example_is_what_the_program_makes() -> None:
    """List, digests, signed bytes, signature and message of the example come out of the program byte for byte."""
    update, signed, key = example()
    assert update.changes is not None
    expected = [
        canonical(format_changes(update.changes)).decode(),
        list_digest(update.changes),
        signed.decode(),
        digest(signed),
        base64.b64encode(key.sign(signed)).decode(),
        key.public.line,
        seal(signed, key).decode(),
    ]
    section = PROTOCOL.partition("### Worked example\n")[2].partition("\n## ")[0]
    shown = [line for block in re.findall(r"```\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]
    assert shown == expected


# --- the design


def test_every_option_of_rsync_has_its_reason() -> None:
    """Each option that any stage passes is named in the design."""
    profile, rules = PROFILES["deb"], Rules((parse_pattern("a"),), (parse_pattern("b"),))
    options = RunOptions(
        temp_dir="/t",
        metadata_dir="/m",
        io_timeout_s=1,
        connect_timeout_s=1,
        bandwidth_kib_per_s=1,
        password_file="/p",
        exact_times=True,
        selection=Selection(
            rsync_arguments(rules), metadata_arguments(profile, rules), payload_arguments(profile, rules)
        ),
    )
    source = parse_source("rsync://host/module/")
    used: set[str] = set()
    for kind in StageKind:
        for listed in ((), (TreePath(b"a"),)):
            arguments = build_command(Stage(kind, listed), source, "/m", options).arguments
            used |= set(arguments[: arguments.index("--")])
    names = {part for argument in used for part in spell(argument)}
    assert [name for name in sorted(names) if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", DESIGN)] == []


def spell(argument: str) -> list[str]:
    """Return the options in an argument: ``-lptH`` has four of them, ``-ii`` is one; values from settings go."""
    if argument.startswith("--"):
        name = argument.partition("=")[0]
        return [name if name in SET_BY_THE_OPERATOR and argument not in FIXED_EXCLUDES else argument]
    return [argument] if len(set(argument[1:])) == 1 else [f"-{letter}" for letter in argument[1:]]


def test_the_design_names_modules_that_exist() -> None:
    """A newcomer who is sent to a module finds it."""
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", DESIGN))
    assert len(named) > 20
    assert [name for name in sorted(named) if not any((at / name).exists() for at in (REPOSITORY, PACKAGE))] == []


def test_every_dependency_has_its_reason() -> None:
    """Each library that is required stands in the table of the design."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = metadata["options"]["install_requires"].splitlines()
    required = {match[0] for line in lines if (match := re.match(r"[\w.]+", line))}
    assert [name for name in sorted(required) if f"\n| {name} |" not in DESIGN] == []


# --- operations


def keys_of(value: object, names: frozenset[str]) -> Iterator[str]:
    """Yield the keys of all objects in an answer, without those that are `names` of something."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            if key not in names:
                yield key
            yield from keys_of(below, names)
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item, names)


@pytest.mark.slow
def test_every_key_of_status_is_documented(tmp_path: Path) -> None:
    """What running daemons answer to ``status``, with held deletions and reports, has no key that is not explained."""
    with World(tmp_path) as world:
        gone = [world.tree / f"gone-{number}" for number in range(3)]
        for path in (*gone, world.tree / "kept"):
            path.write_text("x")
        subscriber = world.add_subscriber("t2.example.net")
        world.start_publisher()
        subscriber.start()
        subscriber.wait_for("the first sync", lambda tree: tree["last_full_sync"] is not None)
        for path in gone:
            path.unlink()
        world.publish(*(argument for path in gone for argument in ("--delete", path.name)))
        held = subscriber.wait_for("held deletions", lambda tree: tree["held"] and tree["state"] == "idle")
        assert held["held"]["deletions"] == len(gone)
        answers = [subscriber.status(), ask(world.publisher_folder / "control.sock", {"command": "status"})]
    assert answers[1]["nodes"]
    names = frozenset({TREE, PUBLISHER, "t2.example.net"})
    assert undocumented(set(keys_of(answers, names)), OPERATIONS) == []


def test_every_key_of_progress_and_detection_is_documented() -> None:
    """What ``status`` tells of a running job, and of a tree that is scanned, has no key that is not explained."""
    progress = {field.name for field in dataclasses.fields(Progress)}
    source = ast.parse(Path(detector.__file__).read_text(encoding="utf-8"))
    described = next(n for n in ast.walk(source) if isinstance(n, ast.FunctionDef) and n.name == "describe")
    (answer,) = (node for node in ast.walk(described) if isinstance(node, ast.Dict))
    detection = {key.value for key in answer.keys if isinstance(key, ast.Constant)}
    assert {"problems", "watched"} <= detection
    assert undocumented(progress | detection, OPERATIONS) == []


def test_run_refuses_what_is_said_to_be_refused() -> None:
    """Each option that the operations name as refused by ``run`` is refused, and told by its name."""
    paragraph = OPERATIONS.partition("\nRefused, each with advice, ")[2].partition("\n\n")[0]
    options = sorted(name for name in named_in(paragraph) if name.startswith("--") and name != "--backup-dir")
    assert len(options) > 8
    for option in options:
        with pytest.raises(UsageError, match=option):
            parse_call(["rsync", f"{option}=%n", "from/", "to/"], {})


def test_every_profile_is_documented() -> None:
    """Each repository format has its row, for the operator who chooses one."""
    assert [name for name in PROFILES if f"\n| `{name}` |" not in OPERATIONS] == []


def test_every_key_of_a_job_is_documented() -> None:
    """``history --json`` has no key that is not explained."""
    assert undocumented(set(show_job(JobRecord(1, "t", "list", 1, 0))), OPERATIONS) == []


def test_every_state_and_cause_is_documented() -> None:
    """States are those that the program can answer with, and each cause of a dropped message has its meaning."""
    states = returned_texts("core/schedule.py", "tree_state") | returned_texts("core/liveness.py", "state")
    assert {"idle", "silent"} <= states
    assert undocumented(states | set(CAUSES), OPERATIONS) == []


def returned_texts(module: str, function: str) -> set[str]:
    """Return the texts that a function of the package can return."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    body = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
    returns = [node.value for node in ast.walk(body) if isinstance(node, ast.Return) and node.value is not None]
    found = [part for value in returns for part in outcomes(value)]
    return {part.value for part in found if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def outcomes(value: ast.expr) -> list[ast.expr]:
    """Return what an expression comes to: both sides of a conditional one."""
    return [*outcomes(value.body), *outcomes(value.orelse)] if isinstance(value, ast.IfExp) else [value]


def test_every_exit_code_is_documented() -> None:
    """The table has each exit code that an error of the program can end a command with, and that ``--help`` lists."""
    told = {int(code) for code in re.findall(r"(\d+) [a-z]", group.epilog or "")}
    codes = {error.exit_code for error in every_error(PushmirrorError)} | {0}
    assert told == codes
    section = OPERATIONS.partition("## Exit codes\n")[2].partition("\n## ")[0]
    assert codes <= {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}


def every_error(root: type[PushmirrorError]) -> Iterator[type[PushmirrorError]]:
    yield root
    for error in root.__subclasses__():
        yield from every_error(error)


# --- manuals


def test_the_manuals_are_up_to_date() -> None:
    """docs/man/ is what scripts/write-manuals would write now."""
    command = [sys.executable, str(REPOSITORY / "scripts" / "write-manuals"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manuals_name_every_command_and_every_key() -> None:
    """No command and no setting is without its entry."""
    page = (DOCS / "man" / "pushmirror.1").read_text(encoding="utf-8").replace("\\-", "-")
    assert re.findall(r"^\.SS \\fBpushmirror ([\w-]+)\\fR", page, re.MULTILINE) == list(COMMANDS)
    for role, model in (("publisher", PublisherSettings), ("subscriber", SubscriberSettings)):
        page = (DOCS / "man" / f"pushmirror-{role}.yaml.5").read_text(encoding="utf-8")
        shown = re.findall(r"^\.TP\n\\fB(.*)\\fR$", page, re.MULTILINE)
        wanted = [[part for part in pattern if part != ANY_NAME] for pattern in list_keys(model)]
        assert [[part for part in key.split(".") if not part.isupper()] for key in shown] == wanted


# --- security


def test_every_test_that_is_named_for_security_exists() -> None:
    """SECURITY.md names files and tests, and each of them is there."""
    security = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    table = [line for line in security.splitlines() if line.startswith("|") and ".py`" in line]
    rows = [line.removesuffix(" |").rpartition(" | ")[2] for line in table]
    assert len(rows) > 20
    missing = []
    for row in rows:
        files = [REPOSITORY / "tests" / name for name in re.findall(r"`([\w/]+\.py)`", row)]
        missing += [str(file) for file in files if not file.is_file()]
        text = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
        missing += [name for name in re.findall(r"`(test_\w+)`", row) if f"def {name}(" not in text]
    assert missing == []


# --- all of them


def anchors(text: str) -> set[str]:
    """Return the fragments by which the headings of a document are reached."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every link to a file, and to a heading in it, has its target."""
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        name, _, fragment = target.partition("#")
        path = (document.parent / name) if name else document
        known = "://" in target or (path.exists() and (not fragment or fragment in anchors(path.read_text())))
        broken += [] if known else [target]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_tidy(document: Path) -> None:
    """No path of a developer's machine, no trailing space, and no prose wider than a screen."""
    text = document.read_text(encoding="utf-8")
    assert MACHINE_PATH.search(text) is None
    lines = re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert [line for line in lines if len(line) > MAX_PROSE_CHARACTERS and not line.startswith(("|", "    "))] == []
