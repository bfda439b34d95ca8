"""Hold the follower of WebSocket frames to the frames that a real implementation writes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.http1.websocket_frames import (
    FRAMES_PER_READ,
    GOING_AWAY,
    FrameReader,
    masked_going_away,
)

SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65535, 65536, 70000])
FRAMES = st.lists(
    st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING]), SIZES), max_size=6
)


def written(frames: list[tuple[Opcode, int]], *, masked: bool) -> list[bytes]:
    return [
        Frame(opcode, bytes(min(size, 125) if opcode is Opcode.PING else size)).serialize(mask=masked)
        for opcode, size in frames
    ]


@given(FRAMES, st.booleans(), st.data())
def test_ends_are_found_however_the_bytes_are_cut(
    frames: list[tuple[Opcode, int]], masked: bool, data: st.DataObject
) -> None:
    pieces = written(frames, masked=masked)
    whole = b"".join(pieces)
    ends = {sum(map(len, pieces[:count])) for count in range(len(pieces) + 1)}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    reader = FrameReader()
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        reader.feed(whole[begin:end])
        assert reader.is_between == (end in ends)
    assert not reader.closes


@given(FRAMES.filter(bool), st.booleans(), st.integers(0, 200_000))
def test_the_next_end_is_the_end_of_the_current_frame(
    frames: list[tuple[Opcode, int]], masked: bool, begun: int
) -> None:
    pieces = written(frames, masked=masked)
    whole = b"".join(pieces)
    begun = min(begun, len(whole) - 1)
    reader = FrameReader()
    reader.feed(whole[:begun])
    ends = [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
    assert reader.next_end(whole[begun:]) == min(end for end in ends if end > begun) - begun
    assert reader.is_between


def test_byte_by_byte() -> None:
    reader = FrameReader()
    whole = b"".join(written([(Opcode.TEXT, 70000), (Opcode.BINARY, 0), (Opcode.PING, 3)], masked=True))
    ends = [at for at in range(len(whole)) if (reader.feed(whole[at : at + 1]), reader.is_between)[1]]
    assert len(ends) == 3


@pytest.mark.parametrize("masked", [False, True])
def test_a_close_frame_is_seen_when_it_is_whole(masked: bool) -> None:
    close = Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=masked)
    reader = FrameReader()
    reader.feed(close[:-1])
    assert not reader.closes
    reader.feed(close[-1:])
    assert reader.closes
    assert reader.is_between


def test_what_is_sent_is_a_close_frame_with_1001() -> None:
    assert Frame(Opcode.CLOSE, b"\x03\xe9").serialize(mask=False) == GOING_AWAY
    key = random.randbytes(4)
    sent = masked_going_away(key)
    assert sent[:2] == b"\x88\x82"
    assert sent[2:6] == key
    assert bytes(octet ^ mask for octet, mask in zip(sent[6:], key, strict=False)) == b"\x03\xe9"


def test_a_read_full_of_tiny_frames_is_not_followed_to_its_end() -> None:
    reader = FrameReader()
    reader.feed(b"\x89\x00" * (FRAMES_PER_READ - 1))
    assert reader.is_between
    reader.feed(b"\x89\x00" * (FRAMES_PER_READ + 1))
    assert reader.is_lost
    assert not reader.is_between
    reader.feed(b"\x88\x00")
    assert not reader.closes
    assert reader.next_end(b"\x89\x00") == -1
