from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import pytest
from rpc.site import SECRET, Site, ask, connect, greeted, hello, operation, read_error, running, until
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core.effects import Send, Warned
from coordinator.rpc.server import RpcLimits
from coordinator.rpc.turns import Turns
from coordinator.runtime import Outlet


def gone(site: Site, agent_id: str) -> bool:
    """Whether the coordinator counts the agent's link as lost."""
    return site.runtime.machine.sessions[agent_id].stream is None


async def test_hello_is_welcomed_with_the_floor_and_the_times_to_go_by() -> None:
    async with running() as site:
        client = connect(site)
        await client.send(hello("AGV_1"))
        answer = await client.answer("welcome")
        assert answer.agent_id == "AGV_1"
        assert answer.welcome.site == "test"
        assert answer.welcome.floor_hash == site.floor.hash
        timing = site.runtime.machine.timing
        assert (answer.welcome.heartbeat_ms, answer.welcome.rho_ppm) == (timing.heartbeat_ms, timing.rho_ppm)


async def test_bytes_that_are_no_frame_are_the_client_s_mistake_and_no_bug_of_ours() -> None:
    async with running() as site:
        call: Any = site.channel.stream_stream("/zonelock.v1.ZoneService/Session")()
        await call.write(b"\xff\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "SessionRequest" in str(refused.value.details())


async def test_a_commit_can_see_that_a_frame_is_not_all_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its operations are in one commit then, though they take several turns of the loop."""
    seen: list[int] = []
    over = [True]  # every other operation finds its turn over

    def is_over(turns: Turns, now_ms: int) -> bool:
        over.append(not over[-1])
        if not over[-1]:
            seen.append(site.runtime.operations_said())
        return over[-1]

    async with running() as site:
        client = await greeted(site, "AGV_1")
        assert site.runtime.operations_said() == 0
        monkeypatch.setattr(Turns, "is_over", is_over)
        await client.send(ask("AGV_1", "r1", "A"), ask("AGV_1", "r2", "C"))
        await client.answer("granted")
        monkeypatch.undo()
        assert 1 in seen
        assert site.runtime.operations_said() == 0


async def test_a_grant_names_token_slots_and_the_newest_frame_handled() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        number = await client.send(ask("AGV_1", "r1", "A", "C", expected_ms=8_000))
        granted = (await client.answer("granted")).granted
        assert list(granted.zones) == ["A", "C"]
        assert list(granted.slots) == [0, 0]
        assert granted.token > 0
        assert granted.expected_ms == 8_000
        assert 7_900 <= granted.remaining_ms <= 8_000
        assert granted.echo_frame == number
        assert granted.request_id == "r1"


async def test_a_waiter_s_grant_echoes_a_recent_frame_and_not_the_one_that_asked() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1", "AGV_2")
        await client.send(ask("AGV_1", "r1", "A"))
        first = (await client.answer("granted")).granted
        asked = await client.send(ask("AGV_2", "r2", "A"))
        queued = (await client.answer("queued")).queued
        assert (queued.position, queued.blockers[0].agent_id) == (1, "AGV_1")
        released = await client.send(operation("AGV_1", release=zpb.Release(token=first.token)))
        granted = (await client.answer("granted")).granted
        assert asked < released == granted.echo_frame
        assert granted.token > first.token


async def test_an_extension_counts_from_its_commit_and_echoes_the_newest_frame_handled_by_then() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A", expected_ms=20_000))
        token = (await client.answer("granted")).granted.token
        site.store.let.clear()
        telemetry = operation("AGV_1", telemetry=zpb.Telemetry(has_position=True, x_mm=500, y_mm=500))
        extend = operation("AGV_1", extend=zpb.Extend(token=token, expected_ms=30_000, request_id="x1"))
        await client.send(telemetry, extend)
        later = await client.send()
        await until(lambda: site.server.tally.frames_in == later)
        site.store.let.set()
        extended = (await client.answer("extended")).extended
        assert (extended.remaining_ms, extended.echo_frame) == (30_000, later)
        assert site.runtime.machine.grants.get(token) is not None


async def test_a_heartbeat_is_acknowledged_behind_a_commit_with_the_epoch() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        site.store.let.clear()
        number = await client.send()
        await until(lambda: site.server.tally.frames_in == number)
        held_back = asyncio.create_task(client.acknowledged(number))
        await asyncio.sleep(0.3)  # three ticks' time
        assert not held_back.done()
        site.store.let.set()
        assert (await held_back).epoch == site.runtime.epoch


async def test_acknowledgements_carry_the_leader_s_epoch_and_never_fall() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        number = 0
        for _ in range(5):
            number = await client.send()
        frame = await client.acknowledged(number)
        assert frame.epoch == site.runtime.epoch > 0
        acks = [f.ack_frame for f in client.frames]
        assert acks == sorted(acks)
        assert {f.epoch for f in client.frames} == {site.runtime.epoch}
        assert [f.frame for f in client.frames] == list(range(1, len(client.frames) + 1))


async def test_one_stream_carries_many_agents_and_answers_name_theirs() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1", "AGV_2", "Arm_1")
        await client.send(ask("AGV_1", "r", "A"), ask("AGV_2", "r", "B"), ask("Arm_1", "r", "C"))
        got = {a.agent_id: list(a.granted.zones) for a in [await client.answer("granted") for _ in range(3)]}
        assert got == {"AGV_1": ["A"], "AGV_2": ["B"], "Arm_1": ["C"]}


async def test_a_bad_operation_fails_alone_and_its_neighbours_and_the_stream_live_on() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(
            ask("AGV_1", "no spaces please", "A"),
            operation("AGV_1"),
            ask("AGV_1", "r1", "B"),
            ask("AGV_1", "r2", "nowhere"),
        )
        first, second = await client.answer("failed"), await client.answer("failed")
        granted = await client.answer("granted")
        unknown = await client.answer("failed")
        assert first.request_id == "no spaces please"
        assert first.failed.reason == "BAD_FIELD"
        assert first.failed.metadata["field"] == "ask.request_id"
        assert first.failed.message.endswith(first.failed.metadata["remedy"])
        assert "kind is not set" in second.failed.message
        assert granted.request_id == "r1"
        assert (unknown.request_id, unknown.failed.reason) == ("r2", "UNKNOWN_ZONE")
        assert unknown.failed.code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_the_first_operation_of_an_agent_must_be_hello() -> None:
    async with running() as site:
        client = connect(site)
        await client.send(ask("AGV_9", "r1", "A"))
        assert (await client.answer("failed")).failed.reason == "UNKNOWN_AGENT"


async def test_a_reused_request_id_with_another_payload_is_refused_and_a_repeat_is_answered() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        token = (await client.answer("granted")).granted.token
        await client.send(ask("AGV_1", "r1", "A"))
        assert (await client.answer("granted")).granted.token == token
        await client.send(ask("AGV_1", "r1", "B"))
        assert (await client.answer("failed")).failed.reason == "PAYLOAD_MISMATCH"


@pytest.mark.parametrize("number", [0, 2, 7])
async def test_a_stream_must_begin_with_frame_1(number: int) -> None:
    async with running() as site:
        client = connect(site)
        await client.call.write(zpb.SessionRequest(frame=number))
        error = read_error(await client.end())
        assert (error.reason, error.metadata["value"]) == ("FRAME_ORDER", str(number))
        assert "use 1" in error.message


async def test_a_repeated_or_skipped_frame_number_ends_the_stream() -> None:
    async with running() as site:
        for second in (1, 3):
            client = connect(site)
            await client.call.write(zpb.SessionRequest(frame=1))
            await client.call.write(zpb.SessionRequest(frame=second))
            error = read_error(await client.end())
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert error.reason == "FRAME_ORDER"


async def test_257_operations_in_a_frame_are_refused_and_none_is_done() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(*(ask("AGV_1", f"r{i}", "A") for i in range(257)))
        error = read_error(await client.end())
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (error.reason, error.metadata["value"], error.metadata["limit"]) == ("FRAME_TOO_LARGE", "257", "256")
        assert site.runtime.machine.totals.grants == 0


async def test_256_operations_in_a_frame_are_served() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(*(ask("AGV_1", f"r{i}", "nowhere") for i in range(256)))
        for _ in range(256):
            await client.answer("failed")


async def test_an_oversized_frame_is_refused_with_its_size_and_the_limit() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "Z" * (1 << 20)))
        error = read_error(await client.end())
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (error.reason, error.metadata["limit"]) == ("FRAME_TOO_LARGE", str(1 << 20))


async def test_a_frame_beyond_the_transport_s_limit_is_refused_unread_and_the_link_counts_as_lost() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "Z" * (5 << 20)))
        assert (await client.end()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(partial(gone, site, "AGV_1"))


async def test_a_half_close_and_a_cancel_end_the_link_but_not_the_grant() -> None:
    async with running() as site:
        for agent, zone, leave in (("AGV_1", "A", "done"), ("AGV_2", "B", "cancel")):
            client = await greeted(site, agent)
            await client.send(ask(agent, "r1", zone))
            token = (await client.answer("granted")).granted.token
            if leave == "done":
                await client.call.done_writing()
            else:
                client.call.cancel()
            await until(partial(gone, site, agent))
            assert site.runtime.machine.grants.get(token) is not None


async def test_an_agent_resumes_its_grants_with_its_secret_and_another_secret_is_refused() -> None:
    async with running() as site:
        first = await greeted(site, "AGV_1")
        await first.send(ask("AGV_1", "r1", "A"))
        token = (await first.answer("granted")).granted.token
        other = connect(site)
        await other.send(hello("AGV_1", b"another-secret-of-16"))
        assert (await other.answer("failed")).failed.reason == "DUPLICATE_AGENT"
        first.call.cancel()
        await until(partial(gone, site, "AGV_1"))
        again = connect(site)
        number = await again.send(hello("AGV_1", SECRET))
        welcome = (await again.answer("welcome")).welcome
        assert [g.token for g in welcome.grants] == [token]
        assert welcome.grants[0].echo_frame == number
        assert welcome.grants[0].remaining_ms < 30_000


async def test_a_stop_overtakes_every_answer_that_is_queued() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "held", "A"))
        await client.answer("granted")
        before = len(client.frames)
        site.store.let.clear()
        await client.send(*(ask("AGV_1", f"r{i}", "nowhere") for i in range(200)))
        await until(lambda: site.server.tally.operations == 202)
        trip = asyncio.ensure_future(
            site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="test", zone="A", stop_id="s1"))
        )
        raised = await client.answer("stop_raised")
        assert raised.stop_raised.stop.stop_id == "s1"
        assert not any(a.WhichOneof("kind") == "failed" for f in client.frames[before:] for a in f.answers)
        assert not trip.done(), "durable only behind the commit"
        site.store.let.set()
        assert (await trip).stop.active
        await client.answer("failed")


async def test_a_bug_in_the_core_ends_the_stream_with_internal_and_tells_nothing_of_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")

        def broken(event: object) -> None:
            raise ZeroDivisionError("the secret of the machine")

        monkeypatch.setattr(site.runtime, "submit", broken)
        await client.send(ask("AGV_1", "r1", "A"))
        error = read_error(await client.end())
        assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert "secret" not in error.message
        assert site.server.tally.internal_errors == 1
        assert "the secret of the machine" in caplog.text


async def test_a_standby_refuses_streams_and_calls_with_a_time_to_retry() -> None:
    async with running(lead=False) as site:
        client = connect(site)
        error = read_error(await client.end())
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER")
        assert error.retry_ms == 500
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await site.zones.Release(
                zpb.ReleaseRequest(agent_id="AGV_1", session_secret=SECRET, release=zpb.Release(token=1))
            )
        assert read_error(raised.value).reason == "NOT_LEADER"


async def test_without_a_store_operations_fail_one_by_one_and_stops_still_come() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "held", "A"))
        await client.answer("granted")
        site.store.unavailable = True
        await until(lambda: not site.runtime.leading)
        await client.send(ask("AGV_1", "r2", "B"))
        failed = await client.answer("failed")
        assert (failed.request_id, failed.failed.reason) == ("r2", "STORE_UNAVAILABLE")
        assert failed.failed.retry_ms == 500
        trip = asyncio.ensure_future(
            site.safety.TripStop(spb.TripStopRequest(operator="Ada", reason="test", floor=True, stop_id="s1"))
        )
        assert (await client.answer("stop_raised")).stop_raised.stop.stop_id == "s1"
        site.store.unavailable = False
        assert (await trip).stop.stop_id == "s1"


async def test_an_uncertain_commit_ends_every_stream_and_agents_carry_on_afterwards() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        site.store.uncertain_once = True
        await client.send(ask("AGV_1", "r1", "A"))
        error = read_error(await client.end())
        assert error.reason == "COMMIT_UNCERTAIN"
        await until(lambda: site.runtime.leading)
        again = await greeted(site, "AGV_1")
        await again.send(ask("AGV_1", "r1", "A"))
        assert list((await again.answer("granted")).granted.zones) == ["A"]


async def test_a_client_that_never_reads_loses_its_stream_and_costs_little_memory() -> None:
    limits = RpcLimits(write_stall_ms=300)
    async with running(limits) as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "held", "A"))
        await client.answer("granted")
        tally = site.server.tally
        while tally.slow_readers == 0:
            number = await client.send(*(ask("AGV_1", f"r{i}", "N" * 120) for i in range(256)))
            while tally.frames_in < number and tally.slow_readers == 0:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert tally.answers < 40_000, "what its window takes and the outbox's bound, no more"
        await until(partial(gone, site, "AGV_1"))
        token = site.runtime.machine.grants.all()[0].token
        assert read_error(await client.end()).reason == "SLOW_READER"
        again = connect(site)
        await again.send(hello("AGV_1"))
        assert [g.token for g in (await again.answer("welcome")).welcome.grants] == [token]


async def test_answers_beyond_the_bound_end_the_stream_instead_of_piling_up(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = RpcLimits(unread_answers=100, uncommitted_operations=50)
    async with running(limits) as site:
        outlets: list[Outlet] = []
        attach = site.runtime.attach

        def noted(outlet: Outlet) -> int:
            outlets.append(outlet)
            return attach(outlet)

        monkeypatch.setattr(site.runtime, "attach", noted)
        client = await greeted(site, "AGV_1")
        notice = Send(1, "AGV_1", "", Warned(token=1, remaining_ms=1))
        outlets[0].deliver([notice] * 101, stop=False)
        error = read_error(await client.end())
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_READER")
        assert error.retry_ms == 1_000
        assert site.server.tally.slow_readers == 1
        await until(partial(gone, site, "AGV_1"))


async def test_a_client_that_outruns_the_commits_is_not_read_until_they_follow() -> None:
    limits = RpcLimits(uncommitted_operations=64, answers_per_frame=16)
    async with running(limits) as site:
        client = await greeted(site, "AGV_1")
        site.store.let.clear()
        for i in range(40):
            await client.send(*(ask("AGV_1", f"r{i}.{k}", "nowhere") for k in range(16)))
        await until(lambda: site.server.tally.operations >= 65)
        await asyncio.sleep(0.05)
        assert site.server.tally.operations <= 1 + 64 + 16
        site.store.let.set()
        for _ in range(640):
            await client.answer("failed")


async def test_stopping_the_server_sends_clients_elsewhere() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        stopping = asyncio.create_task(site.server.stop(1.0))
        assert read_error(await client.end()).reason == "NOT_LEADER"
        await stopping


async def test_telemetry_of_a_position_alone_counts_as_inside_its_zone() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        await client.send(ask("AGV_1", "r1", "A"))
        token = (await client.answer("granted")).granted.token
        at_a = zpb.Telemetry(has_position=True, x_mm=500, y_mm=500)
        await client.send(operation("AGV_1", telemetry=at_a), operation("AGV_1", release=zpb.Release(token=token)))
        rejected = (await client.answer("rejected")).rejected
        assert rejected.reason == zpb.REJECT_REASON_STILL_INSIDE
        away = zpb.Telemetry(has_position=True, x_mm=1_500, y_mm=500)
        await client.send(operation("AGV_1", telemetry=away), operation("AGV_1", release=zpb.Release(token=token)))
        assert list((await client.answer("released")).released.zones) == ["A"]


async def test_an_explicit_contour_overrides_the_position() -> None:
    async with running() as site:
        client = await greeted(site, "AGV_1")
        said = zpb.Telemetry(has_position=True, x_mm=500, y_mm=500, inside_known=True, inside_zones=["B", "R"])
        number = await client.send(operation("AGV_1", telemetry=said))
        await client.acknowledged(number)
        assert site.runtime.machine.sessions["AGV_1"].inside == ("B", "R")
