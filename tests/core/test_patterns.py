"""Patterns: what is taken, what it matches, and that no name makes matching slow."""

from __future__ import annotations

import time

import pytest

from pushmirror.core.patterns import MAX_PATTERN_BYTES, parse_pattern

# A pattern; what it matches, a slash at the end meaning a directory; and what it does not.
MATCHES: list[tuple[str, list[str], list[str]]] = [
    ("foo", ["foo", "foo/", "a/foo", "a/b/foo/"], ["foobar", "afoo", "foo/a"]),
    ("/foo", ["foo", "foo/"], ["a/foo", "foo/a"]),
    ("foo/", ["foo/", "a/foo/"], ["foo", "a/foo"]),
    ("a/b", ["a/b", "x/a/b"], ["xa/b", "a/b/c", "b"]),
    ("*.iso", ["x.iso", "a/.iso", "a/x.iso/"], ["x.iso.sig", "x.iso/a"]),
    ("/*.iso", ["x.iso"], ["a/x.iso"]),
    ("*/debug/*", ["a/debug/x", "b/a/debug/x", "a/debug/x/"], ["debug/x", "a/debug", "a/debug/x/y"]),
    ("a/*/b", ["a/x/b", "c/a/x/b"], ["a/b", "a/x/y/b"]),
    ("a/**/b", ["a/x/b", "a/x/y/b", "c/a/x/b"], ["a/b", "ca/x/b"]),
    ("**/b", ["b", "a/b", "a/a/b/"], ["ab"]),
    ("/**/b", ["a/b", "a/a/b"], ["b"]),
    ("**b", ["b", "ab", "a/b", "b/ab"], ["b/a"]),
    ("a**", ["a", "ab", "a/b", "c/ab/d"], ["ca", "ca/b"]),
    ("debug/***", ["debug/", "debug/x", "a/debug/", "a/debug/x/y"], ["debug", "a/debug", "xdebug/a"]),
    ("debug/**", ["debug/x", "a/debug/x/y"], ["debug/", "debug"]),
    ("/a/***/", ["a/", "a/b/", "a/b/c/"], ["a", "a/b", "b/a/"]),
    ("a?c", ["abc", "a.c", "x/abc"], ["a/c", "ac", "abbc"]),
    ("a[ -~]c", ["abc", "a.c"], ["a/c"]),
    ("a[!b]c", ["adc"], ["a/c", "abc"]),
    ("a[^b]c", ["adc", "a^c"], ["a/c", "abc"]),
    ("[a-c]", ["a", "b", "c"], ["-", "d"]),
    ("[a-b-d]", ["a", "b", "-", "d"], ["c"]),
    ("[a-]", ["a", "-"], ["b"]),
    ("[-a]", ["a", "-"], ["b"]),
    ("[]a]", ["]", "a"], ["[]a]"]),
    ("[!]a]", ["b"], ["]", "a"]),
    (r"[a\-c]", ["a", "-", "c"], ["b"]),
    (r"[\]-a]", ["]", "^", "a"], ["b"]),
    (r"[\!]", ["!"], ["\\", "a"]),
    (r"a\*b*", ["a*b", "a*bc"], ["a\\*b", "axb"]),
    (r"a\b", ["a\\b"], ["ab"]),
    (r"a\b*", ["ab", "abc"], ["a\\b"]),
    (r"a\\b*", ["a\\b"], ["ab"]),
    ("a\\", ["a\\"], ["a"]),
    ("gr??e", ["größe"[:3] + "e"], ["gre"]),
    ("größe", ["größe"], ["grosse"]),
    ("a.b", ["a.b"], ["axb"]),
    (".x", [".x"], ["ax"]),
    ("-x", ["-x"], ["x"]),
    ("#x", ["#x"], ["x"]),
    ("***", ["a", "a/", "a/b"], []),
    ("*/", ["a/", "a/b/"], ["a", "a/b"]),
    ("a b ", ["a b "], ["a b"]),
]


@pytest.mark.parametrize(("text", "matching", "others"), MATCHES, ids=[row[0] for row in MATCHES])
def test_what_a_pattern_matches(text: str, matching: list[str], others: list[str]) -> None:
    """Each form of pattern matches these paths and not those."""
    pattern = parse_pattern(text)
    for path in (*matching, *others):
        found = pattern.matches(path.removesuffix("/").encode(), is_directory=path.endswith("/"))
        assert found == (path in matching), path


def test_names_are_bytes() -> None:
    """A name that is not UTF-8, or has a newline in it, is matched like any other; ``?`` is one byte."""
    assert parse_pattern("a?c").matches(b"a\xffc", is_directory=False)
    assert parse_pattern("a[!b]c").matches(b"a\nc", is_directory=False)
    assert parse_pattern("a*c").matches(b"a\n\xffc", is_directory=False)
    assert parse_pattern("a**").matches(b"a/\n", is_directory=False)
    assert not parse_pattern("a").matches(b"a\n", is_directory=False)
    assert not parse_pattern("?").matches("ö".encode(), is_directory=False)


REFUSED = [
    ("", "is empty"),
    ("/", "nothing before, after or between its slashes"),
    ("//a", "nothing before, after or between its slashes"),
    ("a//b", "nothing before, after or between its slashes"),
    ("a//", "nothing before, after or between its slashes"),
    ("./a", "write it from the tree's root"),
    ("a/../b", "write it from the tree's root"),
    ("..", "write it from the tree's root"),
    ("a\nb", "control character"),
    ("a\x7f", "control character"),
    ("\udcff", "not valid Unicode"),
    ("ä" * (MAX_PATTERN_BYTES // 2 + 1), f"longer than {MAX_PATTERN_BYTES} bytes"),
    ("- a", "begins like a filter rule: write a pattern alone, or [-] for its first character"),
    ("+ a", "[+] for its first character"),
    (". rules", "[.] for its first character"),
    (": rules", "[:] for its first character"),
    ("H a", "[H] for its first character"),
    ("! a", r"[\!] for its first character"),
    ("!", r"[\!] for its first character"),
    ("[ab", r"write \[ for the bracket itself"),
    ("a[", r"write \[ for the bracket itself"),
    ("[]", r"write \[ for the bracket itself"),
    ("[!]", r"write \[ for the bracket itself"),
    ("[a\\]", r"write \[ for the bracket itself"),
    ("a*\\", r"write \\ for the backslash itself"),
    ("*\\/a", r"write \\ for the backslash itself"),
    ("a*\\/", r"write \\ for the backslash itself"),
    ("[a/b]", "neither can match: write it outside"),
    ("[aé]", "neither can match: write it outside"),
    ("[[:alpha:]]", "write the range, such as [a-z]"),
    ("[z-a]", "has the range z-a, which runs backwards"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), REFUSED, ids=[ascii(text[:20]) for text, _ in REFUSED])
def test_what_is_refused(text: str, told: str) -> None:
    """What would mean something else than it seems, or nothing, is refused with what to write instead."""
    with pytest.raises(ValueError) as caught:
        parse_pattern(text)
    message = str(caught.value)
    assert told in message
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("first", ["[-] a", "[.] rules", r"[\!]", "[H] a"])
def test_the_advice_of_a_refusal_can_be_followed(first: str) -> None:
    """What a refusal tells to write instead is taken and matches the name that was meant."""
    name = first.replace("[", "").replace("]", "").replace("\\", "")
    assert parse_pattern(first).matches(name.encode(), is_directory=False)


def test_patterns_are_equal_by_their_text() -> None:
    """Two patterns of the same text are one."""
    assert parse_pattern("a/*") == parse_pattern("a/*")
    assert len({parse_pattern("a/*"), parse_pattern("a/*"), parse_pattern("a/**")}) == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("*a*a*a*a*a*a*a*a*b", b"a"),
        ("**a**a**a**a**a**a**b", b"a"),
        ("**/a*a*a*a*/**/a*a*a*b", b"a"),
        ("a*?a*?a*?a*?a*[!a]", b"a"),
        ("*ab*ab*ab*ab*ab*ac", b"ab"),
    ],
)
def test_no_name_makes_matching_slow(text: str, part: bytes) -> None:
    """A pattern with many wildcards and a path made to fit it almost take milliseconds, not years."""
    name = (part * 255)[:255]
    path = b"/".join([name] * 12)
    pattern = parse_pattern(text)
    started_s = time.process_time()
    assert not pattern.matches(path, is_directory=False)
    assert not pattern.matches(path.replace(b"/", b"a")[:3000], is_directory=False)
    assert time.process_time() - started_s < 2
