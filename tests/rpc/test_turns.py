"""The operations of all streams together hold the event loop for one turn, and then whatever else is ready comes."""

from __future__ import annotations

import asyncio

import pytest

from coordinator.rpc.turns import HURRY_EVERY_MS, HURRY_MS, OPERATIONS_AT_ONCE, Turns


class Streams:
    """Streams with a frame each, handled in one moment; `log` says what the loop came to, in order."""

    def __init__(self, operations_per_ms: int) -> None:
        self.turns = Turns(self.now_ms)
        self.log: list[str] = []
        self._per_ms, self._handled = operations_per_ms, 0

    def now_ms(self) -> int:
        return 1_000 + self._handled // self._per_ms

    async def frame(self, stream: str, operations: int) -> None:
        for index in range(operations):
            if self.turns.is_over(self.now_ms()):
                await self.turns.next(operations - index, had_some=index > 0)
            self._handled += 1
            self.log.append(stream)

    async def stop(self, turns_to_read: int) -> None:
        for _ in range(turns_to_read):
            await asyncio.sleep(0)
        self.log.append("stop")

    async def play(self, *frames: tuple[str, int], turns_to_read: int = 1) -> list[str]:
        work = [self.frame(stream, operations) for stream, operations in frames]
        await asyncio.gather(*work, self.stop(turns_to_read))
        return self.log


MOST = 20
"""Operations in the longest turn, a millisecond's."""


@pytest.mark.parametrize("streams", [1, 2, 250])
async def test_a_stop_waits_for_one_turn_of_operations_however_many_streams_have_some(streams: int) -> None:
    frames = [(f"s{i}", 500 // streams) for i in range(streams)]
    log = await Streams(operations_per_ms=20).play(*frames)
    assert log.index("stop") <= 2 * MOST
    assert len(log) == 501


async def test_a_stop_that_takes_five_turns_to_be_read_waits_for_five_short_ones() -> None:
    log = await Streams(operations_per_ms=20).play(("a", 256), ("b", 256), turns_to_read=5)
    assert log.index("stop") <= 6 * MOST


async def test_once_the_call_of_a_stop_has_arrived_turns_are_of_one_operation() -> None:
    streams = Streams(operations_per_ms=20)
    streams.turns.hurry()
    log = await streams.play(("a", 256), ("b", 256), turns_to_read=5)
    assert log.index("stop") <= 6


async def test_calls_that_come_again_and_again_do_not_keep_turns_short() -> None:
    streams = Streams(operations_per_ms=20)
    turns, long = streams.turns, 0
    for _ in range(HURRY_EVERY_MS * 20):
        turns.hurry()
        is_short = turns.is_over(streams.now_ms()) is False and turns.is_over(streams.now_ms())
        long += not is_short
        streams._handled += 1
        await asyncio.sleep(0)
    assert long > (HURRY_EVERY_MS - HURRY_MS - 1) * 20


async def test_it_is_known_while_operations_wait_for_their_turn() -> None:
    streams = Streams(operations_per_ms=20)
    playing = asyncio.create_task(streams.play(("a", 256)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < streams.turns.waiting < 256
    await playing
    assert streams.turns.waiting == 0


async def test_a_turn_is_bounded_where_the_clock_stands_still() -> None:
    log = await Streams(operations_per_ms=1_000_000).play(("a", 256), ("b", 256))
    assert log.index("stop") <= 2 * OPERATIONS_AT_ONCE


async def test_streams_take_turns_in_the_order_in_which_they_waited() -> None:
    log = await Streams(operations_per_ms=20).play(("a", 120), ("b", 120), ("c", 120))
    first = [log.index(stream) for stream in "abc"]
    last = [len(log) - log[::-1].index(stream) for stream in "abc"]
    assert first == sorted(first)
    assert first[2] <= 2 * MOST + 1, "a large frame does not go through at one go while others have not begun"
    assert min(last) > 200, "nor while others are at theirs"
