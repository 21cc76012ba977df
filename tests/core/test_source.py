"""rsync URLs: which are taken, what becomes of them, and the names that go to rsync and come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.paths import TreePath
from pushmirror.core.source import Source, parse_source
from tests.core.strategies import paths

GOOD = {
    "rsync://mirror.example.org/debian": Source("rsync://mirror.example.org/debian/"),
    "rsync://mirror.example.org/debian/": Source("rsync://mirror.example.org/debian/"),
    "rsync://mirror.example.org/debian//": Source("rsync://mirror.example.org/debian/"),
    "rsync://127.0.0.1:8730/m/": Source("rsync://127.0.0.1:8730/m/"),
    "rsync://[::1]:8730/m/": Source("rsync://[::1]:8730/m/"),
    "rsync://[2001:db8::1]/m/": Source("rsync://[2001:db8::1]/m/"),
    "rsync://joe@mirror.example.org/m/": Source("rsync://joe@mirror.example.org/m/"),
    "rsync://joe.t2_a-b@h:65535/m/": Source("rsync://joe.t2_a-b@h:65535/m/"),
    "rsync://h:1/m/": Source("rsync://h:1/m/"),
    "rsync://h/m/linux/updates": Source("rsync://h/m/", b"linux/updates"),
    "rsync://h/m/linux/updates/": Source("rsync://h/m/", b"linux/updates"),
    "rsync://h/m/größe/": Source("rsync://h/m/", "größe".encode()),
    "rsync://h/m/-x/": Source("rsync://h/m/", b"-x"),
    "rsync://h/fedora-enchilada_2.0/": Source("rsync://h/fedora-enchilada_2.0/"),
}
BAD = (
    "",
    "m",
    "/srv/mirror",
    "rsync:",
    "rsync://",
    "rsync:///m/",
    "rsync://h",
    "rsync://h/",
    "rsync://h//",
    "rsync://h//x",
    "RSYNC://h/m/",
    "http://h/m/",
    "h::m/",
    "joe@h:m/",
    "rsync://h:0/m/",
    "rsync://h:65536/m/",
    "rsync://h:123456/m/",
    "rsync://h:/m/",
    "rsync://h:x/m/",
    "rsync://::1/m/",
    "rsync://[::1/m/",
    "rsync://joe:secret@h/m/",
    "rsync://@h/m/",
    "rsync://-h/m/",
    "rsync://-oProxyCommand=x/m/",
    "rsync://h$(id)/m/",
    "rsync://h/-m/",
    "rsync://h/*/",
    "rsync://h/m?/",
    "rsync://h/[m]/",
    "rsync://h/m m/",
    "rsync://h/m/a b/",
    "rsync://h/m/a*/",
    "rsync://h/m/../x/",
    "rsync://h/m/x/..",
    "rsync://h/m/./x/",
    "rsync://h/m/a//b/",
    "rsync://h/m/.~tmp~/",
    "rsync://h/m/\0",
    "rsync://h/m\0/",
    "rsync://h/m\x1b/",
    "rsync://h/m\ud800/",
    "rsync://h/m/\udc80/",
    "rsync://h/m/\n",
    "rsync://h/m/x\n",
    " rsync://h/m/",
    "rsync://h/m/" + "x" * 300,
)


@pytest.mark.parametrize(("url", "source"), GOOD.items())
def test_good_url(url: str, source: Source) -> None:
    """A URL is split into the module's root and the folder in it."""
    assert parse_source(url) == source


@pytest.mark.parametrize("url", BAD, ids=[ascii(url)[:40] for url in BAD])
def test_bad_url(url: str) -> None:
    """Anything else is refused in printable words that show the URL."""
    with pytest.raises(
        ValueError, match=r"is not an rsync URL: write|write one from 1|path .*|cannot be a source"
    ) as caught:
        parse_source(url)
    assert str(caught.value).isprintable()
    assert not isinstance(caught.value, UnicodeError)


@given(st.text(max_size=20).map("rsync://h/m/".__add__) | st.text(max_size=20))
def test_any_text(url: str) -> None:
    """Whatever text is given: a source whose URLs can be arguments of a program, or a ValueError."""
    try:
        source = parse_source(url)
    except ValueError:
        return
    assert b"\0" not in source.tree_url
    assert source.tree_url.decode().isprintable()
    assert source.tree_url.startswith(source.root.encode())
    assert source.root.endswith("/")


@pytest.mark.parametrize(
    ("source", "tree_url"),
    [(Source("rsync://h/m/"), b"rsync://h/m/"), (Source("rsync://h/m/", b"a/b"), b"rsync://h/m/a/b/")],
)
def test_tree_url(source: Source, tree_url: bytes) -> None:
    """The tree's own URL ends with a slash, so that rsync takes what is in it and not the folder itself."""
    assert source.tree_url == tree_url


def test_entries() -> None:
    """An entry is relative to the module, with the mark behind which the tree begins; at the root there is none."""
    assert Source("rsync://h/m/", b"sub/x").entry(TreePath(b"pool/a")) == b"sub/x/./pool/a"
    assert Source("rsync://h/m/").entry(TreePath(b"pool/a")) == b"pool/a"


@given(paths, st.just(b"") | paths)
def test_names_come_back(path: TreePath, below: bytes) -> None:
    """A name that rsync prints relative to the module is the path that was given to it."""
    source = Source("rsync://h/m/", below)
    assert source.strip(source.entry(path).replace(b"/./", b"/", 1) if below else path) == path


def test_strip_of_the_root() -> None:
    """The folder itself is the root of the tree, a folder beside it with a longer name is not in it."""
    source = Source("rsync://h/m/", b"sub")
    assert source.strip(b"sub") == b""
    assert source.strip(b"sub/sub/x") == b"sub/x"
    assert source.strip(b"subway/x") == b"subway/x"
