"""When a standby may replace the leader before its lease ends: only a closed stream and a still tick together."""

from __future__ import annotations

from coordinator.store.port import LeaderSeen
from coordinator.store.succession import DOUBTED_MS, MAX_TENURE_MS, MIN_TENURE_MS, STALE_MS, Succession

LONG_MS = 100 * MIN_TENURE_MS


def leader(name: str, epoch: int = 1) -> LeaderSeen:
    return LeaderSeen(name, f"{name}:7600", name, epoch)


def seen(name: str = "a", now_ms: int = 0) -> Succession:
    succession = Succession()
    succession.saw_leader(leader(name), now_ms)
    return succession


def test_silence_alone_never_ends_a_lead() -> None:
    assert seen().due_ms(closed=False) is None


def test_a_closed_stream_waits_for_the_tick_to_stand_still_for_two_ticks() -> None:
    succession = seen()
    succession.saw_tick(7, LONG_MS)
    assert succession.due_ms(closed=True) == LONG_MS + STALE_MS
    succession.saw_tick(8, LONG_MS + 150)
    assert succession.due_ms(closed=True) == LONG_MS + 150 + STALE_MS


def test_a_tick_that_is_told_again_does_not_count_as_moving() -> None:
    succession = seen()
    succession.saw_tick(7, LONG_MS)
    succession.saw_tick(7, LONG_MS + 500)
    succession.saw_tick(6, LONG_MS + 600)
    assert succession.due_ms(closed=True) == LONG_MS + STALE_MS
    assert succession.tick_revision == 7


def test_a_leader_has_its_minimum_tenure() -> None:
    assert seen(now_ms=50).due_ms(closed=True) == 50 + MIN_TENURE_MS


def test_a_leader_that_rewrites_its_key_is_no_new_one() -> None:
    succession = seen(now_ms=50)
    succession.saw_leader(leader("a", epoch=9), 900)
    assert succession.due_ms(closed=True) == 50 + MIN_TENURE_MS


def test_the_tenure_doubles_while_leaders_follow_each_other_quickly_and_is_short_again_after_a_long_reign() -> None:
    succession, now_ms, tenures = seen(), 0, []
    for number in range(7):
        now_ms += MIN_TENURE_MS
        succession.saw_leader(leader(f"b{number}"), now_ms)
        tenures.append((succession.due_ms(closed=True) or 0) - now_ms)
    assert tenures == [min(2**n * MIN_TENURE_MS, MAX_TENURE_MS) for n in range(1, 8)]
    now_ms += LONG_MS
    succession.saw_leader(leader("c"), now_ms)
    assert succession.due_ms(closed=True) == now_ms + MIN_TENURE_MS


def test_agents_may_wait_where_the_leader_is_in_doubt_and_nowhere_else() -> None:
    succession = seen()
    succession.saw_tick(1, 1_000)
    assert not succession.is_heir(1_000 + DOUBTED_MS - 1, closed=False)
    assert succession.is_heir(1_000 + DOUBTED_MS, closed=False)
    assert succession.is_heir(1_001, closed=True)
    succession.saw_leader(None, 2_000)
    assert succession.is_heir(2_000, closed=False)


def test_a_standby_that_was_not_named_leaves_the_first_try_to_the_one_that_was() -> None:
    succession, until_ms = seen(), LONG_MS + 1_000
    assert not succession.is_heir(until_ms - 1, closed=True, yields_until_ms=until_ms)
    assert succession.is_heir(until_ms, closed=True, yields_until_ms=until_ms)
    assert succession.due_ms(closed=True, yields_until_ms=until_ms) == until_ms
    succession.saw_leader(None, LONG_MS)
    assert succession.due_ms(closed=False, yields_until_ms=until_ms) == until_ms
