"""Proofs of vacancy on virtual time: which reports carry the nonce, and what ends a proof."""

from __future__ import annotations

from client.wire import Wire, failed, rejected
from zonelock.v1 import zone_service_pb2 as pb
from zonelock_client.session_core import proofs
from zonelock_client.session_core.values import Done, Failure, Outcome, ProofChallenged, ProofEnded, Rejection

UNAVAILABLE = 14


def outside(*inside: str) -> pb.Telemetry:
    return pb.Telemetry(inside_known=True, inside_zones=inside, activity="driving")


def proving(nonce: int = 99) -> Wire:
    """An agent whose grant 7 for Z_1 ended, and which was given a nonce unless it is 0."""
    wire = Wire()
    wire.hold(7, "Z_1")
    wire.say(pb.Answer(expired=pb.Expired(token=7, zones=["Z_1"])))
    proofs.begin(wire.agent, 7, ("Z_1",))
    assert wire.kinds() == ["prove_vacancy"]
    if nonce:
        wire.say(challenge(nonce))
    return wire


def challenge(nonce: int, token: int = 7) -> pb.Answer:
    return pb.Answer(challenged=pb.Challenged(token=token, nonce=nonce, samples=3, spacing_ms=100))


def nonces(wire: Wire) -> list[int]:
    return [o.telemetry.nonce for o in wire.operations() if o.HasField("telemetry")]


def report(wire: Wire, *inside: str) -> list[int]:
    wire.agent.report(outside(*inside), wire.now_ns)
    return nonces(wire)


def ending(wire: Wire) -> Outcome | None:
    found = [n for n in wire.of(ProofEnded) if isinstance(n, ProofEnded)]
    return found[-1].outcome if found else None


def test_only_reports_made_after_the_nonce_carry_it() -> None:
    wire = proving(0)
    assert report(wire) == [0]
    wire.agent.report(outside(), wire.now_ns)  # made before the nonce, still waiting to leave
    wire.say(challenge(99))
    assert nonces(wire) == [0]
    assert report(wire) == [99]
    assert wire.of(ProofChallenged) == [ProofChallenged("A", 7, 100)]
    wire.say(pb.Answer(released=pb.Released(token=7, zones=["Z_1"])))
    assert ending(wire) == Done()
    assert report(wire) == [0]


def test_a_report_that_names_no_zones_at_all_proves_nothing() -> None:
    wire = proving()
    wire.agent.report(pb.Telemetry(has_position=True, x_mm=1, y_mm=1), wire.now_ns)
    assert nonces(wire) == [0]
    assert ending(wire) is None


def test_a_report_from_inside_ends_the_proof() -> None:
    wire = proving()
    assert report(wire, "Z_9") == [99]
    assert report(wire, "Z_9", "Z_1") == [0]
    end = ending(wire)
    assert isinstance(end, Rejection) and end.reason == "STILL_INSIDE" and end.zones == ("Z_1",)


def test_a_report_never_proves_anything_twice() -> None:
    wire = proving()
    assert report(wire) == [99]
    wire.reconnect()
    wire.welcome()
    operations = wire.operations()
    assert [o.WhichOneof("kind") for o in operations] == ["telemetry", "prove_vacancy"]
    assert operations[0].telemetry.nonce == 0
    assert operations[0].telemetry.activity == "driving"
    assert report(wire) == [0]  # the new stream has not been given a nonce yet
    wire.say(challenge(100))
    assert report(wire) == [100]


def test_a_report_that_waited_for_a_link_proves_nothing() -> None:
    wire = proving()
    wire.agent.report(outside(), wire.now_ns)
    wire.reconnect()
    wire.welcome()
    assert nonces(wire) == [0]


def test_a_nonce_that_comes_to_nothing_is_replaced() -> None:
    wire = proving()
    for _ in range(3):
        assert report(wire) == [99]
        wire.pass_ms(100)
    assert wire.kinds() == []
    wake_ns = wire.core.next_wakeup_ns()
    assert wake_ns is not None and wake_ns <= wire.now_ns + proofs.ASK_AGAIN_MS * 1_000_000
    wire.pass_ms(proofs.ASK_AGAIN_MS)
    assert "prove_vacancy" in wire.kinds()
    assert report(wire) == [0]


def test_a_question_that_nobody_answers_is_asked_again() -> None:
    wire = proving(0)
    wire.pass_ms(1)
    wire.flush()
    wire.pass_ms(2 * proofs.ASK_AGAIN_MS)
    assert "prove_vacancy" in wire.kinds()


def test_zones_that_somebody_cleared_meanwhile_need_no_proof() -> None:
    wire = proving()
    wire.say(rejected(pb.REJECT_REASON_GRANT_ENDED, token=7))
    assert ending(wire) == Done()
    wire = proving()
    wire.say(failed(9, "STALE_TOKEN", token=7))
    assert ending(wire) == Done()


def test_where_a_person_has_to_look_the_proof_ends() -> None:
    wire = proving(0)
    wire.say(rejected(pb.REJECT_REASON_GRANT_ENDED, token=7, zones=("Z_1",)))
    end = ending(wire)
    assert isinstance(end, Rejection) and end.zones == ("Z_1",)
    wire = proving(0)
    wire.say(failed(7, "NOT_HOLDER", token=7))
    assert isinstance(ending(wire), Failure)


def test_a_coordinator_that_cannot_commit_is_asked_again_later() -> None:
    wire = proving(0)
    wire.say(failed(UNAVAILABLE, "NOT_LEADER", token=7, retry_ms=300))
    assert wire.kinds() == []
    wire.pass_ms(300)
    assert wire.kinds() == ["prove_vacancy"]
    assert ending(wire) is None


def test_answers_to_another_proof_change_nothing() -> None:
    wire = proving(0)
    wire.say(challenge(99, token=8))
    assert report(wire) == [0]
    proofs.give_up(wire.agent, 8)
    wire.say(challenge(99))
    assert report(wire) == [99]
    proofs.give_up(wire.agent, 7)
    wire.say(challenge(98))
    assert report(wire) == [0]
