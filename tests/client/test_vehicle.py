"""Permits and the vehicle's own watchdog: what may move, until when, and what never counts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from client.floor_view import shown
from hypothesis import given
from hypothesis import strategies as st
from zonelock_client import connect, vehicle
from zonelock_client.testing import TestServer
from zonelock_client.vehicle import Permit, PermitError, PermitWatch, Verdict, boottime_ns

MS = 1_000_000


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 5_000 * MS

    def __call__(self) -> int:
        return self.now_ns

    def pass_ms(self, ms: int) -> None:
        self.now_ns += ms * MS


class Vehicle:
    """A watch on a clock of its own, and what it was told."""

    def __init__(self, **kept: Any) -> None:
        self.clock = Clock()
        self.halts: list[str] = []
        self.halted = threading.Event()
        self.watch = PermitWatch("V", on_halt=self._halt, clock=self.clock, **kept)

    def _halt(self, why: str) -> None:
        self.halts.append(why)
        self.halted.set()

    def offered(self, token: int = 7, *zones: str, expires_ms: int = 1_000, asked_ns: int | None = None) -> Verdict:
        permit = Permit(token, zones or ("Z",), "V", expires_ms, 1)
        return self.watch.offer(permit, self.watch.ask() if asked_ns is None else asked_ns)


@pytest.fixture
def car() -> Iterator[Vehicle]:
    car = Vehicle()
    yield car
    car.watch.close()


def test_nothing_moves_without_a_permit(car: Vehicle) -> None:
    assert not car.watch.may_move(["Z"])
    assert car.offered(7, "Z") is Verdict.TAKEN
    assert car.watch.may_move(["Z"])
    assert not car.watch.may_move(["Z", "Y"])
    assert not car.watch.may_move([])


def test_time_counts_from_the_ask_and_not_from_the_receipt(car: Vehicle) -> None:
    asked_ns = car.watch.ask()
    car.clock.pass_ms(900)
    assert car.offered(expires_ms=1_000, asked_ns=asked_ns) is Verdict.TAKEN
    assert car.watch.remaining_ms(["Z"]) == 100
    car.clock.pass_ms(100)
    assert not car.watch.may_move(["Z"])
    assert car.offered(expires_ms=1_000, asked_ns=asked_ns) is Verdict.LATE


def test_only_an_ask_of_this_very_watch_counts(car: Vehicle) -> None:
    assert car.offered(asked_ns=car.clock()) is Verdict.UNASKED  # a receipt time is not an ask
    assert car.offered(asked_ns=car.watch.ask() + 1) is Verdict.UNASKED


def test_a_forgotten_ask_counts_for_nothing(car: Vehicle) -> None:
    asked_ns = car.watch.ask()
    for _ in range(vehicle.ASKS_REMEMBERED):
        car.watch.ask()
    assert car.offered(asked_ns=asked_ns) is Verdict.UNASKED


def test_asks_of_one_instant_stay_apart(car: Vehicle) -> None:
    assert car.watch.ask() < car.watch.ask()


def test_a_permit_for_somebody_else_is_refused(car: Vehicle) -> None:
    permit = Permit(7, ("Z",), "W", 1_000, 1)
    assert car.watch.offer(permit, car.watch.ask()) is Verdict.FOREIGN


def test_a_token_below_the_highest_of_a_zone_is_refused_whole(car: Vehicle) -> None:
    car.offered(9, "Z")
    assert car.offered(8, "Y", "Z") is Verdict.FENCED
    assert not car.watch.may_move(["Y"])
    assert car.offered(8, "Y") is Verdict.TAKEN
    assert car.watch.highest_tokens == {"Z": 9, "Y": 8}


def test_the_highest_tokens_survive_a_restart_of_the_controller() -> None:
    car = Vehicle(highest_tokens={"Z": 9})
    assert car.offered(8, "Z") is Verdict.FENCED
    car.watch.close()


def test_a_zone_that_was_granted_anew_no_longer_rests_on_the_old_grant(car: Vehicle) -> None:
    car.offered(7, "Z", "Y", expires_ms=9_000)
    car.offered(8, "Z", expires_ms=500)
    car.clock.pass_ms(600)
    assert not car.watch.may_move(["Z"])
    assert car.watch.may_move(["Y"])


def test_a_renewed_permit_prolongs_and_never_shortens(car: Vehicle) -> None:
    car.offered(expires_ms=1_000)
    car.offered(expires_ms=400)
    assert car.watch.remaining_ms(["Z"]) == 1_000
    car.offered(expires_ms=3_000)
    assert car.watch.remaining_ms(["Z"]) == 3_000


def test_an_overtaken_answer_brings_back_no_zone_that_was_given_back(car: Vehicle) -> None:
    first, second = car.watch.ask(), car.watch.ask()
    assert car.offered(7, "Z", asked_ns=second) is Verdict.TAKEN
    assert car.offered(7, "Y", "Z", asked_ns=first) is Verdict.OUTDATED
    assert not car.watch.may_move(["Y"])


def test_a_withdrawal_halts_at_once_and_a_newer_answer_may_revive(car: Vehicle) -> None:
    older = car.watch.ask()
    car.offered()
    assert car.watch.may_move(["Z"])
    assert car.offered(expires_ms=0) is Verdict.WITHDRAWN
    assert car.halted.wait(10)
    assert "Z" in car.halts[0]
    assert not car.watch.may_move(["Z"])
    assert car.offered(asked_ns=older) is Verdict.OUTDATED
    assert car.offered() is Verdict.TAKEN


def test_the_thread_halts_a_vehicle_whose_permit_ran_out_once(car: Vehicle) -> None:
    car.offered(expires_ms=50)
    assert car.watch.may_move(["Z"])
    car.clock.pass_ms(50)
    assert car.halted.wait(10)
    time.sleep(3 * vehicle.MAX_SLEEP_S)
    assert car.halts == ["no permit any more for Z"]


def test_the_thread_watches_the_zones_that_were_asked_for_last(car: Vehicle) -> None:
    car.offered(7, "Y", expires_ms=50)
    car.offered(8, "Z", expires_ms=9_000)
    assert car.watch.may_move(["Y", "Z"])
    assert car.watch.may_move(["Z"])  # it has left Y
    car.clock.pass_ms(50)
    time.sleep(3 * vehicle.MAX_SLEEP_S)
    assert car.halts == []


def test_a_stop_halts_and_beats_any_permit_until_its_reset_and_a_new_grant(car: Vehicle) -> None:
    car.offered(7)
    assert car.watch.may_move(["Z"])
    car.watch.stop("s1")
    car.watch.stop("s2")
    assert car.halted.wait(10)
    asked_in_the_stop = car.watch.ask()
    assert car.offered(9) is Verdict.STOPPED
    car.watch.reset("s1")
    assert car.watch.latched == ("s2",)
    assert not car.watch.may_move(["Z"])
    car.watch.reset("s2")
    car.clock.pass_ms(1)
    assert not car.watch.may_move(["Z"])
    assert car.offered(7) is Verdict.FENCED  # the reset restarts nothing
    assert car.offered(9, asked_ns=asked_in_the_stop) is Verdict.OUTDATED
    assert car.offered(9) is Verdict.TAKEN
    assert car.watch.may_move(["Z"])


def test_a_repeated_stop_halts_once(car: Vehicle) -> None:
    car.watch.stop("s1")
    assert car.halted.wait(10)
    car.watch.stop("s1")
    time.sleep(3 * vehicle.MAX_SLEEP_S)
    assert car.halts == ["stop s1"]
    assert car.watch.latched == ("s1",)


def test_a_reset_of_another_stop_changes_nothing(car: Vehicle) -> None:
    car.offered(7)
    car.watch.reset("never raised")
    assert car.watch.may_move(["Z"])


def test_a_latch_survives_a_restart_of_the_controller() -> None:
    car = Vehicle(latched=["s1"], highest_tokens={"Z": 7})
    assert car.offered(8) is Verdict.STOPPED
    car.watch.reset("s1")
    car.clock.pass_ms(1)
    assert car.offered(7) is Verdict.FENCED
    assert car.offered(8) is Verdict.TAKEN
    car.watch.close()


def test_a_halt_that_fails_is_repeated_and_nothing_moves_meanwhile() -> None:
    tried = threading.Semaphore(0)
    failing = threading.Event()
    failing.set()

    def on_halt(_: str) -> None:
        tried.release()
        if failing.is_set():
            raise OSError("the drive does not answer")

    with PermitWatch("V", on_halt=on_halt) as watch:
        watch.offer(Permit(7, ("Z",), "V", 60_000, 1), watch.ask())
        watch.offer(Permit(8, ("Y",), "V", 1, 1), watch.ask())
        watch.may_move(["Y"])
        watch.stop("s")
        assert tried.acquire(timeout=10)
        assert tried.acquire(timeout=10)
        watch.reset("s")
        watch.offer(Permit(9, ("Z",), "V", 60_000, 1), watch.ask())
        assert not watch.may_move(["Z"])
        failing.clear()
        give_up = time.monotonic() + 10
        while not watch.may_move(["Z"]):
            assert time.monotonic() < give_up
            time.sleep(0.01)


def test_a_closed_watch_halts_and_lets_nothing_move(car: Vehicle) -> None:
    car.offered()
    assert car.watch.may_move(["Z"])
    car.watch.close()
    assert car.halts == ["the permit watch was closed"]
    assert not car.watch.may_move(["Z"])


def test_a_forked_process_without_the_thread_may_not_move() -> None:
    code = """if True:
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from zonelock_client.vehicle import Permit, PermitWatch
        watch = PermitWatch("V", on_halt=lambda why: None)
        watch.offer(Permit(7, ("Z",), "V", 60_000, 1), watch.ask())
        assert watch.may_move(["Z"])
        child = os.fork()
        if not child:
            os._exit(watch.may_move(["Z"]))
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_file_alone_is_enough_for_a_controller() -> None:
    source = Path(vehicle.__file__)
    code = (
        f"import runpy, sys; names = runpy.run_path({str(source)!r}); "
        "names['PermitWatch']('V', on_halt=print).close(); "
        "bad = [m for m in sys.modules if m.partition('.')[0] in ('grpc', 'google', 'zonelock', 'zonelock_client')]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], timeout=60, check=False)
    assert done.returncode == 0


# -- the permit as bytes -------------------------------------------------------------------------------------------

PERMITS = st.builds(
    Permit,
    token=st.integers(1, 2**63 - 1),
    zones=st.lists(st.text(min_size=1, max_size=20), max_size=32).map(tuple),
    agent_id=st.text(min_size=1, max_size=64),
    expires_ms=st.integers(0, vehicle.MAX_PERMIT_MS),
    issued_boottime_ns=st.integers(0, 2**63 - 1),
)


@given(PERMITS)
def test_a_permit_survives_the_wire(permit: Permit) -> None:
    assert Permit.from_bytes(permit.to_bytes()) == permit
    assert "\n" not in permit.to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token", 0),
        ("token", True),
        ("token", "7"),
        ("zones", "Z"),
        ("zones", [7]),
        ("zones", ["Z"] * 33),
        ("agent_id", ""),
        ("expires_ms", -1),
        ("expires_ms", 1e3),
        ("issued_boottime_ns", None),
        ("format", "zonelock.permit/2"),
    ],
)
def test_a_permit_with_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    fields = json.loads(Permit(7, ("Z",), "V", 1_000, 1).to_json())
    with pytest.raises(PermitError, match=field):
        Permit.from_json(json.dumps({**fields, field: value}))
    if field != "format":
        del fields[field]
        with pytest.raises(PermitError, match=field):
            Permit.from_json(json.dumps(fields))


@given(st.binary(max_size=200))
def test_noise_is_no_permit(noise: bytes) -> None:
    with pytest.raises(PermitError):
        Permit.from_bytes(noise)


def test_an_endless_permit_is_refused_unread() -> None:
    with pytest.raises(PermitError, match="bytes"):
        Permit.from_bytes(b"[" * 10**6)


# -- permits of real grants ----------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async with TestServer(check_invariants=True) as server:
        yield server


async def test_a_grants_permit_says_what_is_left_of_it(server: TestServer) -> None:
    async with connect(server.target, agent_id="V") as agent:
        grant = await agent.acquire("Z_31", "Z_32", expected_ms=4_000)
        before_ns = boottime_ns()
        permit = grant.permit()
        assert (permit.token, permit.zones, permit.agent_id) == (grant.token, ("Z_31", "Z_32"), "V")
        assert before_ns <= permit.issued_boottime_ns <= boottime_ns()
        until_ns = permit.issued_boottime_ns + permit.expires_ms * MS
        assert grant.held.deadline_ns - MS < until_ns <= grant.held.deadline_ns
        assert grant.permit(at_most_ms=300).expires_ms == 300
        await grant.cleared("Z_31")
        assert grant.permit().zones == ("Z_32",)
        await grant.cleared()
        assert grant.permit().is_withdrawal
        assert await shown(server, "Z_32") == "FREE"


async def test_a_permit_never_outlasts_the_link() -> None:
    async with (
        TestServer(heartbeat_ms=100, suspend_ms=500, lost_ms=1_000) as server,
        connect(server.target, agent_id="V") as agent,
    ):
        grant = await agent.acquire("Z_31", expected_ms=20_000)
        assert grant.permit().expires_ms <= 1_000
        await grant.cleared()


async def test_a_lost_grant_withdraws_its_permit(server: TestServer) -> None:
    async with connect(server.target, agent_id="V") as agent:
        halted = threading.Event()
        with PermitWatch("V", on_halt=lambda why: halted.set()) as watch:
            grant = await agent.acquire("Z_31", expected_ms=20_000)
            asked_ns = watch.ask()
            assert watch.offer(grant.permit(), asked_ns) is Verdict.TAKEN
            assert watch.may_move(["Z_31"])
            async with server.operator() as operator:
                await operator.revoke(token=grant.token, reason="make way")
            await grant.lost
            assert watch.offer(grant.permit(), watch.ask()) is Verdict.WITHDRAWN
            assert not watch.may_move(["Z_31"])
            assert halted.wait(10)
