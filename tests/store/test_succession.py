"""When a standby may replace the leader: its stream has closed and its tick stands still, or that has stood still for a
whole lease while etcd answers.
"""

from __future__ import annotations

from coordinator.store.port import LeaderSeen
from coordinator.store.succession import CONFIRM_MS, DOUBTED_MS, MAX_TENURE_MS, MIN_TENURE_MS, STALE_MS, Succession

LONG_MS = 100 * MIN_TENURE_MS
LEASE_MS = 2_000


def leader(name: str, epoch: int = 1, lease_ms: int = LEASE_MS) -> LeaderSeen:
    return LeaderSeen(name, f"{name}:7600", name, epoch, lease_ms)


def seen(name: str = "a", now_ms: int = 0) -> Succession:
    succession = Succession()
    succession.saw_leader(leader(name), now_ms)
    return succession


def test_silence_alone_ends_no_lead_before_a_lease_and_an_answer_of_etcd() -> None:
    succession = seen()
    assert (succession.due_ms(closed=False), succession.ask_ms) == (None, LEASE_MS)
    succession.saw_answer(LEASE_MS - 1)
    assert (succession.due_ms(closed=False), succession.ask_ms) == (None, LEASE_MS)
    succession.saw_answer(LEASE_MS + 5)
    assert (succession.due_ms(closed=False), succession.ask_ms) == (LEASE_MS + 5 + CONFIRM_MS, None)
    succession.saw_answer(LEASE_MS + 50)
    assert succession.due_ms(closed=False) == LEASE_MS + 5 + CONFIRM_MS


def test_a_leader_whose_tick_moves_once_etcd_answers_again_leads_on() -> None:
    succession = seen()
    succession.saw_answer(10 * LEASE_MS)
    succession.saw_tick(1, 10 * LEASE_MS + 300)
    assert (succession.due_ms(closed=False), succession.ask_ms) == (None, 11 * LEASE_MS + 300)


def test_an_etcd_that_falls_silent_again_begins_the_leaders_time_anew() -> None:
    succession = seen()
    succession.saw_answer(LEASE_MS)
    succession.saw_answer(LEASE_MS + 300, answered=False)
    assert succession.due_ms(closed=False) is None
    succession.saw_answer(5 * LEASE_MS)
    assert succession.due_ms(closed=False) == 5 * LEASE_MS + CONFIRM_MS


def test_a_new_leader_is_not_judged_by_the_silence_of_the_last() -> None:
    succession = seen()
    succession.saw_answer(LEASE_MS)
    succession.saw_leader(leader("b"), LEASE_MS + 100)
    assert succession.due_ms(closed=False) is None


def test_a_silent_leader_has_its_minimum_tenure_and_leaves_a_named_successor_the_first_try() -> None:
    succession = seen()
    for name in ("b", "c", "d"):
        succession.saw_leader(leader(name), 0)
    succession.saw_answer(LEASE_MS)
    assert succession.due_ms(closed=False) == 8 * MIN_TENURE_MS
    assert succession.due_ms(closed=False, yields_until_ms=LONG_MS) == LONG_MS


def test_a_leader_that_does_not_say_how_long_its_lease_is_falls_by_that_alone() -> None:
    succession = Succession()
    succession.saw_leader(leader("a", lease_ms=0), 0)
    succession.saw_answer(LONG_MS)
    assert (succession.due_ms(closed=False), succession.ask_ms) == (None, None)


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


def test_a_leader_that_rewrites_its_key_is_alive_though_its_tick_stands_still() -> None:
    succession = seen()
    succession.saw_answer(LEASE_MS)
    succession.saw_leader(leader("a", epoch=2), LEASE_MS + CONFIRM_MS)
    assert (succession.due_ms(closed=False), succession.ask_ms) == (None, 2 * LEASE_MS + CONFIRM_MS)
    assert succession.due_ms(closed=True) == LEASE_MS + CONFIRM_MS + STALE_MS


def test_a_leader_that_rewrites_its_key_is_no_new_one() -> None:
    succession = seen(now_ms=50)
    succession.saw_leader(leader("a", epoch=9), 50 + MIN_TENURE_MS - STALE_MS)
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
