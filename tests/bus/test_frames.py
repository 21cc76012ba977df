"""Messages of exactly two frames are put together; all others are counted."""

from __future__ import annotations

from pushmirror.bus.frames import FrameAssembler


def feed(assembler: FrameAssembler, *frames: bytes) -> list[tuple[bytes, bytes] | None]:
    return [assembler.add(frame, number < len(frames)) for number, frame in enumerate(frames, start=1)]


def test_two_frames_make_a_message() -> None:
    """The second of two frames completes the message."""
    assembler = FrameAssembler()
    assert feed(assembler, b"topic", b"body") == [None, (b"topic", b"body")]
    assert assembler.dropped_messages == 0


def test_other_counts_are_dropped_and_counted_once_each() -> None:
    """One frame, three frames and a thousand frames give nothing, count one each, and harm no later message."""
    assembler = FrameAssembler()
    for frames in ((b"alone",), (b"", b"", b""), (b"x",) * 1000):
        assert set(feed(assembler, *frames)) == {None}
    assert assembler.dropped_messages == 3
    assert feed(assembler, b"topic", b"")[-1] == (b"topic", b"")


def test_a_message_cut_off_by_a_lost_connection_does_not_mix_with_the_next() -> None:
    """After a reset the first frame is a topic again."""
    assembler = FrameAssembler()
    assembler.add(b"old topic", True)
    assembler.reset()
    assert feed(assembler, b"topic", b"body")[-1] == (b"topic", b"body")
