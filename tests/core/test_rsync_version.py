"""Which rsync versions are known to be bad, and what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.rsync_version import RsyncVersion, describe_faults, list_faults, parse_version

FAULTS = {
    # what is printed: a word of each fault that is told
    "rsync  version 2.6.9  protocol version 29": ("too old", "29154", "12084", "43620", "53795"),
    "rsync  version 3.0.9  protocol version 30": ("too old", "29154", "12084", "43620", "53795"),
    "rsync  version 3.1.2  protocol version 31": ("too old", "29154", "12084", "43620", "53795"),
    "rsync  version 3.1.3  protocol version 31": ("29154", "12084", "43620", "53795"),
    "rsync  version 3.2.4  protocol version 31": ("29154", "12084", "43620", "53795"),
    "rsync  version v3.2.5  protocol version 31": ("12084", "43620", "53795"),
    "rsync  version 3.2.7  protocol version 31": ("12084", "43620", "53795"),
    # As a distribution sent it out, mended in January 2025.
    "rsync  version 3.2.7  protocol version 32": ("43620", "53795"),
    # The line of 3.2 that is looked after.
    "rsync  version 3.2.8  protocol version 31": (),
    "rsync  version 3.3.0  protocol version 31": ("12084", "43620", "53795"),
    "rsync  version 3.4.0  protocol version 32": ("hardlinks", "43620", "53795"),
    "rsync  version 3.4.1  protocol version 32": ("43620", "53795"),
    "rsync  version 3.4.2  protocol version 32": ("43620", "53795"),
    "rsync  version 3.4.3  protocol version 32": ("deletions", "53795"),
    "rsync  version 3.4.4  protocol version 32": ("53795",),
    "rsync  version 3.5.0  protocol version 32": ("hang",),
    "rsync  version 3.5.1  protocol version 33": (),
    "rsync  version 3.5.2dev  protocol version 33": (),
    "rsync  version 4.0.0  protocol version 40": (),
}


@pytest.mark.parametrize("printed", FAULTS)
def test_the_faults_of_a_version(printed: str) -> None:
    """Each is named by what it does or where it is recorded; a version without any is not spoken of."""
    version = parse_version(f"{printed}\nCopyright (C) 1996-2026\n".encode())
    assert version is not None
    faults = list_faults(version)
    assert len(faults) == len(FAULTS[printed]), faults
    assert all(word in fault for word, fault in zip(FAULTS[printed], faults, strict=True)), faults
    line = describe_faults(version)
    assert (line is None) == (not faults)
    if line is not None:
        assert line.startswith(f"rsync {version} has known faults: ")
        assert "install 3.5.1 or later" in line and "\n" not in line


def test_a_version_is_read_with_all_its_parts() -> None:
    """Number, what stands behind it, and the protocol."""
    found = parse_version(b"rsync  version 3.5.1pre1  protocol version 33\n")
    assert found == RsyncVersion((3, 5, 1), 33, "pre1")
    assert str(found) == "3.5.1pre1"


@pytest.mark.parametrize(
    "printed", [b"", b"openrsync: protocol version 29\n", b"GNU bash, version 5.2.15\n", b"rsync  version x.y\n"]
)
def test_what_is_no_rsync_is_told(printed: bytes) -> None:
    """A program that says nothing that is understood is not taken for a good one."""
    assert parse_version(printed) is None
    assert "3.5.1 or later" in (describe_faults(None) or "")


@given(st.binary(max_size=80))
def test_anything_may_be_printed(printed: bytes) -> None:
    """A program that is named as rsync may print what it likes."""
    parse_version(b"rsync  version " + printed)
