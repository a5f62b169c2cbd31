"""Short histories, one for each planted bug: clean on the real code, and caught with the bug in it.

Each returns what invariants and checkers have against it. A scene shows only what its bug needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.stories.floors import row_floor
from chaos.stories.scene import Scene

Play = Callable[[], list[str]]
SCENES: dict[str, Play] = {}


def scene(*names: str) -> Callable[[Play], Play]:
    """Registers a scene for the mutations that it is meant to catch."""

    def register(play: Play) -> Play:
        SCENES.update(dict.fromkeys(names, play))
        return play

    return register


def stage(floor: str, *agents: str, **options: Any) -> Scene:
    made = Scene(row_floor(floor), **options)
    for agent in agents:
        made.hello(agent)
    return made


@scene("free_on_expiry", "overdue_without_stop")
def overstay() -> list[str]:
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=2_000)
    s.drive("V1", "A")
    s.ask("V2", "A")
    s.wait(4_000)
    return s.verdict()


@scene("trip_late")
def overstay_watched() -> list[str]:
    s = stage("A B", "V1")
    s.wait(1_000)
    s.ask("V1", "A", ms=2_000)
    s.drive("V1", "A")
    s.wait(4_000)
    return s.verdict()


@scene("reclaim_at_takeover")
def takeover_with_a_holder() -> list[str]:
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.crash()
    s.restart()
    s.ask("V2", "A")
    s.wait(1_000)
    return s.verdict()


@scene("trip_inherited_at_once")
def takeover_and_nothing_trips() -> list[str]:
    s = stage("A B", "V1")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.crash()
    s.restart()
    s.wait(1_000)
    return s.verdict()


@scene("old_position_as_proof")
def proof_from_the_past() -> list[str]:
    """The vehicle reported from outside before it entered; that is no proof that it is outside now."""
    s = stage("A?holder B", "V1", "V2")
    s.report("V1", inside=set())
    s.ask("V1", "A", ms=2_000)
    token = s.holding("V1").token
    s.drive("V1", "A")
    s.give_up("V1")
    s.prove("V1", token)
    s.ask("V2", "A")
    s.wait(500)
    return s.verdict()


@scene("widen_capacity_by_orphan")
def orphan_comes_back() -> list[str]:
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.drop("V1")
    s.ask("V2", "A")
    s.come_back("V1")
    s.wait(300)
    return s.verdict()


@scene("ignore_still_inside")
def release_against_the_evidence() -> list[str]:
    """A confused agent releases the zone that its own telemetry says it is in; the zone must not pass on."""
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.ask("V2", "A")
    s.report("V1")
    s.release("V1")
    s.wait(300)
    return [v for v in s.verdict() if "with its body still inside" not in v]


@scene("per_zone_tokens")
def two_in_one_zone() -> list[str]:
    s = stage("X*2 B", "V1", "V2")
    s.ask("V1", "X")
    s.ask("V2", "X")
    s.drive("V1", "X")
    s.drive_off("V1")
    s.release("V1")
    s.wait(300)
    return s.verdict()


@scene("stale_token_frees")
def release_after_the_next_holder() -> list[str]:
    """A release that was lost and is said again after an operator cleared the zone and somebody else got it."""
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    held = s.holding("V1")
    s.drive("V1", "A")
    s.give_up("V1")
    s.tow("V1")
    s.clear("A")
    s.ask("V2", "A", ms=20_000)
    s.drive("V2", "A")
    s.release("V1", held=held)
    s.wait(300)
    return s.verdict()


@scene("resume_without_secret")
def stranger_with_the_same_name() -> list[str]:
    s = stage("A B", "V1")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.kill("V1")
    s.hello("V1", secret="another process altogether")
    s.wait(300)
    return s.verdict()


@scene("dedup_by_request_id_alone")
def two_agents_count_alike() -> list[str]:
    s = stage("A B")
    s.hello("V1", request_prefix="r")
    s.hello("V2", request_prefix="r")
    s.ask("V1", "A")
    s.ask("V2", "B")
    s.wait(300)
    return s.verdict()


@scene("stored_answer")
def ask_repeated_after_the_release() -> list[str]:
    s = stage("A B", "V1", "V2")
    request_id = s.ask("V1", "A")
    s.release("V1")
    s.ask("V2", "A")
    s.drive("V2", "A")
    s.ask_again("V1", request_id, "A")
    s.wait(300)
    return s.verdict()


@scene("ignore_restored_ledger")
def old_backup_put_back() -> list[str]:
    s = stage("A B", "V1", "V2")
    backup = s.backup()
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.crash()
    s.restore(backup)
    s.restart()
    s.ask("V2", "A")
    s.wait(300)
    return s.verdict()


@scene("deadline_from_ask")
def long_wait_then_a_hold() -> list[str]:
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=8_000)
    s.ask("V2", "A", ms=5_000)
    s.drive("V1", "A")
    s.wait(4_000)
    s.drive_off("V1")
    s.release("V1")
    s.drive("V2", "A")
    s.wait(3_000)
    if s.has("V2", "A"):
        s.drive_off("V2")
        s.release("V2")
    return s.verdict()


@scene("reset_without_naming")
def two_stops_and_one_reset() -> list[str]:
    s = stage("A@west B@east", "V1")
    s.stop("s-west", stop_group="west")
    s.stop("s-east", stop_group="east")
    s.reset("s-west")
    s.wait(300)
    return s.verdict()


@scene("reset_restarts_grants")
def stop_and_reset() -> list[str]:
    s = stage("A B", "V1")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.stop("s-1", floor=True)
    s.reset("s-1")
    s.wait(300)
    return s.verdict()


@scene("act_on_replayed_alarm")
def latch_of_a_stop_that_was_reset() -> list[str]:
    """V1 is latched, loses its link, and comes back naming a stop that a person has reset and cleared meanwhile."""
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.stop("s-1", floor=True)
    s.drop("V1")
    s.tow("V1")
    s.clear("A")
    s.reset("s-1")
    s.come_back("V1")
    s.wait(300)
    return s.verdict()


@scene("queued_grant_to_stopped_zone", "stop_never_winds_down")
def stop_overtakes_a_commit() -> list[str]:
    s = stage("A B", "V1")
    s.hold_commits()
    s.ask("V1", "A", ms=20_000)
    s.stop("s-1", floor=True)
    s.let_commit()
    s.wait(300)
    return s.verdict()


@scene("grant_while_latched")
def stopped_here_and_asks_there() -> list[str]:
    s = stage("A@west B@east", "V1")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.stop("s-1", stop_group="west")
    s.ask("V1", "B")
    s.wait(300)
    return s.verdict()


@scene("reservation_binds_predecessors")
def reserver_behind_its_predecessor() -> list[str]:
    """V2 wants A and B and is the oldest waiter; V1 stands in A and can leave only through B."""
    s = stage("A B C", "V1", "V2")
    s.ask("V1", "A", ms=60_000)
    s.drive("V1", "A")
    s.ask("V2", "A", "B")
    s.liveness(2_000)
    s.ask("V1", "B", ms=60_000)
    if s.has("V1", "B"):
        s.drive("V1", "B")
        s.release("V1", "A")
        s.drive_off("V1")
        s.release("V1", "B")
    s.wait(4_000)
    if s.has("V2", "A"):
        s.release("V2")
    return s.verdict()


@scene("forgets_waiters")
def zone_comes_free() -> list[str]:
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A")
    s.ask("V2", "A", ms=60_000)
    s.liveness(2_000)
    s.release("V1")
    s.wait(4_000)
    return s.verdict()


@scene("release_on_exception")
def block_left_without_a_word() -> list[str]:
    """An exception ends the hold's block while the vehicle stands in the zone; the SDK abandons the grant."""
    s = stage("A B", "V1", "V2")
    s.ask("V1", "A", ms=20_000)
    s.drive("V1", "A")
    s.ask("V2", "A")
    s.give_up("V1")
    s.wait(300)
    return s.verdict()


@scene("d_from_receipt")
def grant_on_a_slow_link() -> list[str]:
    """The grant needs 1.2 s to arrive; the holder drives on as long as it believes it may."""
    s = stage("A B", "V1")
    s.wait(1_000)
    s.delay_next_answer("V1", 1_200)
    s.ask("V1", "A", ms=4_000)
    s.wait(1_200)
    s.go("V1")
    s.enter("V1", "A")
    s.wait(4_000)
    return s.verdict()


@scene("unsafe_step")
def two_enter_an_aisle_from_its_ends() -> list[str]:
    """Both claimed their way through; the second one's first step must wait until the first has come out."""
    s = stage("West*2 A1 A2 East*2", "V1", "V2")
    for agent, place in (("V1", "West"), ("V2", "East")):
        s.ask(agent, place, ms=60_000)
        s.drive(agent, place)
    s.claim("V1", "A1", "A2", "East")
    s.claim("V2", "A2", "A1", "West")
    s.ask("V1", "A1", ms=60_000)
    s.drive("V1", "A1")
    s.ask("V2", "A2", ms=60_000)
    if s.has("V2", "A2"):
        s.drive("V2", "A2")
        s.release("V2", "East")
    s.ask("V1", "A2", ms=60_000)
    s.wait(1_000)
    if s.has("V2", "A2"):
        s.ask("V2", "A1", ms=60_000)
    return s.verdict()


@scene("finished_last_zone_free")
def one_means_to_stay_in_the_only_way_out() -> list[str]:
    """V1's way ends in the zone that V2 has still to come through: taking it before V2 has passed locks V2 in."""
    s = stage("West*2 A1 A2", "V1", "V2")
    for agent, place in (("V1", "West"), ("V2", "A2")):
        s.ask(agent, place, ms=60_000)
        s.drive(agent, place)
    s.claim("V1", "A1")
    s.claim("V2", "A1", "West")
    s.liveness(2_000)
    s.ask("V1", "A1", ms=60_000)
    if s.has("V1", "A1"):
        s.drive("V1", "A1")
    s.ask("V2", "A1", "West", ms=60_000)
    s.wait(1_000)
    if s.has("V2", "A1"):
        s.drive("V2", "West")
        s.release("V2", "A1")
    s.wait(3_000)
    return s.verdict()
