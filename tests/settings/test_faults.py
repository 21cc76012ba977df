"""Every fault of a settings file, with its exact line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pushmirror.core.filters import Rules, rsync_arguments
from pushmirror.core.profiles import PROFILES, make_profile
from pushmirror.errors import SettingsError
from pushmirror.settings.document import Document, parse_document
from pushmirror.settings.known import list_keys
from pushmirror.settings.load import load_any, load_publisher, load_subscriber
from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.subscriber import SubscriberSettings
from pushmirror.settings.wording import list_problems

from .examples import PUBLIC_LINE, PUBLISHER, SUBSCRIBER, write_publisher, write_subscriber

Faults = list[tuple[int, str, str]]
Replacement = tuple[str, str]


def assert_faults(error: SettingsError, file: Path, faults: Faults) -> None:
    """Compare lines and keys exactly, and messages by a part of them."""
    assert [(fault.line, fault.key) for fault in error.faults] == [(line, key) for line, key, _ in faults], str(error)
    for fault, (_, _, message) in zip(error.faults, faults, strict=True):
        assert fault.file == str(file)
        assert message in fault.message, str(fault)
        assert "\n" not in str(fault)
        assert "nput should be" not in str(fault)


def test_good_files_load(tmp_path: Path) -> None:
    """The examples that the other tests spoil are good."""
    assert load_publisher(write_publisher(tmp_path)).trees["debian"].max_clients == 20
    assert load_subscriber(write_subscriber(tmp_path)).trees["fedora"].coalesce_ms == 5_000


PUBLISHER_FAULTS: list[tuple[str, list[Replacement], Faults]] = [
    ("unknown key, nearest", [("service:", "servise:")],
     [(0, "service", "is missing: where the HTTP"), (8, "servise", "did you mean service?")]),
    ("unknown key in a tree", [("max_clients:", "max_client:")], [(13, "trees.debian.max_client", "max_clients?")]),
    ("unknown key, nothing near", [("max_clients:", "zzz:")],
     [(13, "trees.debian.zzz", "the keys here are path, url, profile, max_clients")]),
    ("missing in a group", [("  environment: prod\n", "")], [(4, "bus.environment", "is missing: the part of every")]),
    ("missing in a tree", [("    path: {root}/fedora\n", "    profile: plain\n")],
     [(14, "trees.fedora.path", "is missing: the folder of the tree")]),
    ("no value", [("name: mirror.example.org", "name:")], [(1, "name", "has no value")]),
    ("no value for a number", [("max_clients: 20", "max_clients:")], []),
    ("number for a name", [("name: mirror.example.org", "name: 12")], [(1, "name", "put 12 into quotes")]),
    ("date for a name", [("name: mirror.example.org", "name: 2026-11-22")], [(1, "name", "into quotes")]),
    ("bad name", [("name: mirror.example.org", "name: -x")], [(1, "name", "cannot be a name")]),
    ("bad tree name", [("  debian:", "  ../debian:")], [(11, "trees.../debian", "cannot be a name")]),
    ("dots for a tree name", [("  debian:", "  ..:")], [(11, "trees...", "cannot be a name")]),
    ("newline in a tree name", [("  debian:", '  "a\\nb":')], [(11, "trees.'a\\nb'", "cannot be a name")]),
    ("number for a tree name", [("  debian:", "  2026:")], [(11, "trees", "put it into quotes")]),
    ("duplicate tree", [("  fedora:", "  debian:")], [(14, "trees.debian", "stands on line 11 already")]),
    ("duplicate key", [("    max_clients: 20", "    path: /x")], [(13, "trees.debian.path", "on line 12 already")]),
    ("relative path", [("path: {root}/debian", "path: debian")], [(12, "trees.debian.path", "relative path")]),
    ("path with ..", [("path: {root}/debian", "path: /srv/../x")], [(12, "trees.debian.path", "without it")]),
    ("path too long", [("path: {root}/debian", f"path: /{'x' * 960}")],
     [(12, "trees.debian.path", "longer than 960 bytes")]),
    ("whole machine", [("path: {root}/debian", "path: /.")], [(12, "trees.debian.path", "the whole machine")]),
    ("control character", [("path: {root}/debian", 'path: "/srv/a\\nb"')], [(12, "trees.debian.path", "control")]),
    ("same path", [("path: {root}/fedora", "path: {root}/debian/")],
     [(15, "trees.fedora.path", "is the folder of the tree debian (line 12)")]),
    ("path inside", [("path: {root}/fedora", "path: {root}//debian/./x")],
     [(15, "trees.fedora.path", "lies inside the tree debian (line 12)")]),
    ("path around", [("path: {root}/debian", "path: {root}/fedora/x")],
     [(12, "trees.debian.path", "lies inside the tree fedora (line 15)")]),
    ("state inside a tree", [("state_dir: {root}/state", "state_dir: {root}/debian/.state")],
     [(2, "state_dir", "lies inside the tree debian")]),
    ("key inside a tree", [("key: {root}/publisher.key", "key: {root}/fedora/key")],
     [(3, "key", "lies inside the tree fedora")]),
    ("endpoint without port", [("tcp://127.0.0.1:9940", "tcp://127.0.0.1")], [(5, "bus.publish", "host and a port")]),
    ("IPv6 endpoint without brackets", [("tcp://127.0.0.1:9940", "tcp://::1:9940")], [(5, "bus.publish", "brackets")]),
    ("bad IPv4", [("tcp://127.0.0.1:9940", "tcp://127.0.0.256:9940")], [(5, "bus.publish", "not an IPv4 address")]),
    ("https service", [("http://127", "https://127")],
     [(8, "service", "needs service_certificate"), (8, "service", "needs service_key")]),
    ("certificate for http", [("http://127.0.0.1:9941", "http://127.0.0.1:9941\nservice_key: /k")],
     [(9, "service_key", "does nothing for a service with http")]),
    ("proxy", [("http://127.0.0.1:9941", "http://127.0.0.1:9941\ntrusted_proxies: [localhost]")],
     [(9, "trusted_proxies[0]", "not an address or a network")]),
    ("limits", [("http://127.0.0.1:9941", "http://127.0.0.1:9941\nservice_limits: {{requests: 0, traffic: 5}}")],
     [(9, "service_limits.requests", "at least 1"), (9, "service_limits.traffic", "unit")]),
    ("history", [("http://127.0.0.1:9941", "http://127.0.0.1:9941\nhistory: {{age: 30, size: 5kB}}")],
     [(9, "history.age", "no unit"), (9, "history.size", "out of range")]),
    ("prefix", [("org.example", "org..example")], [(6, "bus.topic_prefix", "cannot begin a topic")]),
    ("environment", [("environment: prod", "environment: prod.eu")], [(7, "bus.environment", "one word")]),
    ("environment that YAML takes for a boolean", [("environment: prod", "environment: on")],
     [(7, "bus.environment", "put True into quotes")]),
    ("text for a group", [("bus:\n  publish: tcp://127.0.0.1:9940\n  topic_prefix: org.example\n  environment: prod\n",
                          "bus: tcp://127.0.0.1:9940\n")], [(4, "bus", "must be a group of keys")]),
    ("half a list for the trees", [("trees:\n  debian:", "trees:\n  - debian:")], [(14, "", "not valid YAML")]),
    ("list for the trees", [("  debian:", "  - debian:"), ("  fedora:", "  - fedora:")],
     [(10, "trees", "must be a group of keys")]),
    ("text for a tree", [("    path: {root}/fedora\n", "    text\n")], [(14, "trees.fedora", "group of keys")]),
    ("max_clients of none", [("max_clients: 20", "max_clients: 0")], [(13, "trees.debian.max_clients", "at least 1")]),
    ("max_clients beyond all", [("max_clients: 20", "max_clients: 100001")],
     [(13, "trees.debian.max_clients", "at most 100000")]),
    ("max_clients in quotes", [("max_clients: 20", "max_clients: '20'")],
     [(13, "trees.debian.max_clients", "whole number without quotes")]),
    ("max_clients and a half", [("max_clients: 20", "max_clients: 2.5")],
     [(13, "trees.debian.max_clients", "whole number")]),
    ("boolean for a number", [("max_clients: 20", "max_clients: yes")],
     [(13, "trees.debian.max_clients", "whole number")]),
    ("profile", [("max_clients: 20", "profile: rpm")], []),
    ("profile of never", [("max_clients: 20", "profile: zip")],
     [(13, "trees.debian.profile", "is not a profile: use one of plain, rpm, deb, arch, apk")]),
    ("url", [("max_clients: 20", "url: http://x/")], [(13, "trees.debian.url", "is not an rsync URL")]),
    ("heartbeat without unit", [("authorized_nodes: {root}/authorized_nodes", "heartbeat: 30")],
     [(16, "heartbeat", "30 has no unit")]),
    ("heartbeat too often", [("authorized_nodes: {root}/authorized_nodes", "heartbeat: 10ms")],
     [(16, "heartbeat", "10ms is out of range: write 1s to 1h")]),
    ("allow_root in words", [("authorized_nodes: {root}/authorized_nodes", "allow_root: perhaps")],
     [(16, "allow_root", "true or false")]),
    ("socket too long", [("{root}/publisher.sock", "/run/" + "x" * 110)], [(9, "control", "at most 107 bytes")]),
    ("wrong tag", [("name: mirror.example.org", "name: !x y")], [(1, "name", "is not taken here")]),
    ("several at once", [("name: mirror.example.org", "name: ''"), ("org.example", "'*'"), ("{root}/fedora", "fedora"),
                         ("max_clients", "maxclients"), ("service: http", "service: ftp")],
     [(1, "name", "cannot be a name"), (6, "bus.topic_prefix", "cannot begin a topic"), (8, "service", "http://HOST"),
      (13, "trees.debian.maxclients", "did you mean max_clients?"), (15, "trees.fedora.path", "relative path")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("replacements", "faults"), [row[1:] for row in PUBLISHER_FAULTS], ids=[row[0] for row in PUBLISHER_FAULTS]
)
def test_faults_of_a_publishers_file(tmp_path: Path, replacements: list[Replacement], faults: Faults) -> None:
    """Each fault is told with the line and the key where it stands, and what to do."""
    path = write_publisher(tmp_path, *rooted(tmp_path, replacements))
    if not faults:
        load_publisher(path)
        return
    with pytest.raises(SettingsError) as caught:
        load_publisher(path)
    assert_faults(caught.value, path, faults)


def sources(text: str) -> Replacement:
    """Give the tree fedora these sources in place of its one."""
    literal = text.replace("{", "{{").replace("}", "}}").replace("{{root}}", "{root}")
    return "source: rsync://127.0.0.1:8730/fedora/", f"sources: [{literal}]"


SUBSCRIBER_FAULTS: list[tuple[str, list[Replacement], Faults]] = [
    ("unknown upstream", [("upstream: main\n    source: rsync://127.0.0.1:8730/fedora/", "upstream: mian\n    source: "
                           "rsync://127.0.0.1:8730/fedora/")], [(19, "trees.fedora.upstream", "upstreams has main")]),
    ("no key", [("      - {key}\n", ""), ("keys:", "keys: []")], [(11, "upstreams.main.keys", "at least one entry")]),
    ("text for keys", [("      - {key}\n", ""), ("keys:", "keys: {key}")], [(11, "upstreams.main.keys", "a list")]),
    ("bad key", [("{key}", "ssh-rsa AAAA")], [(12, "upstreams.main.keys[0]", "ssh-ed25519")]),
    ("second key bad", [("      - {key}\n", "      - {key}\n      - ssh-ed25519 AAAA\n")],
     [(13, "upstreams.main.keys[1]", "the key is cut short")]),
    ("star to connect to", [("tcp://127.0.0.1:9940", "tcp://*:9940")],
     [(7, "upstreams.main.publish", "name the host")]),
    ("source", [("rsync://127.0.0.1:8730/fedora/", "/srv/fedora")],
     [(20, "trees.fedora.source", "is not an rsync URL")]),
    ("password in the source", [("rsync://127.0.0.1:8730/fedora/", "rsync://u:p@127.0.0.1/fedora/")],
     [(20, "trees.fedora.source", "password_file")]),
    ("sources", [sources("rsync://a/m/, rsync://b/m/")], []),
    ("sources with proofs", [sources("rsync://a/m/, {url: rsync://b/m/, marker: x/y, password_file: /p}")], []),
    ("source and sources", [("coalesce: 5s", "sources: [rsync://a/m/]")],
     [(22, "trees.fedora.sources", "stands beside source: write every source here")]),
    ("neither", [sources("")], [(18, "trees.fedora.source", "or several under sources")]),
    ("source without value", [("source: rsync://127.0.0.1:8730/fedora/", "source:")],
     [(20, "trees.fedora.source", "has no value")]),
    ("text for sources", [("source: rsync://127.0.0.1:8730/fedora/", "sources: rsync://a/m/")],
     [(20, "trees.fedora.sources", "must be a list")]),
    ("a source that is none", [sources("rsync://a/m/, http://b/")],
     [(20, "trees.fedora.sources[1].url", "is not an rsync URL")]),
    ("a source that is a number", [sources("5")], [(20, "trees.fedora.sources[0]", "must be a group of keys")]),
    ("a source without a URL", [sources("{password_file: /p}")],
     [(20, "trees.fedora.sources[0].url", "is missing: the rsync URL of the tree there")]),
    ("a misspelt key of a source", [sources("{url: rsync://a/m/, passwordfile: /p}")],
     [(20, "trees.fedora.sources[0].passwordfile", "did you mean password_file?")]),
    ("two sources alike", [sources("rsync://a/m/, rsync://b/m/, {url: rsync://a/m}")],
     [(20, "trees.fedora.sources[2]", "is the same as trees.fedora.sources[0]")]),
    ("an unknown relay", [sources("{url: rsync://a/m/, relay: t2}")],
     [(20, "trees.fedora.sources[0].relay", "upstreams.main.relays has none")]),
    ("relay and marker", [sources("rsync://o/m/, {url: rsync://a/m/, relay: t2, marker: x}")],
     [(20, "trees.fedora.sources[1].marker", "remove one of them"), (20, "trees.fedora.sources[1].relay", "no relay")]),
    ("a marker outside of the tree", [sources("rsync://o/m/, {url: rsync://a/m/, marker: ../x}")],
     [(20, "trees.fedora.sources[1].marker", "is no file of the tree")]),
    ("a marker from /", [sources("rsync://o/m/, {url: rsync://a/m/, marker: /x}")],
     [(20, "trees.fedora.sources[1].marker", "write it as seen from the tree's root")]),
    ("a marker without an origin", [sources("{url: rsync://a/m/, marker: x}")],
     [(20, "trees.fedora.sources[0].marker", "add the origin's URL")]),
    ("a password of a source in a tree", [sources("{url: rsync://a/m/, password_file: {root}/debian/p}")],
     [(20, "trees.fedora.sources[0].password_file", "lies inside the tree debian")]),
    ("too many sources", [sources(", ".join(f"rsync://h{number}/m/" for number in range(21)))],
     [(20, "trees.fedora.sources", "at most 20 entries")]),
    ("misspelt duration", [("coalesce:", "colaesce:")], [(22, "trees.fedora.colaesce", "did you mean coalesce?")]),
    ("attribute for key", [("coalesce:", "coalesce_ms:")], [(22, "trees.fedora.coalesce_ms", "mean coalesce?")]),
    ("duration without unit", [("coalesce: 5s", "coalesce: 5")], [(22, "trees.fedora.coalesce", "5 has no unit")]),
    ("duration without value", [("coalesce: 5s", "coalesce:")], [(22, "trees.fedora.coalesce", "has no value")]),
    ("duration out of range", [("coalesce: 5s", "coalesce: 2h")], [(22, "trees.fedora.coalesce", "write 0s to 1h")]),
    ("bandwidth in bits", [("coalesce: 5s", "bandwidth: 25Mb")],
     [(22, "trees.fedora.bandwidth", "'Mb' is not a unit")]),
    ("budget", [("coalesce: 5s", "delete_budget: {{count: -1, percent: 101, limt: 5}}")],
     [(22, "trees.fedora.delete_budget.count", "at least 0"),
      (22, "trees.fedora.delete_budget.limt", "did you mean limit?"),
      (22, "trees.fedora.delete_budget.percent", "at most 100")]),
    ("budget as a number", [("coalesce: 5s", "delete_budget: 5")], [(22, "trees.fedora.delete_budget", "a group")]),
    ("exclude", [("coalesce: 5s", "exclude: ['*/debug/*', '/x/***']")], []),
    ("exclude and include", [("coalesce: 5s", "include: ['*/']\n    exclude: ['*']")], []),
    ("patterns that are none",
     [("coalesce: 5s", "exclude: ['', a, '- b', '[[:alpha:]]']\n    include: ['a//b']")],
     [(22, "trees.fedora.exclude[0]", "is empty: write a pattern"),
      (22, "trees.fedora.exclude[2]", "begins like a filter rule: write a pattern alone"),
      (22, "trees.fedora.exclude[3]", "write the range, such as [a-z]"),
      (23, "trees.fedora.include[0]", "nothing before, after or between its slashes")]),
    ("include alone", [("coalesce: 5s", "include: [x]")], [(22, "trees.fedora.include", "does nothing by itself")]),
    ("include as text", [("coalesce: 5s", "include: x\n    exclude: [y]")],
     [(22, "trees.fedora.include", "must be a list")]),
    ("too many patterns", [("coalesce: 5s", "exclude: [" + "a, " * 1000 + "a]")],
     [(22, "trees.fedora.exclude", "at most 1000 entries")]),
    ("number in exclude", [("coalesce: 5s", "exclude: [1]")], [(22, "trees.fedora.exclude[0]", "must be text")]),
    ("no filters", [("coalesce: 5s", "include: []")], []),
    ("profile", [("coalesce: 5s", "profile: deb")], []),
    ("profile of never", [("coalesce: 5s", "profile: own")], [(22, "trees.fedora.profile", "is not a profile")]),
    ("own profile", [("coalesce: 5s", "profile: plain\n    metadata: [index/**]\n    last: [top]")], []),
    ("own profile in part", [("coalesce: 5s", "last: [top]")], []),
    ("own profile beside another", [("coalesce: 5s", "profile: deb\n    metadata: ['*']\n    last: [top]")],
     [(23, "trees.fedora.metadata", "remove it, or `profile: deb`"),
      (24, "trees.fedora.last", "remove it, or `profile: deb`")]),
    ("directories for metadata", [("coalesce: 5s", "metadata: ['*', index/]")],
     [(22, "trees.fedora.metadata[1]", "write 'index/**'")]),
    ("staging in a tree", [("coalesce: 5s", "staging_dir: {root}/debian/x")],
     [(22, "trees.fedora.staging_dir", "lies inside the tree debian")]),
    ("staging around a tree", [("coalesce: 5s", "staging_dir: {root}")],
     [(22, "trees.fedora.staging_dir", "holds the tree debian")]),
    ("staging as it is without", [("coalesce: 5s", "staging_dir: {root}/fedora/.~pushmirror~")], []),
    ("staging shared", [("coalesce: 5s", "staging_dir: {root}/s"), ("{root}/debian\n", "{root}/debian\n    "
                         "staging_dir: {root}/s\n")],
     [(23, "trees.fedora.staging_dir", "is used by trees.debian.staging_dir too")]),
    ("password in a tree", [("coalesce: 5s", "password_file: {root}/debian/p")],
     [(22, "trees.fedora.password_file", "lies inside the tree debian")]),
    ("rsync with options", [("name: t2", "rsync: rsync -v\nname: t2")], [(1, "rsync", "without options")]),
    ("rsync as a relative path", [("name: t2", "rsync: bin/rsync\nname: t2")], [(1, "rsync", "relative path")]),
    ("no jobs", [("name: t2", "max_jobs: 0\nname: t2")], [(1, "max_jobs", "at least 1")]),
    ("several at once",
     [("name: t2.example.net", "name: 'a b'"), ("tcp://127.0.0.1:9940", "tcp://127.0.0.1:0"), ("{key}", "nonsense"),
      ("path: {root}/fedora", "path: {root}/debian/fedora"), ("coalesce: 5s", "colaesce: 5s"),
      ("    upstream: main\n    source: rsync://127.0.0.1:8730/debian/", "    upstream: other"),
      ("control: {root}/subscriber.sock\n", "")],
     [(0, "control", "is missing"), (1, "name", "cannot be a name"), (6, "upstreams.main.publish", "port from 1"),
      (11, "upstreams.main.keys[0]", "public key"), (13, "trees.debian.source", "is missing"),
      (14, "trees.debian.upstream", "upstreams has main"), (19, "trees.fedora.path", "lies inside the tree debian"),
      (20, "trees.fedora.colaesce", "did you mean coalesce?")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("replacements", "faults"), [row[1:] for row in SUBSCRIBER_FAULTS], ids=[row[0] for row in SUBSCRIBER_FAULTS]
)
def test_faults_of_a_subscribers_file(tmp_path: Path, replacements: list[Replacement], faults: Faults) -> None:
    """Each fault is told with the line and the key where it stands, and what to do; all faults at once."""
    path = write_subscriber(tmp_path, *rooted(tmp_path, replacements))
    if not faults:
        load_subscriber(path)
        return
    with pytest.raises(SettingsError) as caught:
        load_subscriber(path)
    assert_faults(caught.value, path, faults)


def rooted(root: Path, replacements: list[Replacement]) -> list[Replacement]:
    """Fill the placeholders of the table, as those of the examples are."""
    return [
        (old.format(root=root, key=PUBLIC_LINE), new.format(root=root, key=PUBLIC_LINE)) for old, new in replacements
    ]


def test_the_file_of_the_other_daemon_is_one_fault(tmp_path: Path) -> None:
    """Who starts the wrong daemon with a file is told just that."""
    path = write_publisher(tmp_path)
    with pytest.raises(SettingsError, match="is not a subscriber's file") as caught:
        load_subscriber(path)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(("text", "found"), [("name: x\n", "neither"), ("bus: {}\nupstreams: {}\n", "both")])
def test_a_file_for_no_daemon_is_one_fault(tmp_path: Path, text: str, found: str) -> None:
    """A file that could be for either daemon or for none is told which keys decide."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=found):
        load_any(path)


def test_any_file_is_loaded_by_its_keys(tmp_path: Path) -> None:
    """The keys of a file decide for which daemon it is read."""
    assert isinstance(load_any(write_publisher(tmp_path)), PublisherSettings)
    assert isinstance(load_any(write_subscriber(tmp_path)), SubscriberSettings)


def test_settings_are_frozen(tmp_path: Path) -> None:
    """Nobody changes settings after they were checked, not even the trees in them."""
    settings = load_subscriber(write_subscriber(tmp_path))
    with pytest.raises(ValidationError):
        settings.name = "other"  # type: ignore[misc]  # that it is one is what is tested
    with pytest.raises(TypeError):
        del settings.trees["debian"]  # type: ignore[attr-defined]  # that it is one is what is tested
    assert hash(settings.trees["debian"].delete_budget)


def test_grace_follows_the_setting_and_then_the_profile(tmp_path: Path) -> None:
    """Deletions wait for nothing where nothing is metadata, otherwise ten minutes, unless the operator says so."""
    for text, grace_ms in (
        ("delete_grace: 5m", 300_000),
        ("profile: plain", 0),
        ("profile: rpm", 600_000),
        ("metadata: [index]", 600_000),
        ("profile: deb\n    delete_grace: 0s", 0),
    ):
        settings = load_subscriber(write_subscriber(tmp_path, ("coalesce: 5s", text)))
        assert settings.trees["debian"].delete_grace_ms == 0
        assert settings.trees["fedora"].delete_grace_ms == grace_ms


def test_the_profile_is_the_operators_or_one_of_ours(tmp_path: Path) -> None:
    """A tree has the profile that is named, or one of the patterns that stand beside it."""
    texts = ("profile: rpm", "metadata: [b, c]\n    last: [a]")
    rpm, own = (load_subscriber(write_subscriber(tmp_path, ("coalesce: 5s", text))).trees["fedora"] for text in texts)
    assert rpm.repository_profile is PROFILES["rpm"]
    assert own.repository_profile == make_profile("own", ("b", "c"), ("a",))


def test_filters_become_rules(tmp_path: Path) -> None:
    """The patterns of a tree are its rules, in their order; a tree without them hides nothing."""
    lists = "exclude: [b, a/*]\n    include: ['*/', c]"
    trees = load_subscriber(write_subscriber(tmp_path, ("coalesce: 5s", lists))).trees
    assert trees["debian"].rules == Rules()
    assert rsync_arguments(trees["fedora"].rules) == (
        "--include=*/", "--include=c", "--exclude=b", "--exclude=a/*"
    )  # fmt: skip


def test_staging_lies_in_the_tree_unless_set(tmp_path: Path) -> None:
    """Without a staging folder in the settings it is a folder of ours in the tree."""
    settings = load_subscriber(write_subscriber(tmp_path, ("coalesce: 5s", f"staging_dir: {tmp_path}/s")))
    assert settings.trees["debian"].staging_path == tmp_path / "debian" / ".~pushmirror~"
    assert settings.trees["fedora"].staging_path == tmp_path / "s"


def test_pinned_keys_are_read(tmp_path: Path) -> None:
    """The lines of an upstream's keys are there as keys."""
    upstream = load_subscriber(write_subscriber(tmp_path)).upstreams["main"]
    assert [key.line for key in upstream.public_keys] == [PUBLIC_LINE.rsplit(" ", 1)[0]]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)
GOOD = {
    PublisherSettings: parse_document(PUBLISHER.format(root="/r"), "f").data,
    SubscriberSettings: parse_document(SUBSCRIBER.format(root="/r", key=PUBLIC_LINE), "f").data,
}


@given(st.data())
def test_whatever_stands_at_a_key_is_told_in_plain_words(data: st.DataObject) -> None:
    """No value at any key, however strange, is told in pydantic's words or on more than one line."""
    model = data.draw(st.sampled_from(sorted(GOOD, key=lambda one: one.__name__)))
    spoilt = spoil(GOOD[model], data)
    try:
        model.model_validate(spoilt)
    except ValidationError as error:
        document = Document("f", {}, {})
        for path, message in list_problems(error, list_keys(model)):
            text = str(document.fault(path, message))
            assert "\n" not in text
            assert "nput should be" not in text
            assert "pydantic" not in text
            assert not text.endswith(": ")


def spoil(group: object, data: st.DataObject) -> object:
    """Return `group` with one value in it, at any depth, replaced by something else."""
    if not isinstance(group, dict) or data.draw(st.integers(0, 3)) == 0:
        return data.draw(VALUES)
    key = data.draw(st.sampled_from(sorted(group)))
    return group | {key: spoil(group[key], data)}
