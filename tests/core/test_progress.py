"""How far rsync is, from what it prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushmirror.core.progress import Progress, parse_progress

TELLING = (
    b">f+++++++++ f1\n\r              0   0%    0.00kB/s    0:00:00  \r        3000000  33%    4.56MB/s    0:00:00 "
    b"(xfr#1, to-chk=2/3)\n>f+++++++++ f2\n\r        4310720  47%    3.93MB/s    0:00:01  "
)


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (b"", None),
        (b">f+++++++++ f1\n", None),
        (b"\r  " + b"9" * 5000 + b"  50%    1.00kB/s    0:00:00", None),
        (b"\r  5  50%    1.00kB/s    0:00:00 (xfr#1, to-chk=9/3)", Progress(5, 10, 0, 3)),
        (b"\r              0   0%    0.00kB/s    0:00:00  ", Progress(0, None, 0, None)),
        (TELLING, Progress(4310720, 9171744, 1, 3)),
        (b"\r  50 100%    1.00kB/s    0:00:00 (xfr#5, ir-chk=1000/1005)\n", Progress(50, 50, 5, 1005)),
    ],
)
def test_progress(tail: bytes, expected: Progress | None) -> None:
    """The last numbers count; the files are those of the last line that told them."""
    assert parse_progress(tail) == expected


@given(st.binary())
def test_any_bytes(tail: bytes) -> None:
    """Whatever rsync prints raises nothing."""
    parse_progress(tail)
