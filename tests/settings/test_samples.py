"""The samples and schemas in config/: they load, and they know every key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pushmirror.curve import generate_curve_file
from pushmirror.keys import generate_key_file
from pushmirror.settings.common import SettingsModel
from pushmirror.settings.known import ANY_NAME, list_keys
from pushmirror.settings.load import load_and_inspect_any, load_any
from pushmirror.settings.publisher import PublisherSettings
from pushmirror.settings.schema import SCHEMAS, compose_schema
from pushmirror.settings.subscriber import SubscriberSettings
from tests.support.certificates import Authority

CONFIG = Path(__file__).parents[2] / "config"
SAMPLES: dict[str, type[SettingsModel]] = {
    "publisher.yaml": PublisherSettings,
    "subscriber.yaml": SubscriberSettings,
}
# Keys without a default of their own: what the sample shows is an example.
EXAMPLES = {
    "authorized_nodes",
    "curve",
    "relay",
    "relays",
    "scan",
    "thorough",
    "watch",
    "marker",
    "rsyncd_conf",
    "service_certificate",
    "service_key",
    "service_ca",
    "url",
    "max_clients",
    "password_file",
    "bandwidth",
    "staging_dir",
}
# Lists of groups, empty by default: what may stand in one is shown by an example in the comment above.
LISTS = {("trees", "*", "sources")}
NAMED = {("trees",), ("upstreams",), ("upstreams", ANY_NAME, "relays")}


def uncomment(text: str) -> str:
    """Return a sample with every key that it shows set."""
    return re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", text)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_loads_as_it_is(name: str) -> None:
    """A sample is good but for the disk of whoever reads it."""
    assert isinstance(load_any(CONFIG / name), SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_works_with_every_key_set(name: str, tmp_path: Path) -> None:
    """With its folders and files in place a sample passes the whole check, optional keys included."""
    text = uncomment((CONFIG / name).read_text())
    for folder in ("/var/lib/pushmirror", "/etc/pushmirror", "/run/pushmirror", "/srv/mirror"):
        text = text.replace(f" {folder}/", f" {tmp_path}{folder}/")
    for folder in ("var/lib/pushmirror/publisher", "var/lib/pushmirror/subscriber", "srv/mirror/fedora/updates"):
        (tmp_path / folder).mkdir(parents=True)
    etc = tmp_path / "etc" / "pushmirror"
    etc.mkdir(parents=True)
    for role in ("publisher", "subscriber"):
        generate_key_file(etc / f"{role}.key", comment=role)
    for role in ("publisher", "subscriber", "relay"):
        generate_curve_file(etc / f"{role}.curve", role)
    (etc / "authorized_nodes").write_text("")
    (etc / "rsync.secret").write_text("x")
    (etc / "rsync.secret").chmod(0o600)
    authority = Authority(etc / "ca.crt")
    authority.issue(etc, "localhost")
    # A certificate is for https alone.
    text = text.replace("service: http://127.0.0.1:9941", "service: https://127.0.0.1:9941")
    text = text.replace("service: http://*:9941", "service: https://*:9941")
    (etc / name).write_text(text)
    assert isinstance(load_and_inspect_any(etc / name), SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_shows_every_key(name: str) -> None:
    """Every key of the model stands in the sample, set or commented out, with a comment above the first of a kind."""
    text = (CONFIG / name).read_text()
    known = set(list_keys(SAMPLES[name]))
    listed = {key for key in known if key[:-1] in LISTS}
    assert [key for key in sorted(listed) if not re.search(rf"(?m)^ *# +(- )?{key[-1]}: ", text)] == []
    assert set(paths_of(yaml.safe_load(uncomment(text)))) == known - listed


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_shows_the_defaults(name: str, tmp_path: Path) -> None:
    """What a sample shows for a key that may be left out is what the daemon does without it."""
    text = (CONFIG / name).read_text()
    (tmp_path / name).write_text(re.sub(rf"(?m)^( *)({'|'.join(EXAMPLES)}):.*\n(\1 +.*\n)*", "", uncomment(text)))
    shown, default = load_any(tmp_path / name), load_any(CONFIG / name)
    for tree in shown.trees:
        assert getattr(shown.trees[tree], "delete_grace_ms", 0) == getattr(default.trees[tree], "delete_grace_ms", 0)
    assert without_grace(shown) == without_grace(default)


def without_grace(settings: Any) -> dict[str, Any]:
    """Return the fields of settings, without the one whose default is told by a property, and without the keys of a
    tree: those of an upstream, which have the same name, are no example."""
    left_out = {"configured_delete_grace_ms", "keys"}
    trees = {name: tree.model_dump(exclude=left_out) for name, tree in settings.trees.items()}
    return dict(settings) | {"trees": trees}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_names_its_schema(name: str) -> None:
    """The first line of a sample tells editors where the schema is."""
    first = (CONFIG / name).read_text().splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert SCHEMAS[schema] is SAMPLES[name]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_those_of_the_models(name: str) -> None:
    """The files in config/ are what scripts/write-schemas writes; run it when this fails."""
    assert json.loads((CONFIG / name).read_text()) == json.loads(compose_schema(SCHEMAS[name]))


@pytest.mark.parametrize("model", SAMPLES.values())
def test_every_key_has_a_description(model: type[SettingsModel]) -> None:
    """Each key is described where it is declared; faults, schema and documentation take it from there."""
    assert [key for key, field in list_keys(model).items() if not field.description] == []


@pytest.mark.parametrize("name", SAMPLES)
def test_the_schema_takes_what_the_sample_shows(name: str) -> None:
    """Text that the sample shows for a key matches the pattern that its schema gives to editors."""
    data = yaml.safe_load(uncomment((CONFIG / name).read_text()))
    schema = json.loads((CONFIG / name.replace(".yaml", ".schema.json")).read_text())
    assert list(mismatches(data, schema, schema["$defs"])) == []


def mismatches(value: Any, schema: Any, definitions: Any) -> Any:
    """Yield the values that `schema`, as far as it uses keys and patterns, does not take."""
    schema = next((choice for choice in schema.get("anyOf", ()) if "$ref" in choice), schema)
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, dict):
        for key, inner in value.items():
            names = schema.get("properties", {})
            rule = (
                names.get(key) or schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
            )
            yield from mismatches(inner, rule, definitions)
    elif isinstance(value, str):
        choices = schema.get("anyOf", [schema])
        if not any(re.search(choice.get("pattern", ""), value) for choice in choices if choice.get("type") == "string"):
            yield value, schema


def paths_of(data: Any, above: tuple[str, ...] = ()) -> Any:
    """Yield the path of every key in `data`, with the names that an operator chooses taken out."""
    for key, value in data.items():
        here = (*above, ANY_NAME if above in NAMED else key)
        if here[-1] != ANY_NAME:
            yield here
        if isinstance(value, dict):
            yield from paths_of(value, here)
