"""YAML as plain data with lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pushmirror.errors import SettingsError
from pushmirror.settings.document import MAX_FILE_BYTES, format_key, parse_document, read_document


def test_every_key_and_item_has_its_line() -> None:
    """Keys in groups and items in lists are found on the lines where they stand."""
    document = parse_document("# comment\na: 1\nb:\n  c:\n    - x\n    - y\n  d: {e: 2}\n", "f")
    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2}}}
    assert document.lines == {
        ("a",): 2, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 5, ("b", "c", 1): 6, ("b", "d"): 7, ("b", "d", "e"): 7
    }  # fmt: skip


def test_what_is_missing_has_the_line_of_what_it_is_missing_from() -> None:
    """A key that is not there is looked for where its group stands, and at the file as a whole otherwise."""
    document = parse_document("a:\n  b:\n    c: 1\n", "f")
    assert document.line_of(("a", "b", "x")) == 2
    assert document.line_of(("x",)) == 0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [("", 0, "is empty"), ("# nothing\n", 0, "is empty"), ("- a\n- b\n", 1, "key: value"), ("words", 1, "key: value"),
     ("a: 1\n b: 2\n", 2, "not valid YAML"), ("a:\n\tb: 1\n", 2, "not with tabs"), ("a: [1\nb: 2\n", 2, "valid YAML"),
     ("a: 1\n---\nb: 2\n", 2, "not valid YAML"), ("a: &x 1\nb: *x\n", 1, "anchors and aliases"),
     ("a: 1\nb: *x\n", 2, "anchors and aliases"), ("a: 1\nb: \x07\n", 2, "cannot stand in a settings file"),
     ("a: 1\nb: " + "[" * 100 + "]" * 100, 2, "nested too deeply"), ("a: 'x\n", 2, "not valid YAML"),
     ("a: 1\nb: " + "{x: " * 10_000, 2, "nested too deeply")],
)  # fmt: skip
def test_what_cannot_be_read_is_one_fault_with_its_line(text: str, line: int, message: str) -> None:
    """YAML that is broken, or more than settings need, is refused at the line where it goes wrong."""
    with pytest.raises(SettingsError) as caught:
        parse_document(text, "f")
    (fault,) = caught.value.faults
    assert (fault.file, fault.line) == ("f", line)
    assert message in fault.message
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("text", "faults"),
    [("a: 1\nb: 2\na: 3\n", [(3, "a", "is here twice: it stands on line 1 already")]),
     ("t:\n  x: 1\n  x: 2\n  x: 3\n", [(3, "t.x", "line 2 already"), (4, "t.x", "line 2 already")]),
     ("t:\n  1: x\n", [(2, "t", "put it into quotes")]), ("no: x\n", [(1, "", "put it into quotes")]),
     ("t:\n  <<: {a: 1}\n", [(2, "t", "put it into quotes")]), ("t: {[a]: b}\n", [(1, "t", "a key must be a word")]),
     ("a: !!python/name:os.system x\n", [(1, "a", "is not taken here")]), ("a: !x 1\n", [(1, "a", "not taken")]),
     ("a: !!set {b, c}\n", [(1, "a", "not taken")]), ("a: 2026-13-45\n", [(1, "a", "put it into quotes")]),
     ("a: !!int x\n", [(1, "a", "cannot be read")]), ("a: !!timestamp x\n", [(1, "a", "cannot be read")])],
)  # fmt: skip
def test_faults_of_form_are_collected(text: str, faults: list[tuple[int, str, str]]) -> None:
    """Duplicate keys, keys that are no text, and tags are all told, with the rest of the file read."""
    found = parse_document(text, "f").faults
    assert [(fault.line, fault.key) for fault in found] == [(line, key) for line, key, _ in faults]
    assert all(message in fault.message for fault, (_, _, message) in zip(found, faults, strict=True))


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    """A missing file, and a folder in its place, are told as faults of the whole file."""
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_document(path)


def test_a_file_that_is_too_large_is_a_fault(tmp_path: Path) -> None:
    """A file beyond any settings is not read to its end."""
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than"):
        read_document(path)


def test_bytes_that_are_no_utf8_are_a_fault_with_a_line(tmp_path: Path) -> None:
    """Text in another encoding is refused where it first shows."""
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(SettingsError, match=r"latin\.yaml:2: is not UTF-8"):
        read_document(path)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    """Editors that put a mark first do no harm."""
    path = tmp_path / "marked.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(path).data == {"a": 1}


def test_keys_are_printed_on_one_line() -> None:
    """Paths of keys read as people write them, and a key cannot forge a line."""
    assert format_key(("upstreams", "main", "keys", 0)) == "upstreams.main.keys[0]"
    assert "\n" not in format_key(("trees", "a\nb"))
