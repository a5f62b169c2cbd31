"""`status`, `zones`, `agents`, `explain`, `watch` and `floor show`, against canned pictures of a floor."""

from __future__ import annotations

import json

import grpc
import pytest
from cli.conftest import Run, failed, said
from cli.fake import TOKEN, FakeCoordinator, canned, refusal
from zonelock.v1 import floor_pb2, zone_service_pb2
from zonelock_cli.picture import Picture, plain
from zonelock_cli.story import tell


def test_status_counts_every_state_and_names_active_stops(run: Run, fake: FakeCoordinator) -> None:
    status = said(run("status", "--server", fake.target))
    assert status["zones"] == {"FREE": 1, "HELD": 2, "BLOCKED": 0, "STOPPED": 1, "UNKNOWN": 1, "CLOSED": 0}
    assert status["agents"] == {"CONNECTED": 3, "SILENT": 1, "GONE": 1}
    assert [s["stop_id"] for s in status["stops"]] == ["deadline:1099511627785"]
    assert (status["epoch"], status["waiting"], status["totals"]["grants"]) == (12, 3, 70)


def test_status_for_people_says_how_each_stop_ends_and_what_unknown_zones_need(run: Run, fake: FakeCoordinator) -> None:
    shown = run("status", "--server", fake.target, "-o", "table").stdout
    assert "AGV_03 overdue in Z_32" in shown
    assert "zonelock reset deadline:1099511627785 --reason TEXT" in shown
    assert "zonelock clear --all-unknown --reason TEXT" in shown


def test_the_server_may_come_from_the_environment(
    run: Run, fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZONELOCK_SERVER", fake.target)
    assert said(run("status"))["server"] == fake.target


def test_zones_keep_integers_as_integers_and_enums_without_prefix(run: Run, fake: FakeCoordinator) -> None:
    (zone,) = said(run("zones", "X_1", "--server", fake.target))["zones"]
    assert zone["occupants"][0] == {
        "slot": 0,
        "state": "HELD",
        "agent_id": "AGV_01",
        "token": TOKEN,
        "cause": "",
        "orphaned": False,
        "remaining_ms": 4_200,
        "since_ms": 3_800,
    }


def test_zones_can_be_narrowed_to_states(run: Run, fake: FakeCoordinator) -> None:
    rows = said(run("zones", "--state", "held", "--state", "unknown", "--server", fake.target))["zones"]
    assert [z["name"] for z in rows] == ["X_1", "X_2", "Z_40"]


def test_an_unknown_zone_is_answered_with_the_nearest_names(run: Run, fake: FakeCoordinator) -> None:
    error = failed(run("zones", "z_23", "--server", fake.target))
    assert error["exit"] == 4
    assert "Z_32" in error["remedy"]


def test_agents_tell_link_and_zones(run: Run, fake: FakeCoordinator) -> None:
    rows = {a["agent_id"]: a for a in said(run("agents", "--server", fake.target))["agents"]}
    assert rows["AGV_04"]["link"] == "GONE"
    assert rows["AGV_01"]["held_zones"] == ["X_1"]
    assert "removed" not in rows["AGV_01"]
    assert "AGV_05" in run("agents", "-o", "table", "--server", fake.target).stdout


@pytest.mark.parametrize(
    ("agent", "state", "expected"),
    [
        ("AGV_01", "HOLDING", "4.2 s to leave or extend"),
        ("AGV_02", "WAITING", "AGV_01 holds it; it leaves or its deadline stops the group"),
        ("AGV_03", "STOPPED", "`zonelock reset deadline:1099511627785 --reason TEXT`"),
        ("AGV_04", "GONE", "AGV_04 comes back with its session within 900 ms"),
        ("AGV_05", "IDLE", "nothing to do"),
    ],
)
def test_explain_names_the_state_and_what_would_resolve_it(
    run: Run, fake: FakeCoordinator, agent: str, state: str, expected: str
) -> None:
    story = said(run("explain", agent, "--server", fake.target))
    assert story["state"] == state
    assert any(expected in line for line in story["resolve"]), story["resolve"]
    shown = run("explain", agent, "--server", fake.target, "-o", "table").stdout
    assert expected in shown


def test_explain_says_for_whom_since_when_and_why(run: Run, fake: FakeCoordinator) -> None:
    story = said(run("explain", "AGV_02", "--server", fake.target))
    (wait,) = story["waits"]
    assert (wait["zones"], wait["waiting_ms"], wait["position"]) == (["X_1"], 2_500, 1)
    assert (wait["blockers"][0]["agent_id"], wait["blockers"][0]["kind"]) == ("AGV_01", "HELD")
    assert story["chain"] == ["AGV_02 waits for AGV_01 (HELD X_1 since 2.5 s)"]


def test_explain_of_an_overdue_agent_names_what_it_blocks_and_who_is_awaited(run: Run, fake: FakeCoordinator) -> None:
    story = said(run("explain", "AGV_03", "--server", fake.target))
    assert [(b["zone"], b["cause"], b["since_ms"]) for b in story["blocked"]] == [("Z_32", "OVERDUE", 65_000)]
    assert any("waits for AGV_03 to acknowledge" in line for line in story["resolve"])
    assert any("zonelock clear Z_32 --agent AGV_03" in line for line in story["resolve"])


def test_explain_follows_a_circle_once_round() -> None:
    story = tell(Picture.of(canned()), "AGV_07")
    assert story.chain[-1] == "AGV_07 is in this chain already: they wait for each other"
    assert len(story.chain) == 3


def test_explain_knows_an_occupant_that_never_came_back_after_a_restart(run: Run, fake: FakeCoordinator) -> None:
    del fake.responses[0].agents[:]
    story = said(run("explain", "AGV_04", "--server", fake.target))
    assert (story["link"], story["state"]) == ("GONE", "GONE")
    assert "X_2" in story["summary"]


def test_explain_of_an_unknown_agent_gives_the_nearest_names(run: Run, fake: FakeCoordinator) -> None:
    error = failed(run("explain", "AGV_1", "--server", fake.target))
    assert error["exit"] == 4
    assert "AGV_01" in error["remedy"]


def test_watch_gives_the_snapshot_and_then_one_line_a_change(run: Run, fake: FakeCoordinator) -> None:
    freed = canned().zones[0]
    del freed.occupants[:]
    freed.state = floor_pb2.ZONE_STATE_FREE
    moved = floor_pb2.AgentView(
        agent_id="AGV_05",
        kind="agv",
        link=floor_pb2.LINK_STATE_CONNECTED,
        activity="charging",
        has_position=True,
        x_mm=5,
    )
    ended = canned().stops[0]
    ended.active, ended.reset_by, ended.reset_reason = False, "mia", "safe"
    fake.responses += [
        zone_service_pb2.WatchFloorResponse(zones=[freed], waits_changed=True),
        zone_service_pb2.WatchFloorResponse(agents=[moved]),
        zone_service_pb2.WatchFloorResponse(
            stops=[ended], agents=[floor_pb2.AgentView(agent_id="AGV_04", removed=True)]
        ),
    ]
    result = run("watch", "--seconds", "1", "--server", fake.target)
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [e["event"] for e in events] == [
        "snapshot",
        "zone",
        "wait_ended",
        "wait_ended",
        "wait_ended",
        "stop",
        "agent_removed",
    ]
    assert events[1]["zone"]["state"] == "FREE"
    text = run("watch", "--seconds", "1", "--positions", "--server", fake.target, "-o", "table").stdout
    assert "X_1  HELD -> FREE" in text
    assert "AGV_05  charging" in text
    assert "by mia: safe" in text


def test_watch_can_follow_one_zone(run: Run, fake: FakeCoordinator) -> None:
    zones = [canned().zones[0], canned().zones[1]]
    for zone in zones:
        zone.waiters = 9
    fake.responses.append(zone_service_pb2.WatchFloorResponse(zones=zones))
    lines = run("watch", "--zone", "X_2", "--seconds", "1", "--server", fake.target).stdout.splitlines()
    assert [json.loads(line).get("zone", {}).get("name") for line in lines] == [None, "X_2"]
    assert failed(run("watch", "--zone", "Q", "--server", fake.target))["exit"] == 4


def test_watch_ends_with_3_when_the_coordinator_goes_away(run: Run, fake: FakeCoordinator) -> None:
    fake.refuse = refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "this coordinator is not leading")
    error = failed(run("watch", "--server", fake.target))
    assert (error["exit"], error["reason"]) == (3, "NOT_LEADER")


def test_a_host_that_does_not_exist_is_said_in_plain_words(run: Run) -> None:
    error = failed(run("status", "--wait-s", "5", "--server", "no-such-host.invalid:7600"))
    assert error["exit"] == 3
    assert "field:" not in error["message"], error


def test_a_standby_that_names_the_leader_is_not_waited_for(run: Run, fake: FakeCoordinator) -> None:
    with FakeCoordinator() as standby:
        standby.mute = True
        standby.standing = (("zonelock-role", "standing-by"), ("zonelock-leader", fake.target))
        assert said(run("status", "--server", standby.target))["server"] == fake.target
        assert said(run("explain", "Z_32", "--server", standby.target))["zone"] == "Z_32"
        line = run("watch", "--seconds", "0.5", "--server", standby.target).stdout.splitlines()[0]
        assert json.loads(line)["event"] == "snapshot"


def test_a_standby_without_a_leader_says_so_rather_than_that_it_does_not_answer(run: Run) -> None:
    with FakeCoordinator() as standby:
        standby.mute = True
        standby.standing = (("zonelock-role", "standing-by"),)
        for command in (("status",), ("watch",)):
            error = failed(run(*command, "--wait-s", "0.3", "--server", standby.target))
            assert (error["exit"], error["reason"]) == (3, "NOT_LEADER")
            assert "stands by" in error["message"]
            assert "zonelock cluster status" in error["remedy"]


def test_status_of_a_leader_whose_store_does_not_commit_is_no_good_health(run: Run, fake: FakeCoordinator) -> None:
    fake.standing = (("zonelock-role", "not-committing"),)
    done = run("status", "-o", "json", "--server", fake.target)
    assert json.loads(done.stdout)["epoch"] == 12
    assert (done.exit_code, failed(done)["reason"]) == (3, "STORE_UNAVAILABLE")


def test_floor_show_lists_stop_groups_and_gives_the_source_back(run: Run, fake: FakeCoordinator) -> None:
    floor = said(run("floor", "show", "--server", fake.target))["floor"]
    assert (floor["site"], floor["stop_groups"], floor["zones"][0]["hold_max_ms"]) == ("plant", ["east"], 60_000)
    assert run("floor", "show", "--yaml", "--server", fake.target).stdout == "format: zonelock.floor/1\nsite: plant\n"
    assert "east (1)" in run("floor", "show", "-o", "table", "--server", fake.target).stdout


def test_floor_alone_shows_the_floor(run: Run, fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONELOCK_SERVER", fake.target)
    assert said(run("floor"))["floor"]["site"] == "plant"


def test_a_server_that_says_nothing_is_given_up_after_the_wait(run: Run, fake: FakeCoordinator) -> None:
    fake.mute = True
    for command in (["status"], ["watch"]):
        error = failed(run(*command, "--wait-s", "0.2", "--server", fake.target))
        assert (error["exit"], error["reason"]) == (3, "DEADLINE_EXCEEDED")
        assert fake.target in error["message"]


@pytest.mark.parametrize("command", [["status"], ["zones"], ["agents"], ["explain", "A"], ["watch"], ["floor", "show"]])
def test_an_unreachable_server_is_named_with_what_to_try(run: Run, free_port: int, command: list[str]) -> None:
    error = failed(run(*command, "--server", f"127.0.0.1:{free_port}"))
    assert error["exit"] == 3
    assert f"127.0.0.1:{free_port}: connection refused" in error["message"]
    assert "zonelock serve" in error["remedy"]


@pytest.mark.parametrize("address", ["plant", "plant:", ":7600", "plant:x", "plant:0", "plant:70000"])
def test_a_malformed_address_is_a_usage_error(run: Run, address: str) -> None:
    result = run("status", "--server", address)
    assert result.exit_code == 2
    assert f"{address!r} is not host:port" in result.stderr


def test_plain_says_every_field_and_survives_a_newer_enum() -> None:
    view = floor_pb2.ZoneView()
    assert plain(view)["state"] == ""
    view.ParseFromString(b"\x10\x63")
    assert plain(view)["state"] == "99"
    assert set(plain(view)) == {f.name for f in floor_pb2.ZoneView.DESCRIPTOR.fields}


def test_explain_answers_for_a_zone_and_for_a_stop(run: Run, fake: FakeCoordinator) -> None:
    zone = said(run("explain", "Z_32", "--server", fake.target))
    assert (zone["zone"], bool(zone["explanation"])) == ("Z_32", True)
    assert "Z_32" in run("explain", "Z_32", "--server", fake.target, "-o", "table").stdout
    stop_id = said(run("status", "--server", fake.target))["stops"][0]["stop_id"]
    stop = said(run("explain", stop_id, "--server", fake.target))
    assert (stop["stop"]["stop_id"], bool(stop["explanation"])) == (stop_id, True)
    assert stop_id in run("explain", stop_id, "--server", fake.target, "-o", "table").stdout
