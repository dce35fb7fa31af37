"""What a fault does to an answer does not depend on how the answer came in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.testing.faults import (
    Break,
    Corrupt,
    Delay,
    Drip,
    End,
    Fault,
    FaultyAnswer,
    Interim,
    Send,
    Truncate,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
BODY = b'{"a": "bcd"}'
WHOLE = HEAD + BODY

pieces = st.lists(st.integers(1, len(WHOLE) - 1), max_size=8).map(
    lambda cuts: [WHOLE[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(WHOLE)], strict=True) if a < b]
)


def through(fault: Fault | None, chunks: list[bytes]) -> tuple[bytes, list[int]]:
    """What comes out, and after how many bytes the connection ends."""
    answer, out, ends = FaultyAnswer(fault), b"", []
    for chunk in chunks:
        for step in answer.steps(chunk):
            if isinstance(step, End):
                ends.append(len(out))
            else:
                out += step.data
    return out, ends


@given(pieces)
@pytest.mark.parametrize("fault", [None, Drip(3, 0.1), Delay(1.0)], ids=repr)
def test_slow_or_not_everything_comes(fault: Fault | None, chunks: list[bytes]) -> None:
    assert through(fault, chunks) == (WHOLE, [])


@given(pieces)
def test_interim_responses_come_before_the_answer(chunks: list[bytes]) -> None:
    assert through(Interim(102, 2), chunks) == (b"HTTP/1.1 102 Interim\r\n\r\n" * 2 + WHOLE, [])


@given(pieces, st.integers(0, len(WHOLE) - 1))
def test_a_break_comes_once_at_its_byte(chunks: list[bytes], after: int) -> None:
    assert through(Break("hold", after), chunks) == (WHOLE, [after])


@given(pieces, st.integers(0, len(BODY) - 1))
def test_a_truncated_body_keeps_the_head(chunks: list[bytes], kept: int) -> None:
    assert through(Truncate(kept), chunks) == (WHOLE, [len(HEAD) + kept])


@given(pieces)
def test_a_break_beyond_the_answer_never_comes(chunks: list[bytes]) -> None:
    assert through(Break("reset", len(WHOLE) + 1), chunks) == (WHOLE, [])


@given(pieces)
def test_only_the_part_is_corrupt(chunks: list[bytes]) -> None:
    broken_body, _ = through(Corrupt("body"), chunks)
    broken_head, _ = through(Corrupt("head"), chunks)
    assert broken_body[: len(HEAD)] == HEAD
    assert not any(byte < 0x80 for byte in broken_body[len(HEAD) :])
    assert broken_head[len(HEAD) :] == BODY
    assert broken_head[: len(HEAD)].count(b"\r\n") == HEAD.count(b"\r\n")
    assert not any(byte < 0x80 for byte in broken_head[: len(HEAD)] if byte not in b"\r\n")


def test_only_the_first_piece_is_delayed_and_every_drop() -> None:
    late = FaultyAnswer(Delay(2.0))
    assert [*late.steps(b"ab"), *late.steps(b"cd")] == [Send(b"ab", 2.0), Send(b"cd", 0.0)]
    dripping = FaultyAnswer(Drip(2, 0.5))
    assert list(dripping.steps(b"abc")) == [Send(b"ab", 0.5), Send(b"c", 0.5)]
